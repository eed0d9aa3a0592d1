"""The columns of the family table, and what a family's facts become in them.

1. A row is a family with children. It has no district, no target group and no identifier; its properties are in bands
   that are the same for every release.
2. Spending stands in the policy's bands, all departments together and each department by itself. The first band is
   "nothing": an amount below the first start, so also a negative one.
3. Bands of services and departments do not start where a target group's do, so that no filter of the columns is one.
4. `HIDDEN` is a value of its own; `SOME` is an amount of any band but the first.

It does not know what is safe to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

from linker import frames

HIDDEN = "hidden"
SOME = "some"
FAMILY = "family_id"
TOTAL = "spending"
"""The column of all departments together; a department's is this, an underscore and its code."""

# Properties that others may know of a family, the most useful first: what is hidden first stands last.
PROPERTIES = (
    "children",
    "single_provider",
    "youngest_child",
    "persons",
    "departments",
    "oldest_adult",
    "services",
)
_NO_ADULT = "none"
_CHILD_BAND, _LAST_CHILD_BAND = 5, 15
_ADULT_BAND, _FIRST_ADULT_BAND, _LAST_ADULT_BAND = 10, 20, 60
_CHILDREN, _PERSONS = 3, 5
SERVICE_STARTS = (0, 2, 4, 7)
DEPARTMENT_STARTS = (0, 2, 4)


@dataclass(frozen=True, slots=True)
class Bands:
    """Where the bands of an amount start, øre, ascending. Band 0 lies below the first start."""

    starts_ore: tuple[int, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the bands in kroner, lowest first: "<1", "1-24999", …, "≥3200000"."""
        kroner = [-(-start // 100) for start in self.starts_ore]
        return (f"<{kroner[0]}", *(f"{low}-{high - 1}" for low, high in pairwise(kroner)), f"≥{kroner[-1]}")

    def limits_ore(self, label: str) -> tuple[int | None, int | None]:
        """Return the least and the largest amount of a band; None where there is none. KeyError for other texts."""
        place = {name: index for index, name in enumerate(self.labels)}[label]
        low = self.starts_ore[place - 1] if place else None
        high = self.starts_ore[place] - 1 if place < len(self.starts_ore) else None
        return low, high

    def label(self, amount_ore: pl.Expr) -> pl.Expr:
        """Return the label of an amount."""
        labels = self.labels
        found = pl.lit(labels[0])
        for start, name in zip(self.starts_ore, labels[1:], strict=True):
            found = pl.when(amount_ore >= start).then(pl.lit(name)).otherwise(found)
        return found


def spending_columns(departments: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of spending: all together, then each department."""
    return (TOTAL, *(f"{TOTAL}_{department}" for department in departments))


def amounts(families: pl.DataFrame, spending: pl.DataFrame, departments: Sequence[str]) -> pl.DataFrame:
    """Return what is spent on each family: `family_id`, and each of `spending_columns` in øre (Int64), sorted by id.

    `spending` has family_id, department and amount_ore; rows of one family and department add up. The total sums the
    departments that have a column.
    """
    codes = {department: f"{TOTAL}_{department}" for department in departments}
    of_family = spending.group_by(FAMILY).agg(
        pl.col("amount_ore").filter(pl.col("department") == code).sum().alias(name) for code, name in codes.items()
    )
    return (
        families.select(FAMILY)
        .join(of_family, on=FAMILY, how="left")
        .with_columns(pl.col(name).fill_null(0) for name in codes.values())
        .with_columns(pl.sum_horizontal(codes.values()).cast(pl.Int64).alias(TOTAL))
        .select(FAMILY, *spending_columns(departments))
        .sort(FAMILY)
    )


def properties(members: pl.DataFrame, families: pl.DataFrame, services: pl.DataFrame) -> pl.DataFrame:
    """Return each family's properties in bands: `family_id` and PROPERTIES (String), sorted by id.

    Args:
        members: FAMILY_MEMBERS; who is a child at home has the role child.
        families: FAMILIES.
        services: FAMILY_SERVICES.

    Raises:
        SchemaError: a frame is not what it should be.
    """
    people = frames.check(members.lazy(), frames.FAMILY_MEMBERS, "family table: members")
    of_family = frames.check(families.lazy(), frames.FAMILIES, "family table: families")
    used = frames.check(services.lazy(), frames.FAMILY_SERVICES, "family table: services")
    child = pl.col("role") == "child"
    ages = people.group_by(FAMILY).agg(
        pl.col("age").filter(child).min().alias("youngest"), pl.col("age").filter(~child).max().alias("oldest")
    )
    numbers = used.group_by(FAMILY).agg(
        pl.len().alias("n_services"), pl.col("department").n_unique().alias("n_departments")
    )
    rows = (
        of_family.join(ages, on=FAMILY, how="left")
        .join(numbers, on=FAMILY, how="left")
        .with_columns(pl.col("n_services", "n_departments").fill_null(0))
    )
    bands = {
        "children": _up_to("n_children", _CHILDREN),
        "single_provider": pl.when("single_provider").then(pl.lit("yes")).otherwise(pl.lit("no")),
        "youngest_child": _from(pl.col("youngest"), range(0, _LAST_CHILD_BAND + 1, _CHILD_BAND)),
        "persons": _up_to("n_persons", _PERSONS),
        "departments": _from(pl.col("n_departments"), DEPARTMENT_STARTS),
        "oldest_adult": pl.when(pl.col("oldest").is_null())
        .then(pl.lit(_NO_ADULT))
        .otherwise(
            _from(pl.col("oldest"), [0, *range(_FIRST_ADULT_BAND, _LAST_ADULT_BAND + 1, _ADULT_BAND)]),
        ),
        "services": _from(pl.col("n_services"), SERVICE_STARTS),
    }
    return rows.select(FAMILY, *(bands[name].alias(name) for name in PROPERTIES)).sort(FAMILY).collect()


def property_limits(label: str) -> tuple[int, int | None]:
    """Return the least and the largest number of a band of counts; None where there is none."""
    low, dash, high = label.removeprefix("≥").partition("-")
    return int(low), int(high) if dash else None if label.startswith("≥") else int(low)


def _up_to(name: str, last: int) -> pl.Expr:
    number = pl.col(name)
    return pl.when(number >= last).then(pl.lit(f"≥{last}")).otherwise(number.cast(pl.String))


def _from(number: pl.Expr, starts: Sequence[int]) -> pl.Expr:
    found = pl.lit(f"{starts[0]}-{starts[1] - 1}")
    for place, start in enumerate(starts[1:], start=1):
        last = place + 1 == len(starts)
        name = f"≥{start}" if last else f"{start}-{starts[place + 1] - 1}"
        found = pl.when(number >= start).then(pl.lit(name)).otherwise(found)
    return found
