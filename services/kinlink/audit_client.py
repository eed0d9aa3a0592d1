"""Reads a service's audit log and its proofs: what a data-protection officer, a reviewer or an auditor uses.

Nothing that a service says about its own log is believed here; `kinlink.audit`
verifies it against what was kept earlier.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import grpc

from kinlink.audit.entry import Entry, EntryError, parse
from kinlink.audit.export import Leaf
from kinlink.audit.merkle import HASH_BYTES, Frontier
from kinlink.audit.v1 import audit_service_pb2 as pb
from kinlink.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from kinlink.errors import InternalError, from_rpc_error


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint as the service signed it, and the key that it shows: compare that with the one you kept."""

    note: str
    verifier_key: str


class AuditClient:
    """Asks one service, pseudonymizer or linker, for its log."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Use an open channel."""
        self._stub = AuditServiceStub(channel)

    def checkpoint(self) -> SignedCheckpoint:
        """Return the log as it stands, signed. Raises KinlinkError."""
        try:
            answer = self._stub.GetCheckpoint(pb.GetCheckpointRequest())
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return SignedCheckpoint(answer.note, answer.verifier_key)

    def checkpoints(self, min_size: int = 0) -> Iterator[str]:
        """Yield the signed notes that the service has kept, in order of size. Raises KinlinkError."""
        try:
            for answer in self._stub.ListCheckpoints(pb.ListCheckpointsRequest(min_size=min_size)):
                yield answer.note
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def leaves(self, start: int = 0, end: int = 0) -> Iterator[Leaf]:
        """Yield entries from `start` until before `end` (0: as many as there are), as they were hashed.

        Whether they are dense is not asked here: a verifier has to see what is missing. Raises KinlinkError.
        """
        try:
            for answer in self._stub.ListEntries(pb.ListEntriesRequest(start=start, end=end)):
                hashes = answer.leaf_hashes
                if len(hashes) != HASH_BYTES * len(answer.entries):
                    raise _contradiction()
                for number, content in enumerate(answer.entries):
                    yield Leaf(hashes[HASH_BYTES * number : HASH_BYTES * (number + 1)], content)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def entries(self, start: int = 0, end: int = 0) -> Iterator[Entry]:
        """Yield entries from `start` until before `end` (0: as many as there are). Raises KinlinkError as `leaves`."""
        for leaf in self.leaves(start, end):
            try:
                yield parse(leaf.content)
            except EntryError as error:
                raise InternalError(f"The service's log holds something else than entries: {error}.") from error

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """Return the proof that entry `index` stands in the log of `size` entries. Raises KinlinkError."""
        try:
            answer = self._stub.GetInclusionProof(pb.GetInclusionProofRequest(index=index, size=size))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return list(answer.hashes)

    def consistency_proof(self, old_size: int, new_size: int) -> list[bytes]:
        """Return the proof that the log of `new_size` entries continues that of `old_size`, at least 1.

        Raises KinlinkError.
        """
        request = pb.GetConsistencyProofRequest(old_size=old_size, new_size=new_size)
        try:
            return list(self._stub.GetConsistencyProof(request).hashes)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def frontier(self, size: int) -> Frontier:
        """Return the complete subtrees of the log's first `size` entries, from which an export can begin.

        The siblings of the last of `size` leaves are just the subtrees before it. Raises KinlinkError.
        """
        if size == 0:
            return Frontier()
        siblings = self.inclusion_proof(size - 1, size)
        try:
            found = Frontier(size - 1, siblings[::-1])
        except ValueError as error:
            raise _contradiction() from error
        found.extend(leaf.hash for leaf in self.leaves(size - 1, size))
        if found.size != size:
            raise _contradiction()
        return found


def _contradiction() -> InternalError:
    return InternalError("The service's answer contradicts itself. Tell the service's operator.", "AUDIT_CONTRADICTION")
