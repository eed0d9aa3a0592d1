"""Both ends of a witness: the service that signs another's checkpoints, and the log that asks for it.

1. A witness signs for logs that its settings name, by their keys. It keeps every checkpoint that
   it signed, and signs the next one only with a proof that it continues the newest of them.
2. The newest is locked meanwhile, so two replicas of a log cannot get two histories signed.
3. A service has one key: as a log it signs notes, as a witness cosignatures, and the two types
   of signature cannot pass for one another.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import IntegrityError

from kinlink.audit import merkle, note
from kinlink.audit.note import WITNESS, Checkpoint, NoteError, UnsignedError, VerifierKey
from kinlink.audit.v1 import audit_service_pb2 as pb
from kinlink.audit.v1.audit_service_pb2_grpc import WitnessServiceStub
from kinlink.channel import Identity, open_channel
from kinlink.errors import KinlinkError, from_rpc_error
from servicekit.audit import tables
from servicekit.audit.tables import StoredTree
from servicekit.database import read
from servicekit.errors import DeniedError, InvalidError, NotFoundError, PreconditionError, UnavailableError
from servicekit.settings import ServerSettings
from servicekit.settings import Witness as WitnessSettings

_TIMEOUT_S = 20.0
_TOLD = ("LOG_FORKED", "PROOF_MALFORMED")  # a witness's words that the log repeats; else it is just not there


class Witness:
    """Signs other logs' checkpoints."""

    def __init__(self, engine: Engine, key: Ed25519PrivateKey, name: str, logs: Sequence[VerifierKey]) -> None:
        """Sign for `logs` under `name`."""
        self._engine = engine
        self._key = key
        self._name = name
        self._logs = {log.name: log for log in logs}

    def add(self, old_size: int, consistency: Sequence[bytes], signed: str) -> tuple[Checkpoint, str]:
        """Take a checkpoint; return it and the signature line.

        Raises:
            InvalidError: NOTE_INVALID. NotFoundError: LOG_UNKNOWN. DeniedError: LOG_KEY_UNKNOWN.
            PreconditionError: CHECKPOINT_STALE, `old_size` is not that of the newest checkpoint signed here (which
                `metadata` holds); LOG_FORKED, this checkpoint does not continue that one; PROOF_MALFORMED, what came
                with it is no proof between the two sizes, and so says nothing of the log.
            UnavailableError: WITNESS_BUSY, another checkpoint of this log was taken at the same moment.
        """
        checkpoint = self._verified(signed)
        try:
            with self._engine.begin() as connection:
                if self._engine.dialect.name == "postgresql":
                    connection.exec_driver_sql("LOCK TABLE audit_witnessed IN SHARE ROW EXCLUSIVE MODE")
                newest = self._newest(connection, checkpoint.origin)
                self._check(newest, old_size, consistency, checkpoint)
                if newest is None or newest.size < checkpoint.size:
                    row = {"origin": checkpoint.origin, "size": checkpoint.size, "note": signed}
                    row["signed_at"] = datetime.now(UTC).isoformat()
                    connection.execute(insert(tables.witnessed), row)
        except IntegrityError as error:
            raise UnavailableError("another checkpoint is being taken; try again", "WITNESS_BUSY") from error
        return checkpoint, note.cosign(checkpoint.text(), self._name, self._key, int(time.time()))

    def _verified(self, signed: str) -> Checkpoint:
        try:
            claimed = Checkpoint.parse(note.parse(signed).text)
            if claimed.origin not in self._logs:
                raise NotFoundError("this service does not witness that log; add it to witnessed_logs", "LOG_UNKNOWN")
            return note.open_checkpoint(signed, self._logs[claimed.origin])
        except UnsignedError as error:
            message = "the checkpoint is not signed by the key that witnessed_logs names for this log"
            raise DeniedError(message, "LOG_KEY_UNKNOWN") from error
        except NoteError as error:
            raise InvalidError(f"note: {error}", "NOTE_INVALID") from error

    @staticmethod
    def _newest(connection: Connection, origin: str) -> Checkpoint | None:
        rows = tables.witnessed
        query = select(rows.c.note).where(rows.c.origin == origin).order_by(rows.c.size.desc()).limit(1)
        found = connection.execute(query).scalar()
        return Checkpoint.parse(note.parse(found).text) if found else None

    @staticmethod
    def _check(newest: Checkpoint | None, old_size: int, consistency: Sequence[bytes], checkpoint: Checkpoint) -> None:
        known = newest.size if newest else 0
        if old_size != known:
            message = f"the newest checkpoint signed here has {known} entries; prove that this one continues it"
            raise PreconditionError(message, "CHECKPOINT_STALE", metadata={"size": str(known)})
        root = newest.root if newest else merkle.EMPTY_ROOT
        if not merkle.is_consistency_proof(known, checkpoint.size, consistency):
            message = f"this is no proof from {known} to {checkpoint.size} entries; send it as RFC 9162 has it"
            raise PreconditionError(message, "PROOF_MALFORMED")
        try:
            merkle.verify_consistency(known, checkpoint.size, consistency, root, checkpoint.root)
        except merkle.ProofError as error:
            message = f"this log is not a continuation of the checkpoint of {known} entries signed here: {error}"
            raise PreconditionError(message, "LOG_FORKED", metadata={"size": str(known)}) from error


