"""Two consumers who join: what the rows tell of cells that the ordinary tables hide.

1. Only what is about all families, or divides them by a column of the rows, can be told: spending by department, and
   families, persons, adults, children and single providers by number of services and departments. All else, such as
   a target group, type or area, is in no column.
2. A fact is protected if a table hides it (or shows an old value) and none shows it. A mean or share that is shown
   shows what it divides.
3. Each row gives an interval; a fact's interval is their sum. The attacker takes no family to be below zero.
4. An amount is reached if the interval ends closer to it than the table's policy asks for; a count, if the interval
   does not reach both 0 and the threshold.
5. Departments whose totals hide each other are told together: who knows the sum of two, and that one is not small,
   knows that the other is not large. What rows tell of departments is told in full by an interval for each set of them,
   the sum of the rows' intervals for it; each must leave the largest of what is asked for the hidden totals.
6. The amounts are those of now. Rows of an earlier run may be about others; an interval that they are outside of is
   passed over, as it tells of what they were.

What rows tell of cells that no column is about is `joined`'s question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from linker.disclosure.family_table.columns import HIDDEN, PROPERTIES, SOME, TOTAL, Bands, property_limits
from linker.disclosure.family_table.rounding import SUFFIX
from linker.disclosure.needs import ProtectionPolicy
from linker.disclosure.release import CellStatus, ReleasedTable
from linker.tables.registered_table import GROUP, Axis, RegisteredTable

_AMOUNT = "amount_ore"
_DEPARTMENT = "department"
_BANDED = {"n_services": "services", "n_departments": "departments"}
_COUNTS = ("families", "persons", "adults", "children", "single_providers")
Interval = tuple[int, int | None]
Leaves = tuple[tuple[str, tuple[str, ...]], ...]
Region = tuple[str, Leaves]


@dataclass(frozen=True, slots=True)
class Rows:
    """What is served, and the truth: the amounts of families, which need not be those that the rows are of."""

    coded: pl.DataFrame
    amounts: pl.DataFrame
    bands: Bands
    rounding_ore: int


def reached(
    rows: Rows,
    tables: Sequence[tuple[RegisteredTable, ReleasedTable]],
    policies: Mapping[str, ProtectionPolicy],
) -> list[str]:
    """Return the tables with a protected fact that the rows tell too closely, with column and categories, sorted."""
    shown: set[Region] = set()
    hidden: dict[Region, str] = {}
    for definition, table in tables:
        axes = [definition.axis(axis.name) for axis in table.axes]
        columns = {measure.name: (measure.column, measure.denominator) for measure in definition.measures}
        for cell in table.cells:
            for column in columns[cell.measure]:
                region = _region(definition, axes, cell.categories, column) if column else None
                if region is None:
                    continue
                if cell.status is CellStatus.PUBLISHED:
                    shown.add(region)
                else:
                    hidden.setdefault(region, definition.table_id)
    policy_of = {definition.table_id: policies[definition.policy] for definition, _ in tables}
    unknown = {region: policy_of[table_id] for region, table_id in hidden.items() if region not in shown}
    told = [region for region, policy in unknown.items() if _is_reached(rows, region, policy)]
    return sorted(
        f"{hidden[region]}: {region[0]} of {', '.join('+'.join(leaves) for _, leaves in region[1]) or 'all families'}"
        for region in told or _told_together(rows, unknown)
    )


def _told_together(rows: Rows, unknown: Mapping[Region, ProtectionPolicy]) -> list[Region]:
    """Return the hidden totals of departments, if the rows leave too little room for what they are together."""
    of_each = {leaves[0][1][0]: (_AMOUNT, leaves) for (column, leaves) in unknown if _is_department(column, leaves)}
    total = (_AMOUNT, ())
    regions = [*of_each.values(), *([total] if total in unknown else [])]
    need = max((_need(_amounts(rows, _codes(region))[0], unknown[region]) for region in regions), default=0)
    names = department_columns(rows)
    hides = np.isin(names, [f"{TOTAL}_{code}" for code in of_each])
    true = rows.amounts.select(names).sum().row(0)
    for inside, floor, ceiling in told_of_sets(rows) if of_each else ():
        if not hides[inside].any() or (total not in unknown and not hides[~inside].any()):
            continue  # what they are together is shown
        value = sum(amount for amount, is_in in zip(true, inside, strict=True) if is_in)
        if floor <= value <= ceiling and (value - floor < need or ceiling - value < need):
            return list(of_each.values())
    return []


def department_columns(rows: Rows) -> list[str]:
    """Return the names of the departments' columns, in their order."""
    return [name for name in rows.amounts.columns if name.startswith(f"{TOTAL}_")]


