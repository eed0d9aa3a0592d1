"""AuditService and WitnessService: wire messages to values, one use case, values to wire messages.

Who looks at the log is in the log: each call is an entry, as any other's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import grpc
from sqlalchemy import Engine

from kinlink.audit import merkle
from kinlink.audit.v1 import audit_service_pb2 as pb
from kinlink.audit.v1.audit_service_pb2_grpc import AuditServiceServicer, WitnessServiceServicer
from servicekit.audit import tables
from servicekit.audit.checkpoints import Checkpoints
from servicekit.audit.entry import describe
from servicekit.audit.log import AuditLog
from servicekit.audit.tables import StoredTree
from servicekit.audit.witness import Witness
from servicekit.database import read
from servicekit.errors import FieldViolation, InvalidError

SERVICES: Final = ("kinlink.audit.v1.AuditService", "kinlink.audit.v1.WitnessService")
_PAGE: Final = 500  # entries of at most some 20 kB each: far below the largest message


class AuditApi(AuditServiceServicer):
    """Serves a service's own log."""

    def __init__(
        self, engine: Engine, log: AuditLog, checkpoints: Checkpoints, on_signed: Callable[[str], None]
    ) -> None:
        """Serve `log`; `on_signed` is told of a checkpoint that was signed for a caller."""
        self._engine = engine
        self._log = log
        self._checkpoints = checkpoints
        self._on_signed = on_signed

    def ListEntries(
        self, request: pb.ListEntriesRequest, _context: grpc.ServicerContext
    ) -> Iterator[pb.ListEntriesResponse]:
        """Stream entries, those that were there when it was asked."""
        size = self._log.size()
        start, end = request.start, min(request.end or size, size)
        if request.end and request.end < request.start:
            raise _invalid("end", "expected the start or more, or 0")
        describe(subject=f"entries {start}-{max(start, end)}", count=max(0, end - start))
        for page in self._log.stored(start, end, _PAGE):
            entries, leaves = zip(*page, strict=True)
            yield pb.ListEntriesResponse(start=start, entries=entries, leaf_hashes=b"".join(leaves))
            start += len(page)

    def GetCheckpoint(
        self, request: pb.GetCheckpointRequest, _context: grpc.ServicerContext
    ) -> pb.GetCheckpointResponse:
        """Sign the log as it stands. Its second places get it at once: who keeps it finds it with them."""
        signed = self._checkpoints.sign()
        self._on_signed(signed)
        signed = self._checkpoints.with_witnesses(signed)
        return pb.GetCheckpointResponse(note=signed, verifier_key=str(self._checkpoints.verifier))

    def ListCheckpoints(
        self, request: pb.ListCheckpointsRequest, _context: grpc.ServicerContext
    ) -> Iterator[pb.ListCheckpointsResponse]:
        """Stream the kept checkpoints."""
        describe(subject=f"checkpoints {request.min_size}-")
        for signed in self._checkpoints.kept(min(request.min_size, self._log.size() + 1)):
            yield pb.ListCheckpointsResponse(note=signed)

    def GetInclusionProof(
        self, request: pb.GetInclusionProofRequest, _context: grpc.ServicerContext
    ) -> pb.GetInclusionProofResponse:
        """Prove an entry."""
        describe(subject=f"entry {request.index}")
        with read(self._engine) as connection:
            size = _size(request.size, int(connection.execute(tables.READ_HEAD).one().size), "size")
            if request.index >= size:
                raise _invalid("index", f"expected below {size}, the log's size")
            hashes = merkle.inclusion_proof(request.index, size, StoredTree(connection).node)
        return pb.GetInclusionProofResponse(size=size, hashes=hashes)

    def GetConsistencyProof(
        self, request: pb.GetConsistencyProofRequest, _context: grpc.ServicerContext
    ) -> pb.GetConsistencyProofResponse:
        """Prove a continuation."""
        with read(self._engine) as connection:
            size = _size(request.new_size, int(connection.execute(tables.READ_HEAD).one().size), "new_size")
            if not 1 <= request.old_size <= size:
                raise _invalid("old_size", f"expected 1 to {size}")
            describe(subject=f"sizes {request.old_size}-{size}")
            hashes = merkle.consistency_proof(request.old_size, size, StoredTree(connection).node)
        return pb.GetConsistencyProofResponse(new_size=size, hashes=hashes)


class WitnessApi(WitnessServiceServicer):
    """Serves a `Witness`."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    def AddCheckpoint(
        self, request: pb.AddCheckpointRequest, _context: grpc.ServicerContext
    ) -> pb.AddCheckpointResponse:
        """Take a checkpoint."""
        checkpoint, line = self._witness.add(request.old_size, request.consistency, request.note)
        describe(subject=f"{checkpoint.origin} {checkpoint.size}")
        return pb.AddCheckpointResponse(signature=line)


def _size(asked: int, stands: int, field: str) -> int:
    if asked > stands:
        raise _invalid(field, f"expected at most {stands}, or 0")
    return asked or stands


def _invalid(field: str, expected: str) -> InvalidError:
    return InvalidError(f"{field}: {expected}", "REQUEST_INVALID", [FieldViolation(field, expected)])
