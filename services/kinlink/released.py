"""Released tables as plain values: what an analyst or another municipal system works with.

1. A cell is "published", "suppressed" or "carried". A suppressed one has no number: it is not 0 and not missing. A
   carried one has the number of an earlier revision, which it names; its present number is withheld.
2. A table may be released again for a period: each time is a revision, frozen.
3. Amounts are øre; shares are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl


@dataclass(frozen=True, slots=True)
class Revision:
    """One time that a table was released for a period; counted from 1."""

    period: str
    revision: int
    release_id: str
    reference_date: date
    released_at: datetime


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """What a table says.

    `periods` are those with a release, newest first; `revisions` those of each period, newest first. `period_type`:
    year, year_to_date or quarter; "" of a linker that does not say. `threshold`: fewest families that a shown number is
    about, by the policy in force; 0 where that is not told, as of cells released under another.
    """

    table_id: str
    version: int
    title_da: str
    title_en: str
    universe: str
    notes: Sequence[str]
    periods: Sequence[str]
    period_type: str = ""
    revisions: Sequence[Revision] = ()
    threshold: int = 0


@dataclass(frozen=True, slots=True)
class Axis:
    """One way of dividing a table: categories, then sums over some of them, then the total (or "")."""

    name: str
    title_da: str
    categories: Sequence[str]
    subtotals: Sequence[str]
    total: str
    titles_da: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """All names that a cell may have, in order."""
        return (*self.categories, *self.subtotals, *([self.total] if self.total else []))


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of each cell. `unit`: count, amount_ore, mean_ore, share or mean."""

    name: str
    title_da: str
    unit: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One measure of one cell; `value` is None exactly when `status` is "suppressed".

    `revision`: whose number it is, the table's own or, of a carried cell, an earlier one; 0 when suppressed.
    """

    categories: tuple[str, ...]
    measure: str
    status: str
    value: int | float | None
    revision: int


@dataclass(frozen=True, slots=True)
class Table:
    """A released table. `digest` is SHA-256 of what it says, hex, the same for every door."""

    definition: TableDefinition
    release_id: str
    digest: str
    period: str
    revision: int
    reference_date: date
    released_at: datetime
    axes: Sequence[Axis]
    measures: Sequence[Measure]
    cells: Sequence[Cell]

    def to_frame(self) -> pl.DataFrame:
        """Return a row a cell and measure, in the release's order.

        Columns: one an axis, measure, unit, status (String), revision (Int32: whose number it is), integer (Int64:
        counts and øre), real (Float64: shares and means). The last three are null where the cell is suppressed.
        """
        units = {measure.name: measure.unit for measure in self.measures}
        rows = []
        for cell in self.cells:
            real = units[cell.measure] in {"share", "mean"}
            numbers = (None, cell.value) if real else (cell.value, None)
            words = (*cell.categories, cell.measure, units[cell.measure], cell.status)
            rows.append((*words, cell.revision or None, *numbers))
        columns = [*(axis.name for axis in self.axes), "measure", "unit", "status"]
        schema: dict[str, pl.DataType] = dict.fromkeys(columns, pl.String())
        numbers_of = {"revision": pl.Int32(), "integer": pl.Int64(), "real": pl.Float64()}
        return pl.DataFrame(rows, schema={**schema, **numbers_of}, orient="row")


@dataclass(frozen=True, slots=True)
class ProtectionRules:
    """What a table is protected by. `p_percent` is 0 and `dominance`, pairs of n and percent, empty where not applied.

    A hidden amount could be more or less by `interval_percent` of it, and by `interval_minimum_ore`.
    """

    policy: str
    threshold: int
    p_percent: int
    dominance: Sequence[tuple[int, int]]
    interval_percent: int
    interval_minimum_ore: int
    singletons: bool
    department_insiders: bool


@dataclass(frozen=True, slots=True)
class TableRecord:
    """A table of a release. `cells` = `shown` + `carried` + `suppressed`: one measure of one combination is a cell.

    `rules`: None where the release was made under another policy than the one in force.
    """

    table_id: str
    title_da: str
    title_en: str
    period: str
    revision: int
    digest: str
    cells: int
    shown: int
    carried: int
    suppressed: int
    rules: ProtectionRules | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A release and the public part of its record: who attacked, programs solved, and what was not proven (0).

    `policy_digest` is SHA-256 of the policy's numbers, hex. `seconds` is 0 when it was not measured.
    """

    release_id: str
    reference_date: date
    released_at: datetime
    policy_digest: str
    attackers: Sequence[str]
    programs: int
    failures: int
    unchecked: int
    seconds: float
    tables: Sequence[TableRecord]
