"""Starts the rekeying of a linker's own pseudonyms and follows it: what an operator uses."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc

from kinlink.errors import from_rpc_error
from kinlink.linker.v1 import rekeying_service_pb2 as pb
from kinlink.linker.v1.rekeying_service_pb2_grpc import RekeyingServiceStub
from kinlink.pseudonyms import Kind

STAGES = ("conversion", "rekeying", "switch", "attestation")
"""The stages of a rekeying, in order."""

_STATES = {
    pb.REKEYING_STATE_RUNNING: "running",
    pb.REKEYING_STATE_INTERRUPTED: "interrupted",
    pb.REKEYING_STATE_SUCCEEDED: "succeeded",
    pb.REKEYING_STATE_FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class RekeyedKey:
    """What was done for one key version; `to_version` is 0 when nothing was ever held."""

    domain: str
    kind: str
    from_version: int
    to_domain: str
    to_version: int
    held: int
    converted: int
    sample_size: int
    attested: bool


@dataclass(frozen=True, slots=True)
class Rekeying:
    """A rekeying as it stands. `state`: running, interrupted, succeeded or failed; `stage`: one of STAGES."""

    rekeying_id: str
    request_id: str
    state: str
    stage: str
    done: int
    total: int
    reason: str
    message: str
    keys: Sequence[RekeyedKey]
    snapshot: int
    started_at: datetime
    ended_at: datetime | None


class LinkerRekeyingClient:
    """Asks a linker to carry what it holds to the primary versions of all keys."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Use an open channel."""
        self._stub = RekeyingServiceStub(channel)

    def start(self, request_id: str = "") -> Rekeying:
        """Start a rekeying, or resume the one of `request_id`, a UUID; without one, a new one is made.

        Raises KinlinkError when refused.
        """
        try:
            request = pb.StartRekeyingRequest(request_id=request_id or str(uuid.uuid4()))
            return _rekeying(self._stub.StartRekeying(request).rekeying)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def watch(self, rekeying_id: str) -> Iterator[Rekeying]:
        """Yield the rekeying whenever it changes, until it is no longer running.

        Raises KinlinkError when refused or when the linker is away; the rekeying goes on without a watcher.
        """
        try:
            for answer in self._stub.WatchRekeying(pb.WatchRekeyingRequest(rekeying_id=rekeying_id)):
                yield _rekeying(answer.rekeying)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def get(self, rekeying_id: str = "") -> Rekeying:
        """Return a rekeying, the newest without an id. Raises KinlinkError when there is none."""
        try:
            return _rekeying(self._stub.GetRekeying(pb.GetRekeyingRequest(rekeying_id=rekeying_id)).rekeying)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error


def _key(key: pb.RekeyedKey) -> RekeyedKey:
    former = getattr(key, "from")  # a word of Python
    kind = Kind.of_wire(former.kind)
    return RekeyedKey(
        domain=former.domain,
        kind=kind.value if kind else "unknown",
        from_version=former.version,
        to_domain=key.to.domain,
        to_version=key.to.version,
        held=key.held,
        converted=key.converted,
        sample_size=key.sample_size,
        attested=key.attested,
    )


def _rekeying(rekeying: pb.Rekeying) -> Rekeying:
    ended = rekeying.HasField("ended_at")
    return Rekeying(
        rekeying_id=rekeying.rekeying_id,
        request_id=rekeying.request_id,
        state=_STATES.get(rekeying.state, "unknown"),
        stage=STAGES[rekeying.stage - 1] if 1 <= rekeying.stage <= len(STAGES) else "unknown",
        done=rekeying.done,
        total=rekeying.total,
        reason=rekeying.reason,
        message=rekeying.message,
        keys=[_key(key) for key in rekeying.keys],
        snapshot=rekeying.snapshot,
        started_at=rekeying.started_at.ToDatetime(UTC),
        ended_at=rekeying.ended_at.ToDatetime(UTC) if ended else None,
    )
