"""The people who may sign, in the database: enrolled by the genesis file or by a change, removed by a change.

`signers_content` goes into the manifest that seals the key store, so that nobody can add a signer, or make an applied
change forgotten, in the database alone.

Works inside the caller's transaction. What may become of the people is `people`'s.
"""

from __future__ import annotations

from datetime import datetime

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

from kinlink.change_document import canonical
from kinlink.genesis import Genesis
from pseudonymizer.people import People

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
    Column("proposer", Text),
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


def lock(connection: Connection) -> None:
    """Let no other transaction change people or changes until this one ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def people(connection: Connection) -> People:
    """Return the people and the applied changes, as the database has them at this moment."""
    return People.parse(signers_content(connection))


def store(connection: Connection, before: People, after: People) -> None:
    """Write what a change made of the people."""
    known = {one.signer.public_key: one for one in before.everyone}
    for one in after.everyone:
        key = one.signer.public_key
        if key not in known:
            row = {"name": one.signer.name, "role": one.signer.role.value, "public_key": key}
            row |= {"change_id": one.change_id, "enrolled_at": one.enrolled_at.isoformat()}
            connection.execute(insert(signers_table).values(row))
        elif one.removed_at and known[key].removed_at is None:
            gone = update(signers_table).where(signers_table.c.public_key == key)
            connection.execute(gone.values(removed_at=one.removed_at.isoformat()))


def genesis_hash(connection: Connection) -> bytes:
    """Return the SHA-256 of the genesis file that this database began with; empty before its first start."""
    found = connection.execute(select(genesis_table.c.sha256)).scalar_one_or_none()
    return bytes(found or b"")


def begin(connection: Connection, genesis: Genesis, now: datetime) -> None:
    """Enrol the people of the genesis file, and remember which file it was."""
    connection.execute(insert(genesis_table).values(only=1, sha256=genesis.sha256))
    nobody = after = People(genesis.sha256, (), {})
    for signer in genesis.signers:
        after = after.with_enrolled(signer, "", now)
    store(connection, nobody, after)


def signers_content(connection: Connection) -> bytes:
    """Return the genesis, all people and the ids of all applied changes, as canonical JSON: public."""
    rows = connection.execute(select(signers_table).order_by(signers_table.c.public_key)).mappings()
    people = [{**row, "public_key": bytes(row["public_key"]).hex()} for row in rows]
    applied = select(changes.c.change_id, changes.c.applied_at).where(changes.c.applied_at.is_not(None))
    used = sorted(list(row) for row in connection.execute(applied.union(select(forgotten))))
    return canonical([genesis_hash(connection).hex(), people, used])
