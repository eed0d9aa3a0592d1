"""The people who may sign: enrolled by the genesis file or by a change, removed by a change.

1. Nobody is deleted: a removed person's row stays, with the instant.
2. A key is enrolled once for ever: who lost one, or was removed, makes another.
3. `signers_digest` goes into the manifest that seals the key store, so that nobody can add a signer, or make an
   applied change forgotten, in the database alone.

Works inside the caller's transaction. Knows no signatures: `changes` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    insert,
    select,
    text,
    update,
)

from kinlink.approvals import can_change, conflict
from kinlink.change_document import Signer, SignerRole, canonical
from kinlink.genesis import Genesis
from servicekit.errors import PreconditionError

_metadata = MetaData()
genesis_table = Table("genesis", _metadata, Column("only", Integer, primary_key=True), Column("sha256", LargeBinary))
signers_table = Table(
    "signers",
    _metadata,
    Column("public_key", LargeBinary, primary_key=True),
    *(Column(name, Text) for name in ("name", "role", "change_id", "enrolled_at", "removed_at")),
)
changes = Table(
    "changes",
    _metadata,
    Column("change_id", Text, primary_key=True),
    Column("document", LargeBinary),
    Column("signature", LargeBinary),
    Column("proposed_at", Text),
    Column("applied_at", Text),
)
approvals = Table(
    "approvals",
    _metadata,
    Column("change_id", Text, ForeignKey("changes.change_id"), primary_key=True),
    Column("signer", Text, primary_key=True),
    Column("signature", LargeBinary),
    Column("signed_at", Text),
)
# Changes that took effect and whose documents a restored backup no longer has: their ids stay used.
forgotten = Table(
    "forgotten_changes", _metadata, Column("change_id", Text, primary_key=True), Column("applied_at", Text)
)
_LOCK = 7_310_152  # any constant that no other advisory lock uses


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A person, since when and until when; `change_id` is empty for the genesis file."""

    signer: Signer
    enrolled_at: datetime
    removed_at: datetime | None
    change_id: str


def lock(connection: Connection) -> None:
    """Let no other transaction change people or changes until this one ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def everyone(connection: Connection) -> list[Enrolment]:
    """Return all people, former ones included, by name and then by time."""
    rows = connection.execute(
        select(signers_table).order_by(signers_table.c.name, signers_table.c.enrolled_at)
    ).mappings()
    return [
        Enrolment(
            Signer(row["name"], SignerRole(row["role"]), bytes(row["public_key"])),
            datetime.fromisoformat(row["enrolled_at"]),
            datetime.fromisoformat(row["removed_at"]) if row["removed_at"] else None,
            row["change_id"],
        )
        for row in rows
    ]


def enrolled(connection: Connection) -> dict[str, Signer]:
    """Return those who may sign now, by name."""
    return {one.signer.name: one.signer for one in everyone(connection) if one.removed_at is None}


def check_enrolment(connection: Connection, signer: Signer) -> None:
    """Check that a person can be enrolled.

    Raises:
        PreconditionError: SIGNER_CONFLICT, the person, or the key, is or was enrolled already.
    """
    known = everyone(connection)
    against = conflict(signer, [one.signer for one in known if one.removed_at is None])
    if against is None and any(one.signer.public_key == signer.public_key for one in known):
        against = "this key was enrolled before; make a new one"
    if against:
        raise PreconditionError(against, "SIGNER_CONFLICT")


def check_removal(connection: Connection, signer: Signer) -> None:
    """Check that a person can be removed.

    Raises:
        PreconditionError: SIGNER_UNKNOWN, nobody of that name has that key; TOO_FEW_SIGNERS, those who stay could
            not make a change.
    """
    known = enrolled(connection)
    if known.get(signer.name) != signer:
        raise PreconditionError(f"{signer.name} is not enrolled with this key", "SIGNER_UNKNOWN")
    if not can_change([other for other in known.values() if other.name != signer.name]):
        message = f"without {signer.name} too few could propose and approve; enrol somebody first"
        raise PreconditionError(message, "TOO_FEW_SIGNERS")


def enrol(connection: Connection, signer: Signer, change_id: str, now: datetime) -> None:
    """Enrol a person. Raises as check_enrolment."""
    check_enrolment(connection, signer)
    row = {"name": signer.name, "role": signer.role.value, "public_key": signer.public_key}
    connection.execute(insert(signers_table).values(**row, change_id=change_id, enrolled_at=now.isoformat()))


def remove(connection: Connection, signer: Signer, now: datetime) -> None:
    """Remove a person; their pending proposals and approvals no longer count. Raises as check_removal."""
    check_removal(connection, signer)
    gone = (
        update(signers_table).where(signers_table.c.public_key == signer.public_key).values(removed_at=now.isoformat())
    )
    connection.execute(gone)


def genesis_hash(connection: Connection) -> bytes:
    """Return the SHA-256 of the genesis file that this database began with; empty before its first start."""
    found = connection.execute(select(genesis_table.c.sha256)).scalar_one_or_none()
    return bytes(found or b"")


def begin(connection: Connection, genesis: Genesis, now: datetime) -> None:
    """Enrol the people of the genesis file, and remember which file it was."""
    connection.execute(insert(genesis_table).values(only=1, sha256=genesis.sha256))
    for signer in genesis.signers:
        enrol(connection, signer, "", now)


def signers_content(connection: Connection) -> bytes:
    """Return the genesis, all people and the ids of all applied changes, as canonical JSON: public."""
    rows = connection.execute(select(signers_table).order_by(signers_table.c.public_key)).mappings()
    people = [{**row, "public_key": bytes(row["public_key"]).hex()} for row in rows]
    applied = select(changes.c.change_id, changes.c.applied_at).where(changes.c.applied_at.is_not(None))
    used = sorted(list(row) for row in connection.execute(applied.union(select(forgotten))))
    return canonical([genesis_hash(connection).hex(), people, used])


def signers_digest(connection: Connection) -> bytes:
    """Return the SHA-256 of `signers_content`: 32 bytes.

    Seal it again in the transaction that changes any of it.
    """
    return sha256(signers_content(connection)).digest()