def told_of_sets(rows: Rows) -> Iterator[tuple[np.ndarray, float, float]]:
    """Yield what rows tell of each set of departments: which are in it, the least and the greatest amount, øre."""
    names = department_columns(rows)
    (low, high), (least, most) = _limits(rows, names), _limits(rows, [TOTAL])
    for size in range(1, len(names) + 1):
        for those in combinations(range(len(names)), size):
            inside = np.isin(np.arange(len(names)), those)
            floor = np.maximum(low[:, inside].sum(axis=1), least[:, 0] - high[:, ~inside].sum(axis=1)).sum()
            ceiling = np.minimum(high[:, inside].sum(axis=1), most[:, 0] - low[:, ~inside].sum(axis=1)).sum()
            yield inside, float(floor), float(ceiling)


def _is_department(column: str, leaves: Leaves) -> bool:
    return column == _AMOUNT and len(leaves) == 1 and len(leaves[0][1]) == 1


def _limits(rows: Rows, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest amount that each row can have, in a column for each name."""
    lows, highs = zip(*(_interval(rows, name) for name in names), strict=True)
    return (
        np.column_stack([each.cast(pl.Float64).to_numpy() for each in lows]),
        np.column_stack([each.cast(pl.Float64).fill_null(np.inf).to_numpy() for each in highs]),
    )


def _codes(region: Region) -> Sequence[str] | None:
    return dict(region[1]).get(_DEPARTMENT)


def _need(true: pl.Series, policy: ProtectionPolicy) -> int:
    """Return how far from its value a hidden amount must be possible."""
    value, largest = int(true.sum()), int(true.abs().max() or 0)  # type: ignore[arg-type]
    percent = (policy.p_percent or 0) * largest // 100
    return max(percent, policy.interval_percent * abs(value) // 100, policy.interval_minimum)


def _region(definition: RegisteredTable, axes: Sequence[Axis], categories: Sequence[str], column: str) -> Region | None:
    """Return the column and the leaves it is kept to; None when the rows cannot express it."""
    if definition.within or column not in (_AMOUNT, *_COUNTS):
        return None
    ours = {_DEPARTMENT} if column == _AMOUNT else set(_BANDED)
    # A count of families is summed over the axes that families have; a table may have others besides.
    matter = {axis.name for axis in axes} if column == _AMOUNT else {GROUP, *_BANDED}
    leaves: dict[str, tuple[str, ...]] = {}
    for axis, category in zip(axes, categories, strict=True):
        if category == axis.total or axis.name not in matter:
            continue
        if axis.name not in ours:
            return None
        leaves[axis.name] = axis.subtotals.get(category, (category,))
    return column, tuple(sorted(leaves.items()))


def _is_reached(rows: Rows, region: Region, policy: ProtectionPolicy) -> bool:
    column, leaves = region
    if column != _AMOUNT:
        low, high = _count(rows.coded, column, dict(leaves))
        return low > 0 or (high is not None and high < policy.threshold)
    true, low, high = _amounts(rows, _codes(region))
    need, value = _need(true, policy), int(true.sum())
    if value < low or (high is not None and value > high):
        return False
    return value - low < need or (high is not None and high - value < need)


def _amounts(rows: Rows, departments: Sequence[str] | None) -> tuple[pl.Series, int, int | None]:
    """Return each family's true amount, and the interval that the rows' sum is shown to lie in (None: no limit)."""
    names = [TOTAL] if departments is None else [f"{TOTAL}_{code}" for code in departments]
    lows, highs = zip(*(_interval(rows, name) for name in names), strict=True)
    high = None if any(each.null_count() for each in highs) else sum(int(each.sum()) for each in highs)
    return rows.amounts.select(pl.sum_horizontal(names)).to_series(), sum(int(each.sum()) for each in lows), high


def _interval(rows: Rows, name: str) -> tuple[pl.Series, pl.Series]:
    limits = {label: rows.bands.limits_ore(label) for label in rows.bands.labels}
    lows = {
        **{label: max(low or 0, 0) for label, (low, _) in limits.items()},
        HIDDEN: 0,
        SOME: rows.bands.starts_ore[0],
    }
    highs = {label: max(high, 0) if high is not None else None for label, (_, high) in limits.items()}
    first = rows.bands.labels[0]
    highs |= {first: 0, HIDDEN: None, SOME: None}
    shown = rows.coded[name]
    low = shown.replace_strict(lows, return_dtype=pl.Int64).alias("low")
    high = shown.replace_strict(highs, return_dtype=pl.Int64).alias("high")
    if name + SUFFIX not in rows.coded.columns:
        return low, high
    return _of_rounded(rows, name, low, high)


def _of_rounded(rows: Rows, name: str, low: pl.Series, high: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Narrow the interval to what a rounded amount tells; at the top of its class it tells no upper limit."""
    step, kroner = rows.rounding_ore, pl.col(name + SUFFIX)
    told = rows.coded.with_columns(low, high).select(
        pl.coalesce((kroner * 100 - step).clip(lower_bound=0), low.name).alias("low"),
        pl.when(kroner < kroner.max().over(PROPERTIES))
        .then((kroner * 100 + step).clip(lower_bound=0))
        .otherwise(high.name)
        .alias("high"),
    )
    return told["low"], told["high"]


def _count(coded: pl.DataFrame, column: str, leaves: Mapping[str, Sequence[str]]) -> Interval:
    """Return the interval of a count over the rows that are certainly or possibly in the region."""
    groups = coded.group_by("children", "persons", "single_provider", *_BANDED.values()).len()
    low, high = 0, 0
    unlimited = False
    for row in groups.iter_rows(named=True):
        certain, possible = _membership(row, leaves)
        least, most = _of_row(column, row)
        low += row["len"] * least * certain
        if possible and most is None:
            unlimited = True
        high += row["len"] * (most or 0) * possible
    return low, None if unlimited else high


def _membership(row: Mapping[str, str], leaves: Mapping[str, Sequence[str]]) -> tuple[bool, bool]:
    certain, possible = True, True
    for axis, categories in leaves.items():
        label = row[_BANDED[axis]]
        low, high = (0, None) if label == HIDDEN else property_limits(label)
        inside = [number in _numbers(categories) for number in range(low, (high or _MANY) + 1)]
        certain, possible = certain and all(inside), possible and any(inside)
    return certain, possible


_MANY = 1000


def _numbers(categories: Sequence[str]) -> set[int]:
    return set(_each_number(categories))


def _each_number(categories: Sequence[str]) -> Iterator[int]:
    for category in categories:
        if category.startswith("≤"):
            yield from range(int(category[1:]) + 1)
        elif category.startswith("≥"):
            yield from range(int(category[1:]), _MANY + 1)
        else:
            yield int(category)


def _of_row(column: str, row: Mapping[str, str]) -> Interval:
    """Return how many of a column one family of the row has, at least and at most."""
    persons = (1, None) if row["persons"] == HIDDEN else property_limits(row["persons"])
    children = (1, None) if row["children"] == HIDDEN else property_limits(row["children"])
    single = {"yes": (1, 1), "no": (0, 0)}.get(row["single_provider"], (0, 1))
    adults = (
        max(0, persons[0] - children[1]) if children[1] is not None else 0,
        None if persons[1] is None else persons[1] - children[0],
    )
    found: dict[str, Interval] = {
        "families": (1, 1),
        "persons": persons,
        "adults": adults,
        "children": children,
        "single_providers": single,
    }
    return found[column]
