"""Snapshots: one row in the state database names the version of every table.

1. A change writes its tables first, durably, and then names them in one database
   transaction, together with whatever else it decides (a delivery accepted, a
   delivery converted). Before that transaction nothing has happened; after it, all.
2. Changes are made one at a time: a lock in the process, and on PostgreSQL an
   advisory lock as well.
3. Readers pin a snapshot. Files are deleted only when no pin needs them.
4. Opening cleans what a dead writer left.

Only the newest snapshot can be pinned: older ones are a record, and their files are
deleted with the rows they held.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import polars as pl
import sqlalchemy as sa

from linker.store.state import SNAPSHOT_TABLES, SNAPSHOTS, now
from linker.store.tables import SCHEMAS, DeliveryKey, Tables
from servicekit.database import read

_ADVISORY_LOCK = 0x6B696E6C  # "kinl"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A consistent state of all tables. Number 0 is the empty store before the first change."""

    number: int
    versions: Mapping[str, int] = field(default_factory=dict)

    def version(self, table: str) -> int | None:
        """Return the table's version; None when it has never been written."""
        return self.versions.get(table)


class PinnedSnapshot:
    """A snapshot whose files stay until the pin is released."""

    def __init__(self, snapshot: Snapshot, tables: Tables) -> None:
        self.snapshot = snapshot
        self._tables = tables

    def scan(self, table: str) -> pl.LazyFrame:
        """Return the table's rows at this snapshot, lazily."""
        return self._tables.scan(table, self.snapshot.version(table))


class Change:
    """The next snapshot in the making; made by `Snapshots.change`."""

    def __init__(self, engine: sa.Engine, tables: Tables, base: Snapshot, cause: str) -> None:
        self.base = base
        self.number = base.number + 1
        self._engine = engine
        self._tables = tables
        self._cause = cause
        self._versions = dict(base.versions)

    def scan(self, table: str) -> pl.LazyFrame:
        """Return the table's rows as this change has left them so far."""
        return self._tables.scan(table, self._versions.get(table))

    def write(
        self,
        table: str,
        *,
        remove: Sequence[DeliveryKey] = (),
        replace: bool = False,
        append: pl.LazyFrame | None = None,
    ) -> None:
        """Write the table's next version; see `Tables.write`. Unseen until `commit`."""
        base = self._versions.get(table)
        self._versions[table] = self._tables.write(table, base, remove=remove, replace=replace, append=append)

    @contextmanager
    def commit(self) -> Iterator[sa.Connection]:
        """Name the written versions, in one transaction with what the caller adds to it.

        On an exception nothing is named and nothing was changed.
        """
        with self._engine.begin() as connection:
            connection.execute(SNAPSHOTS.insert().values(snapshot=self.number, cause=self._cause, created_at=now()))
            rows = [
                {"snapshot": self.number, "table_name": table, "version": version}
                for table, version in sorted(self._versions.items())
            ]
            if rows:
                connection.execute(SNAPSHOT_TABLES.insert(), rows)
            yield connection


class Snapshots:
    """The store: tables, and the snapshots that name their versions."""

    def __init__(self, engine: sa.Engine, tables: Tables) -> None:
        self.engine = engine
        self._tables = tables
        self._writing = threading.RLock()
        self._pins: list[Snapshot] = []
        self._pinning = threading.Lock()

    def open(self) -> None:
        """Delete whatever no snapshot names: the files of writers that died, and of old snapshots."""
        self.purge()

    def current(self) -> Snapshot:
        """Return the newest snapshot."""
        newest = sa.select(sa.func.max(SNAPSHOTS.c.snapshot))
        with read(self.engine) as connection:
            number = connection.execute(newest).scalar()
            if number is None:
                return Snapshot(0)
            rows = connection.execute(
                sa.select(SNAPSHOT_TABLES.c.table_name, SNAPSHOT_TABLES.c.version).where(
                    SNAPSHOT_TABLES.c.snapshot == number
                )
            )
            return Snapshot(number, {row.table_name: row.version for row in rows})

    @contextmanager
    def pin(self) -> Iterator[PinnedSnapshot]:
        """Pin the newest snapshot for reading, until the block ends."""
        with self._pinning:
            snapshot = self.current()
            self._pins.append(snapshot)
        try:
            yield PinnedSnapshot(snapshot, self._tables)
        finally:
            with self._pinning:
                self._pins.remove(snapshot)

    @contextmanager
    def change(self, cause: str) -> Iterator[Change]:
        """Begin a change on the newest snapshot, alone. A change that is never committed is nothing.

        `cause` is a word for the record.
        """
        with self._exclusive():
            yield Change(self.engine, self._tables, self.current(), cause)

    def purge(self, tables: Iterable[str] = tuple(SCHEMAS)) -> int:
        """Delete from disk what the newest snapshot no longer holds; return the number of files.

        A table that a pinned reader still needs at an older version is left for the next
        purge.
        """
        with self._exclusive():
            current = self.current()
            with self._pinning:
                free = [t for t in tables if all(pin.version(t) == current.version(t) for pin in self._pins)]
            return sum(self._tables.purge(table, current.version(table)) for table in free)

    def holds_older(self, tables: Iterable[str]) -> bool:
        """Say whether a pinned reader keeps rows of these tables on disk that the newest snapshot does not hold."""
        current = self.current()
        with self._pinning:
            return any(pin.version(table) != current.version(table) for pin in self._pins for table in tables)

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._writing:
            if self.engine.dialect.name != "postgresql":
                yield
                return
            with self.engine.connect() as connection:
                connection.execute(sa.select(sa.func.pg_advisory_lock(_ADVISORY_LOCK)))
                connection.commit()  # the lock is the session's; no transaction stays open
                try:
                    yield
                finally:
                    connection.execute(sa.select(sa.func.pg_advisory_unlock(_ADVISORY_LOCK)))
                    connection.commit()
