"""Releases and their tables: frozen, one live released table a table id and period.

1. A release and its tables are stored in one transaction, and nothing here changes them.
   A second live table for the same id and period is refused by the key itself.
2. `content` is the canonical JSON that the digest covers. It is checked on reading: a row
   that was tampered with is not served.
3. No row and no field here stands for one family. `audit` is internal: of it, `records` gives one
   count, to those who oversee releases; its other counts are of the cells that every reader sees.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from linker.disclosure.release import CellStatus, Release, ReleasedTable, canonical
from linker.store.state import METADATA, Instant, now
from servicekit.database import read
from servicekit.errors import ConflictError

RELEASES = sa.Table(
    "releases",
    METADATA,
    sa.Column("release_id", sa.String(32), primary_key=True),
    sa.Column("period", sa.String(10), nullable=False),
    sa.Column("reference_date", sa.Date, nullable=False),
    sa.Column("policy_digest", sa.String(64), nullable=False),
    sa.Column("outcomes", sa.Text, nullable=False),  # canonical JSON: table id -> outcome
    sa.Column("audit", sa.Text, nullable=False),  # canonical JSON: table id -> counts; internal
    sa.Column("created_at", Instant, nullable=False),
)

RELEASED_TABLES = sa.Table(
    "released_tables",
    METADATA,
    sa.Column("table_id", sa.String(100), primary_key=True),
    sa.Column("period", sa.String(10), primary_key=True),
    sa.Column("release_id", sa.String(32), sa.ForeignKey("releases.release_id"), nullable=False),
    sa.Column("reference_date", sa.Date, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("content", sa.Text, nullable=False),
)


class TamperedReleaseError(RuntimeError):
    """A stored table does not match its digest."""


@dataclass(frozen=True, slots=True)
class LiveTable:
    """A released table that is served, and when it was released."""

    table: ReleasedTable
    released_at: datetime


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """A released table and the record of its disclosure control: counts of cells, and the outcome's sentence."""

    live: LiveTable
    policy_digest: str
    outcome: str
    cells: int
    withheld: int
    unsafe_at_finest: int


class Releases:
    """The releases in the state database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def store(self, release: Release, connection: sa.Connection | None = None) -> None:
        """Store a release and its tables; one without new tables leaves no row.

        Given a connection, as part of its transaction.

        Raises:
            ConflictError: a live table exists for a table id and period; nothing is stored.
        """
        if not release.tables:
            return
        if connection is None:
            with self._engine.begin() as own:
                self.store(release, own)
            return
        rows = [
            {
                "table_id": table.table_id,
                "period": table.period,
                "release_id": table.release_id,
                "reference_date": table.reference_date,
                "digest": table.digest,
                "content": table.content(),
            }
            for table in release.tables
        ]
        header = {
            "release_id": release.release_id,
            "period": release.period,
            "reference_date": release.reference_date,
            "policy_digest": release.policy_digest,
            "outcomes": canonical({outcome.table_id: outcome.outcome for outcome in release.outcomes}),
            "audit": canonical(release.audit),
            "created_at": now(),
        }
        try:
            with connection.begin_nested():
                connection.execute(sa.insert(RELEASES), header)
                connection.execute(sa.insert(RELEASED_TABLES), rows)
        except sa.exc.IntegrityError:
            raise ConflictError("a live release exists for this table and period", "RELEASE_EXISTS") from None

    def live(self) -> Sequence[ReleasedTable]:
        """Return all live tables, by table id and period: the gate's history.

        Raises:
            TamperedReleaseError: a table does not match its digest.
        """
        query = sa.select(RELEASED_TABLES).order_by(RELEASED_TABLES.c.table_id, RELEASED_TABLES.c.period)
        with read(self._engine) as connection:
            return [_table(row) for row in connection.execute(query)]

    def find(self, table_id: str, period: str = "") -> LiveTable | None:
        """Return the live table of a period, or of the newest when `period` is empty; None when there is none.

        Raises:
            TamperedReleaseError: the table does not match its digest.
        """
        query = (
            sa.select(RELEASED_TABLES, RELEASES.c.created_at)
            .join(RELEASES, RELEASES.c.release_id == RELEASED_TABLES.c.release_id)
            .where(RELEASED_TABLES.c.table_id == table_id)
            .order_by(RELEASED_TABLES.c.reference_date.desc(), RELEASED_TABLES.c.period.desc())
            .limit(1)
        )
        if period:
            query = query.where(RELEASED_TABLES.c.period == period)
        with read(self._engine) as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else LiveTable(_table(row), row.created_at)

    def records(self) -> list[ReleaseRecord]:
        """Return the record of each live released table, newest release first.

        Raises:
            TamperedReleaseError: a table does not match its digest.
        """
        query = (
            sa.select(RELEASED_TABLES, RELEASES.c.created_at, RELEASES.c.policy_digest)
            .add_columns(RELEASES.c.outcomes, RELEASES.c.audit)
            .join(RELEASES, RELEASES.c.release_id == RELEASED_TABLES.c.release_id)
            .order_by(RELEASES.c.created_at.desc(), RELEASED_TABLES.c.table_id, RELEASED_TABLES.c.period)
        )
        with read(self._engine) as connection:
            return [_record(row) for row in connection.execute(query)]

    def periods(self) -> dict[str, list[str]]:
        """Return the periods of each table that has a live release, newest first."""
        query = sa.select(RELEASED_TABLES.c.table_id, RELEASED_TABLES.c.period).order_by(
            RELEASED_TABLES.c.reference_date.desc(), RELEASED_TABLES.c.period.desc()
        )
        found: dict[str, list[str]] = {}
        with read(self._engine) as connection:
            for table_id, period in connection.execute(query):
                found.setdefault(table_id, []).append(period)
        return found


def _table(row: sa.Row[tuple[object, ...]]) -> ReleasedTable:
    table = ReleasedTable.from_content(row.content, row.release_id)
    if (table.digest, table.table_id, table.period) != (row.digest, row.table_id, row.period):
        raise TamperedReleaseError(f"the stored release of {row.table_id} does not match its digest")
    return table


def _record(row: sa.Row[tuple[object, ...]]) -> ReleaseRecord:
    table = _table(row)
    return ReleaseRecord(
        live=LiveTable(table, row.created_at),
        policy_digest=row.policy_digest,
        outcome=json.loads(row.outcomes).get(row.table_id, ""),
        cells=len(table.cells),
        withheld=sum(cell.status is CellStatus.SUPPRESSED for cell in table.cells),
        unsafe_at_finest=json.loads(row.audit).get(row.table_id, {}).get("unsafe_at_finest", 0),
    )
