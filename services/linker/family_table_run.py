"""The family table's part of a linkage run: when it is made, and what becomes of it.

1. It is about a whole year, and made by a run through December.
2. A year has one. Later runs leave it as it is: the difference of two would tell who changed.
3. It waits until the run's ordinary tables about the year are released, since it is compared with what they hide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from uuid import uuid4

import polars as pl

from linker.disclosure.family_table import FamilyTable, Refusal, code_families
from linker.disclosure.family_table.table import TABLE_ID
from linker.disclosure.policy import Policy
from linker.disclosure.release import PastRelease, Release, ReleasedTable, TableOutcome
from linker.families.families import families_with_children
from linker.store.family_tables import FamilyTables
from linker.tables.registered_table import PeriodType, RegisteredTable
from linker.tables.services import family_services
from linker.tables.spending import family_spending

_MONTHS = 12


@dataclass(frozen=True, slots=True)
class FamilyTableStage:
    """Makes the family table of a run."""

    stored: FamilyTables
    registry: Sequence[RegisteredTable]
    policy: Policy

    def table(
        self,
        release: Release,
        history: Sequence[PastRelease],
        members: pl.LazyFrame,
        sources: tuple[pl.LazyFrame, pl.LazyFrame, pl.LazyFrame],
        year: int,
        through_month: int,
        reference_date: date,
    ) -> tuple[FamilyTable | None, TableOutcome | None]:
        """Return the table to be stored, if there is one, and what became of it; nothing before the year is over.

        `release` is this run's, `history` the releases before it. `sources` are postings, spells and catalogue.
        """
        period = str(year)
        if through_month != _MONTHS:
            return None, None
        if (before := self.stored.find(period)) is not None:
            sentence = "stands: a year's family table is released once, and later runs do not change it"
            return None, TableOutcome(TABLE_ID, before.table.release_id, sentence)
        if missing := [outcome.table_id for outcome in release.outcomes if not outcome.release_id]:
            sentence = f"held back: {missing[0]} is not released; next: release the year's tables, then run again"
            return None, TableOutcome(TABLE_ID, "", sentence)
        made = code_families(
            members.collect(engine="streaming"),
            families_with_children(members).collect(engine="streaming"),
            family_services(members, *sources, year, through_month).collect(engine="streaming"),
            family_spending(members, *sources, year, through_month).collect(engine="streaming"),
            self.policy,
            self.registry,
            list(self._of_year(release, history, year)),
            period=period,
            reference_date=reference_date,
        )
        if isinstance(made, Refusal):
            return None, TableOutcome(TABLE_ID, "", str(made))
        named = replace(made, release_id=uuid4().hex)
        return named, TableOutcome(TABLE_ID, named.release_id, str(named.record))

    def _of_year(self, release: Release, history: Sequence[PastRelease], year: int) -> Iterator[ReleasedTable]:
        """Yield the newest revision of each ordinary table about the whole year."""
        periods = {
            table.table_id: table.period.label(year, _MONTHS)
            for table in self.registry
            if table.period is not PeriodType.QUARTER
        }
        tables = [table for past in history for table in past.tables] + list(release.tables)
        newest = {(table.table_id, table.period): table for table in tables}
        for (table_id, period), table in newest.items():
            if periods.get(table_id) == period:
                yield table
