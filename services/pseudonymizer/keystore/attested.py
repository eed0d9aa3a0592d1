"""Which holders are done with a key version, and who used it since it retires.

1. An attestation counts until its holder uses the version again: then it evidently held something still.
2. Uses are remembered of versions that retire only, one row a version and caller.
3. A rotation that is over keeps who was asked, and who had attested.

Works inside the caller's transaction; knows no policy, and does not check what is attested (`rotations` does).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore.tables import attestations, uses


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a holder attested of a version; `attested_at` is None when it did not, or used the version after."""

    holder: str
    attested_at: datetime | None = None
    held: int = 0
    converted: int = 0
    sample_size: int = 0


def used(connection: Connection, name: KeyName, caller: str, at: datetime) -> None:
    """Remember that `caller` used a retiring version; what it attested of it counts no more."""
    _upsert(connection, uses, _place(name) | {"caller": caller}, {"used_at": at.isoformat()})
    mine = _here(attestations, name) & (attestations.c.holder == caller)
    connection.execute(update(attestations).where(mine).values(attested_at=None))


def record(connection: Connection, name: KeyName, attestation: Attestation) -> None:
    """Remember an attestation, in place of the holder's earlier one."""
    at = attestation.attested_at
    values = {
        "attested_at": at.isoformat() if at else None,
        "held": attestation.held,
        "converted": attestation.converted,
        "sample_size": attestation.sample_size,
    }
    _upsert(connection, attestations, _place(name) | {"holder": attestation.holder}, values)


def missing(connection: Connection, name: KeyName, holders: Sequence[str]) -> list[str]:
    """Return those of `holders` whose attestation is missing."""
    done = {one.holder for one in of_version(connection, name) if one.attested_at}
    return [holder for holder in holders if holder not in done]


def close(connection: Connection, name: KeyName, holders: Iterable[str]) -> None:
    """Keep who was asked, as the version is destroyed."""
    known = {one.holder for one in of_version(connection, name)}
    for holder in holders:
        if holder not in known:
            record(connection, name, Attestation(holder))


def of_version(connection: Connection, name: KeyName) -> list[Attestation]:
    """Return what is recorded of a version, by holder."""
    query = select(attestations).where(_here(attestations, name)).order_by(attestations.c.holder)
    return [
        Attestation(
            row["holder"],
            datetime.fromisoformat(row["attested_at"]) if row["attested_at"] else None,
            row["held"],
            row["converted"],
            row["sample_size"],
        )
        for row in connection.execute(query).mappings()
    ]


def last_used_at(connection: Connection, name: KeyName) -> datetime | None:
    """Return when anybody used a version last since it retires; None when nobody did."""
    last = connection.execute(select(func.max(uses.c.used_at)).where(_here(uses, name))).scalar()
    return datetime.fromisoformat(last) if last else None


def _place(name: KeyName) -> dict[str, Any]:
    return {"domain": name.domain, "kind": name.kind.value, "version": name.version}


def _here(table: Table, name: KeyName) -> ColumnElement[bool]:
    columns = table.c
    return (columns.domain == name.domain) & (columns.kind == name.kind.value) & (columns.version == name.version)


def _upsert(connection: Connection, table: Table, place: dict[str, Any], values: dict[str, Any]) -> None:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(**place, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=list(place), set_=values))
