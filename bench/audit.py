"""What the log costs: Evaluate's throughput with it over that without it, in batches of 1,000 and of the client's size.

Two real services run side by side, one with its log and one without; they are asked in turns, in
one run, the first one changing each round, and the ratio is the median of the rounds' ratios. Both count
budgets, so both sync one transaction a message: the entry is in that same transaction.

    python -m bench.audit
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import running
from kinlink import ristretto255
from kinlink.blinding import BATCH_SIZE
from kinlink.pseudonymizer.v1 import pseudonymisation_service_pb2 as pb
from kinlink.pseudonymizer.v1.pseudonymisation_service_pb2_grpc import PseudonymisationServiceStub
from kinlink.pseudonyms import Suite
from kinlink.types.v1.types_pb2 import KIND_CPR, KeyRef

ROUNDS = 31
PLANS = {1_000: 12, BATCH_SIZE: 1}  # elements a message → messages a turn
UNLOGGED = (sys.executable, "-m", "bench.unlogged")


def main() -> None:
    """Print one line of JSON."""
    with ristretto255.new_pool() as pool:
        elements = ristretto255.hash_to_group([b"%d" % n for n in range(BATCH_SIZE)], b"bench", pool)
    key = KeyRef(domain="source/prisme", kind=KIND_CPR)
    found = {}
    with ExitStack() as stack:
        stubs = []
        for wrapper in ((), UNLOGGED):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            channel = stack.enter_context(running.pseudonymizer(folder, wrapper=wrapper))
            stubs.append(PseudonymisationServiceStub(channel))
        for batch, messages in PLANS.items():
            part = elements[: batch * ristretto255.SIZE]
            requests = [pb.EvaluateRequest(key=key, suite=Suite.SYNTHETIC.wire, elements=part)] * messages
            for stub in stubs:
                turn(stub, requests)
            spans: list[list[float]] = [[], []]
            for number in range(ROUNDS):
                for side in (0, 1) if number % 2 else (1, 0):
                    spans[side].append(turn(stubs[side], requests))
            with_log, without = spans
            found[batch] = {
                "ratio": round(statistics.median(n / w for w, n in zip(with_log, without, strict=True)), 3),
                "elements_per_s": round(batch * messages / statistics.median(with_log)),
                "without_per_s": round(batch * messages / statistics.median(without)),
            }
    ratio = min(float(figures["ratio"]) for figures in found.values())
    print(json.dumps({"bench": "audit", "ratio": ratio, "batches": found, "rounds": ROUNDS}))


def turn(stub: PseudonymisationServiceStub, requests: Sequence[pb.EvaluateRequest]) -> float:
    """Send the messages and take the answers; return the seconds that took."""
    start = time.monotonic()
    answered = sum(len(answer.elements) for answer in stub.Evaluate(iter(requests)))
    ended = time.monotonic()
    assert answered == sum(len(request.elements) for request in requests)
    return ended - start


if __name__ == "__main__":
    main()
