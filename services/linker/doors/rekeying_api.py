"""RekeyingService: wire messages to values, one use case, values to wire messages."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from kinlink.linker.v1 import rekeying_service_pb2 as pb
from kinlink.linker.v1.rekeying_service_pb2_grpc import RekeyingServiceServicer
from kinlink.pseudonyms import Kind
from kinlink.types.v1.types_pb2 import KeyRef
from linker.doors.intake_api import timestamp
from linker.rekeyings import Rekeyings
from linker.store.rekeyings import RekeyedKey, Rekeying, Stage
from linker.store.state import RunState
from servicekit.audit import describe

_STATES = {
    RunState.RUNNING: pb.REKEYING_STATE_RUNNING,
    RunState.INTERRUPTED: pb.REKEYING_STATE_INTERRUPTED,
    RunState.SUCCEEDED: pb.REKEYING_STATE_SUCCEEDED,
    RunState.FAILED: pb.REKEYING_STATE_FAILED,
}
_STAGES = {
    Stage.CONVERSION: pb.REKEYING_STAGE_CONVERSION,
    Stage.REKEYING: pb.REKEYING_STAGE_REKEYING,
    Stage.SWITCH: pb.REKEYING_STAGE_SWITCH,
    Stage.ATTESTATION: pb.REKEYING_STAGE_ATTESTATION,
}


class RekeyingApi(RekeyingServiceServicer):
    """Serves RekeyingService from `Rekeyings`."""

    def __init__(self, rekeyings: Rekeyings) -> None:
        self._rekeyings = rekeyings

    def StartRekeying(
        self, request: pb.StartRekeyingRequest, context: grpc.ServicerContext
    ) -> pb.StartRekeyingResponse:
        """Start or resume a rekeying."""
        rekeying = self._rekeyings.start(request.request_id)
        describe(subject=f"rekeying/{rekeying.rekeying_id}")
        return pb.StartRekeyingResponse(rekeying=_message(rekeying))

    def WatchRekeying(
        self, request: pb.WatchRekeyingRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.WatchRekeyingResponse]:
        """Stream a rekeying's progress."""
        for rekeying in self._rekeyings.watch(request.rekeying_id, context.is_active):
            describe(subject=f"rekeying/{rekeying.rekeying_id}")
            yield pb.WatchRekeyingResponse(rekeying=_message(rekeying))

    def GetRekeying(self, request: pb.GetRekeyingRequest, context: grpc.ServicerContext) -> pb.GetRekeyingResponse:
        """Return a rekeying."""
        rekeying = self._rekeyings.get(request.rekeying_id)
        describe(subject=f"rekeying/{rekeying.rekeying_id}")
        return pb.GetRekeyingResponse(rekeying=_message(rekeying))


def _key(key: RekeyedKey) -> pb.RekeyedKey:
    kind = Kind(key.kind).wire
    to_key = KeyRef(domain=key.to_domain, kind=kind, version=key.to_version) if key.to_version else None
    return pb.RekeyedKey(
        **{"from": KeyRef(domain=key.domain, kind=kind, version=key.from_version), "to": to_key},  # a word of Python
        held=key.held,
        converted=key.converted,
        sample_size=key.sample_size,
        attested=key.attested_at is not None,
    )


def _message(rekeying: Rekeying) -> pb.Rekeying:
    return pb.Rekeying(
        rekeying_id=rekeying.rekeying_id,
        request_id=rekeying.request_id,
        state=_STATES[rekeying.state],
        stage=_STAGES[rekeying.stage],
        done=rekeying.done,
        total=rekeying.total,
        reason=rekeying.reason,
        message=rekeying.message,
        keys=map(_key, rekeying.keys),
        snapshot=rekeying.snapshot or 0,
        started_at=timestamp(rekeying.started_at),
        ended_at=timestamp(rekeying.ended_at),
    )
