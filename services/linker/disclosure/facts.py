"""What the gate takes: facts, a row for what a contributor adds to a finest combination of categories.

1. A frame holds the facts of one kind, of all periods that a run needs; all registered tables are
   computed from the frames by the gate itself.
2. A contributor is a number with a meaning inside one frame only. Who it is, in another frame or another
   release, is told by its members: frames and releases are compared through them, whatever the numbers.
3. A flow happens in months; a stock is what it is on the reference date.

It does not know what is unsafe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

CONTRIBUTOR = "contributor"
MONTH = "month"
MEMBERS = pl.Schema({"person": pl.Int64(), CONTRIBUTOR: pl.Int64()})


class ContributionError(ValueError):
    """Facts do not fit their frame or the registry; names frame and column, never a value."""


@dataclass(frozen=True, slots=True, eq=False)
class FactFrame:
    """Facts of one kind.

    `frame`: `contributor` Int64, a String column for each of `axes` (leaves), `month` Int8 1 to 12 of the run's
    year if it is a `flow`, an Int64 column for each of `columns`; no nulls; several rows of one contributor and
    combination add up; any order. `counted`: columns that are counts. `nonnegative`: columns in which everybody
    knows that nobody is below 0; every other can be negative. `members`: MEMBERS, who carries a contributor's identity
    from release to release; a contributor without members is known by its number, which must then be the same
    every time. `bounds`: combinations of columns, by weight, in which everybody knows that nobody is below 0.
    """

    name: str
    frame: pl.DataFrame
    axes: tuple[str, ...]
    columns: tuple[str, ...]
    counted: frozenset[str]
    nonnegative: frozenset[str]
    flow: bool
    members: pl.DataFrame
    bounds: Sequence[Mapping[str, int]] = ()

    def __post_init__(self) -> None:
        """Check.

        Raises:
            ContributionError: a column is missing, has another type or nulls; a month is not 1 to 12; a column that
                nobody can be below 0 in has a lower number; `counted` or `nonnegative` names no column.
        """
        for part, schema in ((self.frame, self.schema), (self.members, MEMBERS)):
            for name, dtype in schema.items():
                if part.schema.get(name) != dtype or part[name].null_count():
                    raise ContributionError(f"facts {self.name}: column {name} must be {dtype} without nulls")
        if self.flow and not self.frame[MONTH].is_between(1, 12).all():
            raise ContributionError(f"facts {self.name}: column {MONTH} must be 1 to 12")
        if not self.counted | self.nonnegative <= set(self.columns):
            raise ContributionError(f"facts {self.name}: counted and nonnegative name columns of the frame")
        for name in sorted(self.nonnegative):
            if (self.frame[name] < 0).any():
                raise ContributionError(f"facts {self.name}: column {name} must not be below 0")
        for bound in self.bounds:
            if (
                (self.frame.select(pl.sum_horizontal(pl.col(name) * each for name, each in bound.items())) < 0)
                .to_series()
                .any()
            ):
                raise ContributionError(f"facts {self.name}: {' and '.join(bound)} together must not be below 0")

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The columns that `frame` must have."""
        return {
            CONTRIBUTOR: pl.Int64(),
            **{name: pl.String() for name in self.axes},
            **({MONTH: pl.Int8()} if self.flow else {}),
            **{name: pl.Int64() for name in self.columns},
        }
