"""Which versions of key-encryption keys the store stood under, and until when backups can still be unsealed.

1. A version is in use from the first change of the store that finds a row under it to the first that finds none.
2. A backup of the store made while a version was in use opens with that version only. So a destroyed key can be
   unsealed from backups until they are thrown away, `backups_kept_days` after the last one that holds it, or until
   every version that they were wrapped under is destroyed, whichever comes first.
3. That a version was destroyed is stated by a person (`kinlink keystore note-destroyed`); nothing here can see it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Column, Connection, MetaData, Table, Text, insert, select, update

from pseudonymizer.keystore import tables
from pseudonymizer.keystore.encryption_keys import wrapping_version

versions = Table(
    "wrapping_versions",
    MetaData(),
    Column("wrapping_version", Text, primary_key=True),
    *(Column(name, Text) for name in ("first_used_at", "last_used_at", "destroyed_at")),
)


@dataclass(frozen=True, slots=True)
class WrappingVersion:
    """A version of a key-encryption key. `last_used_at` is None while something stands under it."""

    name: str
    first_used_at: datetime
    last_used_at: datetime | None
    destroyed_at: datetime | None


def record(connection: Connection) -> None:
    """Note which versions the store stands under now."""
    now = datetime.now(UTC).isoformat()
    used = in_use(connection)
    known = {version.name: version for version in every(connection)}
    for name in sorted(used):
        if name not in known:
            connection.execute(insert(versions).values(wrapping_version=name, first_used_at=now))
        elif known[name].last_used_at is not None:
            _set(connection, name, last_used_at=None)
    for name, version in known.items():
        if name not in used and version.last_used_at is None:
            _set(connection, name, last_used_at=now)


def in_use(connection: Connection) -> set[str]:
    """Return the versions that something in the store stands under, as what was wrapped says. Raises KeyStoreError."""
    found = [
        *connection.execute(select(tables.keys.c.wrapped_key).where(tables.keys.c.wrapped_key.is_not(None))).scalars(),
        *connection.execute(select(tables.head.c.wrapped_key)).scalars(),
    ]
    return {wrapping_version(bytes(wrapped)) for wrapped in found}


def every(connection: Connection) -> list[WrappingVersion]:
    """Return all versions ever used, oldest first."""
    rows = connection.execute(select(versions).order_by(versions.c.first_used_at)).mappings()
    return [
        WrappingVersion(
            row["wrapping_version"],
            datetime.fromisoformat(row["first_used_at"]),
            *(datetime.fromisoformat(row[name]) if row[name] else None for name in ("last_used_at", "destroyed_at")),
        )
        for row in rows
    ]


def note_destroyed(connection: Connection, name: str, at: datetime) -> None:
    """Note that a version was destroyed; the caller has checked that nothing stands under it."""
    _set(connection, name, destroyed_at=at.isoformat())


def backups_until(
    known: Iterable[WrappingVersion], created_at: datetime, destroyed_at: datetime, kept: timedelta
) -> datetime:
    """Return until when a backup can unseal a key that lived from `created_at` to `destroyed_at`.

    `known` are all versions ever used. At least `destroyed_at`.
    """
    ends = [destroyed_at]
    for version in known:
        last_backup = min(destroyed_at, version.last_used_at or destroyed_at)
        if version.first_used_at <= destroyed_at and last_backup >= created_at:
            gone = last_backup + kept
            ends.append(min(gone, version.destroyed_at) if version.destroyed_at else gone)
    return max(ends)


def _set(connection: Connection, name: str, **values: str | None) -> None:
    connection.execute(update(versions).where(versions.c.wrapping_version == name).values(**values))