class WitnessError(Exception):
    """A witness did not sign; `reason` is what the log's entry says."""

    def __init__(self, message: str, reason: str = "ANCHOR_UNAVAILABLE") -> None:
        """Say why."""
        super().__init__(message)
        self.reason = reason


class RemoteWitness:
    """Another kinlink service, asked to sign this log's checkpoints."""

    def __init__(self, engine: Engine, settings: ServerSettings, witness: WitnessSettings) -> None:
        """Ask `witness`, as the service that `settings` are of.

        Raises:
            NoteError: its key is not a verifier key.
        """
        self._engine = engine
        self._identity = Identity(settings.ca, settings.certificate, settings.key)
        self._witness = witness
        key = VerifierKey.parse(witness.key)
        self._key = VerifierKey(key.name, key.public, WITNESS)
        self.uri = f"witness:{key.name}"

    def send(self, signed: str) -> None:
        """Have a checkpoint of this log signed, and keep the signature; nothing when it is kept.

        Raises:
            WitnessError: it cannot be reached, refuses, or answers with a signature that is not its own.
        """
        checkpoint = Checkpoint.parse(note.parse(signed).text)
        rows = tables.cosignatures
        with read(self._engine) as connection:
            query = select(rows.c.size).where(rows.c.witness == self._key.name).order_by(rows.c.size.desc()).limit(1)
            old_size = connection.execute(query).scalar() or 0
        if old_size >= checkpoint.size:
            return
        name = self._witness.server_name or None
        try:
            with open_channel(self._witness.address, self._identity, (), name) as channel:
                line = self._ask(WitnessServiceStub(channel), old_size, checkpoint, signed)
            note.verify(str(note.Note(checkpoint.text(), ()).with_signature(line)), self._key)
        except NoteError as error:
            raise WitnessError(f"its signature is not that of {self._key.name}") from error
        except KinlinkError as error:
            reason = error.reason if error.reason in _TOLD else "ANCHOR_UNAVAILABLE"
            raise WitnessError(error.reason, reason) from error
        row = {"size": checkpoint.size, "witness": self._key.name, "line": line}
        with suppress(IntegrityError), self._engine.begin() as connection:  # unless another replica was first
            connection.execute(insert(rows), row)

    def _ask(self, stub: WitnessServiceStub, old_size: int, checkpoint: Checkpoint, signed: str) -> str:
        try:
            return self._add(stub, old_size, checkpoint, signed)
        except KinlinkError as error:
            known = int(error.metadata.get("size", "0")) if error.reason == "CHECKPOINT_STALE" else -1
            if known > checkpoint.size:
                raise WitnessError(f"it has signed this log with {known} entries", "LOG_FORKED") from error
            if known < 0 or known == old_size:
                raise
            return self._add(stub, known, checkpoint, signed)

    def _add(self, stub: WitnessServiceStub, old_size: int, checkpoint: Checkpoint, signed: str) -> str:
        with read(self._engine) as connection:
            proof = merkle.consistency_proof(old_size, checkpoint.size, StoredTree(connection).node)
        try:
            request = pb.AddCheckpointRequest(old_size=old_size, consistency=proof, note=signed)
            return stub.AddCheckpoint(request, timeout=_TIMEOUT_S).signature
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
