"""The family table's part of a linkage run: when it is made, and what becomes of it and of the run's release.

1. It is about a whole year, and made by a run through December.
2. A year has one. Later runs leave it as it is: the difference of two would tell who changed.
3. It waits until the run's ordinary tables about the year are released, since it is compared with what they hide.
4. Whoever reads both is an attacker on both. A table whose rows would tell what the release hides is not made; and
   once it is there, a release that would hide what its rows tell is not made: the tables that are live stay.
5. What such a reader could find possible is what later releases are compared with. So where the rows narrow anything,
   the table is released together with the year's ordinary ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from uuid import uuid4

import numpy as np
import polars as pl

from linker.disclosure.family_table import FamilyTable, Refusal, code_families
from linker.disclosure.family_table.code_families import NEXT_WHERE_TOLD
from linker.disclosure.family_table.columns import TOTAL, Bands, amounts
from linker.disclosure.family_table.joined import joined
from linker.disclosure.family_table.reach import Rows, reached
from linker.disclosure.family_table.rounding import SUFFIX
from linker.disclosure.family_table.table import TABLE_ID
from linker.disclosure.gate import known_by
from linker.disclosure.policy import Policy
from linker.disclosure.release import PastRelease, Release, ReleasedTable, TableOutcome
from linker.families.families import families_with_children
from linker.store.family_tables import FamilyTables
from linker.tables.registered_table import PeriodType, RegisteredTable
from linker.tables.services import family_services
from linker.tables.spending import family_spending

_MONTHS = 12
_STANDS = "stands: a year's family table is released once, and later runs do not change it"
_HELD = "next: release the year's tables, then run again"
_ALONE = "held back: the year's tables stand, and are released with it; next: run again when their figures change"
_KEPT = "the live tables stay; next: register the table without what is named, or run again when that can be shown"


@dataclass(frozen=True, slots=True)
class FamilyTableStage:
    """Makes the family table of a run, and looks at what a release and a family table tell together."""

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
    ) -> tuple[Release, FamilyTable | None, TableOutcome | None]:
        """Return the release to be stored, the table to be stored, if there is one, and what became of that.

        Before the year is over that is the release alone. `release` is this run's, `history` the releases before it.
        `sources` are postings, spells and catalogue.
        """
        period = str(year)
        if through_month != _MONTHS:
            return release, None, None
        families = families_with_children(members).collect(engine="streaming")
        spending = family_spending(members, *sources, year, through_month).collect(engine="streaming")
        released = list(self._of_year(release, history, year))
        if (before := self.stored.find(period)) is not None:
            rows = _rows(before.table, families, spending)
            outcome = TableOutcome(TABLE_ID, before.table.release_id, _STANDS)
            return self._beside(release, history, rows, released), None, outcome
        if missing := [outcome.table_id for outcome in release.outcomes if not outcome.release_id]:
            return release, None, TableOutcome(TABLE_ID, "", f"held back: {missing[0]} is not released; {_HELD}")
        made = code_families(
            members.collect(engine="streaming"),
            families,
            family_services(members, *sources, year, through_month).collect(engine="streaming"),
            spending,
            self.policy,
            self.registry,
            released,
            period=period,
            reference_date=reference_date,
        )
        if isinstance(made, Refusal):
            return release, None, TableOutcome(TABLE_ID, "", str(made))
        return self._made(release, made, _rows(made, families, spending))

    def _made(
        self, release: Release, made: FamilyTable, rows: Rows
    ) -> tuple[Release, FamilyTable | None, TableOutcome | None]:
        """Return what `table` does of a table that is safe by itself."""
        if (alone := release.proof) is not None:
            proof, told = joined(alone, rows)
            if told:
                refusal = Refusal(f"the rows would tell what a released table hides ({told[0]})", NEXT_WHERE_TOLD)
                return release, None, TableOutcome(TABLE_ID, "", str(refusal))
            if release.tables:
                release = known_by(release, proof)
            elif not np.array_equal(proof.pattern.ranges(), alone.pattern.ranges()):
                return release, None, TableOutcome(TABLE_ID, "", _ALONE)
        named = replace(made, release_id=uuid4().hex)
        return release, named, TableOutcome(TABLE_ID, named.release_id, str(named.record))

    def _beside(
        self, release: Release, history: Sequence[PastRelease], rows: Rows, released: Sequence[ReleasedTable]
    ) -> Release:
        """Return what a release beside a family table that is there becomes: itself, or one of nothing new."""
        if not release.tables or release.proof is None:
            return release
        pairs = [(each, table) for each in self.registry for table in released if table.table_id == each.table_id]
        told = reached(rows, pairs, {name: each.protection for name, each in self.policy.policies.items()})
        proof, unproven = joined(release.proof, rows)
        if not told and not unproven:
            return known_by(release, proof)
        live = {(table.table_id, table.period): table.release_id for past in history for table in past.tables}
        new = {table.table_id: live.get((table.table_id, table.period), "") for table in release.tables}
        sentence = f"refused: the year's family table would tell what is hidden ({[*told, *unproven][0]}); {_KEPT}"
        return replace(
            release,
            release_id="",
            tables=(),
            outcomes=tuple(
                TableOutcome(each.table_id, new[each.table_id], sentence) if each.table_id in new else each
                for each in release.outcomes
            ),
            coverage=() if "coverage" in new else release.coverage,
            basis=b"",
            proof=None,
        )

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


def _rows(table: FamilyTable, families: pl.DataFrame, spending: pl.DataFrame) -> Rows:
    """Return the rows of a family table, and what the families have now."""
    names = [name for name in table.rows.columns if name.startswith(f"{TOTAL}_") and not name.endswith(SUFFIX)]
    now = amounts(families, spending, [name.removeprefix(f"{TOTAL}_") for name in names])
    return Rows(table.each_family(), now, Bands(table.bands_ore), table.rounding_ore)
