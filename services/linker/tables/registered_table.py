"""What a registered table is: axes, measures, universe, and the months of a run that it is about.

Which tables there are is said in `registry`; how facts are computed, and which cells are shown, elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

GROUP = "group"
"""The axis that a target group divides."""
_MONTHS = 12
_QUARTER = 3


class Unit(StrEnum):
    """What a measure's number is."""

    COUNT = "count"
    AMOUNT_ORE = "amount_ore"
    MEAN_ORE = "mean_ore"
    SHARE = "share"
    MEAN = "mean"


class PeriodType(StrEnum):
    """Which months of a run's year a table is about. The run's year ends with `through_month`, 1 to 12."""

    YEAR = "year"
    YEAR_TO_DATE = "year_to_date"
    QUARTER = "quarter"

    def is_due(self, through_month: int) -> bool:
        """Say whether a run through this month makes such tables."""
        match self:
            case PeriodType.YEAR:
                return through_month == _MONTHS
            case PeriodType.YEAR_TO_DATE:
                return True
            case PeriodType.QUARTER:
                return through_month % _QUARTER == 0

    def months(self, through_month: int) -> tuple[int, ...]:
        """Return the months, 1 to 12, that such a table sums in a run through this month."""
        first = through_month - _QUARTER if self is PeriodType.QUARTER else 0
        return tuple(range(first + 1, through_month + 1))

    def label(self, year: int, through_month: int) -> str:
        """Return the period's name: "2014", "2014M01-06" or "2014Q2"."""
        match self:
            case PeriodType.YEAR:
                return str(year)
            case PeriodType.YEAR_TO_DATE:
                return f"{year}M01-{through_month:02}"
            case PeriodType.QUARTER:
                return f"{year}Q{through_month // _QUARTER}"


class RegistryError(ValueError):
    """The registry contradicts itself; names table or axis and the expected form."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One way of dividing a table.

    `categories` are the leaves. `total` is the name of the sum over all of them, empty when there is none. `subtotals`
    name sums of leaves. `titles_da` has a Danish name for leaves, subtotals and total; a missing one is the code.
    `of_period`: what leaf a contributor is in follows from the run's period, so that it can change from month to month.
    """

    name: str
    title_da: str
    title_en: str
    categories: tuple[str, ...]
    total: str
    subtotals: Mapping[str, tuple[str, ...]]
    titles_da: Mapping[str, str]
    numeric: tuple[int, int] | None = None
    of_period: bool = False

    def category(self, number: pl.Expr) -> pl.Expr:
        """Return the category (String) of an integer expression, on a numeric axis.

        Raises:
            RegistryError: the axis is not numeric.
        """
        if self.numeric is None:
            raise RegistryError(f"axis {self.name} is not numeric")
        first, last = self.numeric
        return (
            pl.when(number <= first)
            .then(pl.lit(self.categories[0]))
            .when(number >= last)
            .then(pl.lit(self.categories[-1]))
            .otherwise(number.cast(pl.String))
        )


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of each cell.

    `column` is a fact that is summed over the cell. A share or mean divides by the sum of `denominator`; a count or
    amount has none. A denominator of another frame than the column's is summed over those of the table's axes that its
    frame has.
    """

    name: str
    title_da: str
    unit: Unit
    column: str
    denominator: str | None


@dataclass(frozen=True, slots=True)
class RegisteredTable:
    """A table's definition.

    `within`: leaves, by axis, that the table is kept to. `policy`: which part of the disclosure policy it is protected
    by. With `margins` every subtotal and total is shown as well; without them no cell is a sum of others.
    """

    table_id: str
    version: int
    title_da: str
    title_en: str
    axes: tuple[Axis, ...]
    measures: tuple[Measure, ...]
    universe: str
    target_group: str | None
    target_group_version: int
    within: Mapping[str, tuple[str, ...]]
    period: PeriodType
    policy: str
    notes_da: tuple[str, ...]
    margins: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """The facts that its measures are made of, numerators first."""
        names = [measure.column for measure in self.measures]
        names += [measure.denominator for measure in self.measures if measure.denominator]
        return tuple(dict.fromkeys(names))

    @property
    def universe_text(self) -> str:
        """The universe in words, with the target group's name and version."""
        if self.target_group is None:
            return self.universe
        return f"{self.universe}; target group {self.target_group} version {self.target_group_version}"

    def axis(self, name: str) -> Axis:
        """Return the axis called `name`; KeyError when the table has none."""
        return {axis.name: axis for axis in self.axes}[name]
