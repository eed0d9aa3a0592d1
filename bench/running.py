"""The pseudonymizer as the demo runs it, in a process of its own, and a caller's channel to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc

from examples.stack import Stack
from kinlink.channel import Identity, open_channel


@contextmanager
def pseudonymizer(folder: Path, party: str = "source/prisme", wrapper: Sequence[str] = ()) -> Iterator[grpc.Channel]:
    """Yield a channel as `party` to a pseudonymizer that keeps its state in `folder`; `wrapper` starts it."""
    stack = Stack(folder, budget_per_day={"source/prisme": 500_000_000})
    stack.prepare()
    certs = folder / "certs"
    name = party.replace("/", "-")
    identity = Identity(certs / "ca.pem", certs / f"{name}.pem", certs / f"{name}.key")
    try:
        with open_channel(stack.start("pseudonymizer", wrapper=wrapper).address, identity) as channel:
            yield channel
    finally:
        stack.stop("pseudonymizer")
