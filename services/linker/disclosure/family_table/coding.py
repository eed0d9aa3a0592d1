"""Which values of the rows are shown: local suppression until every row is one of many alike.

1. Every row that is shown is equal, in all columns together, to at least k - 1 others. So whatever somebody knows of a
   family, also the amounts in a department's own books, at least k rows answer to it, or none.
2. A class is the rows that show the same properties. It shows at least l different values of total spending, or
   none. A department's band is shown in a class with at least l different ones of it; else only whether there is any.
3. What cannot be met is hidden in one order: properties from the last of `PROPERTIES` to the first; then, the class
   and the total being settled, departments from the last to the first, first to `SOME`, then to `HIDDEN`.
4. Rows whose properties are all hidden are the residue. A residue too small to stand takes in the smallest class of
   those that hide most, until it can.
5. Which rows are hidden depends on their values alone: not on their order, nor on ids.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from linker.disclosure.family_table.columns import HIDDEN, PROPERTIES, SOME, TOTAL

_ROW = "row"
_LEVEL = "level"
_CLASS = [*PROPERTIES, TOTAL]
_BEFORE_DEPARTMENTS = 4  # properties that are hidden sooner than whether a department spends anything


class TooFewFamiliesError(ValueError):
    """No table can be made of so few families."""


def code(rows: pl.DataFrame, departments: Sequence[str], nothing: str, k: int, l: int) -> pl.DataFrame:  # noqa: E741
    """Return the rows as they may be shown, in the order given.

    Args:
        rows: PROPERTIES, TOTAL and `departments` (columns of spending), all String, and any others, which are kept.
        departments: the columns of departments, the most useful first.
        nothing: the band that `SOME` does not stand for.
        k: fewest equal rows.
        l: fewest different values in a class of what is sensitive.

    Guarantee: if it returns, rules 1 and 2 hold.

    Raises:
        TooFewFamiliesError: even with everything hidden, fewer than k rows would be alike.
    """
    if rows.height < k:
        raise TooFewFamiliesError
    numbered = rows.with_row_index(_ROW)
    settled = _departments(_classes(numbered, departments, nothing, k, l), departments, nothing, k, l)
    return settled.sort(_ROW).select(rows.columns)


def _classes(rows: pl.DataFrame, departments: Sequence[str], nothing: str, k: int, l: int) -> pl.DataFrame:  # noqa: E741
    """Return all rows with properties and total as shown, and how many properties are hidden as `level`."""
    settled: list[pl.DataFrame] = []
    rest = rows
    steps = [(level, True) for level in range(_BEFORE_DEPARTMENTS + 1)]
    steps += [(level, False) for level in range(_BEFORE_DEPARTMENTS, len(PROPERTIES))]
    uses = [_any(name, nothing).alias(f"any {name}") for name in departments]
    for level, with_departments in steps:
        coded = rest.with_columns(*_hide(PROPERTIES[len(PROPERTIES) - level :]), pl.lit(level).alias(_LEVEL), *uses)
        key = [*_CLASS, *(f"any {name}" for name in departments)] if with_departments else _CLASS
        fit = coded.filter(_many(key, k)).filter(pl.col(TOTAL).n_unique().over(PROPERTIES) >= l)
        settled.append(fit.select(*rows.columns, _LEVEL))
        rest = rest.join(fit.select(_ROW), on=_ROW, how="anti")
    classes = pl.concat(settled)
    if rest.is_empty():
        return classes
    while (residue := _residue(rest, k, l)) is None:
        if classes.is_empty():
            raise TooFewFamiliesError
        taken = _next_class(classes)
        rest = pl.concat([rest, rows.join(taken, on=_ROW, how="semi")])
        classes = classes.join(taken, on=_ROW, how="anti")
    return pl.concat([classes, residue.select(classes.columns)])


def _residue(rest: pl.DataFrame, k: int, l: int) -> pl.DataFrame | None:  # noqa: E741
    """Return the rows with all properties hidden, and the totals of too few; None when they are fewer than k."""
    coded = rest.with_columns(*_hide(PROPERTIES), pl.lit(len(PROPERTIES)).alias(_LEVEL))
    rare = ~_many([TOTAL], k)
    some = coded.with_columns(pl.when(rare).then(pl.lit(HIDDEN)).otherwise(TOTAL).alias(TOTAL))
    sizes = some.group_by(TOTAL).len()
    shown = sizes.filter(pl.col(TOTAL) != HIDDEN)
    if shown.height >= l and sizes["len"].min() >= k:  # type: ignore[operator]
        return some
    return coded.with_columns(_hide([TOTAL])) if coded.height >= k else None


def _next_class(classes: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of the smallest class among those that hide most."""
    sizes = classes.group_by(_LEVEL, *PROPERTIES).len()
    first = sizes.sort([_LEVEL, "len", *PROPERTIES], descending=[True, False, *(False for _ in PROPERTIES)]).head(1)
    return classes.join(first, on=[_LEVEL, *PROPERTIES], how="semi").select(_ROW)


def _departments(rows: pl.DataFrame, departments: Sequence[str], nothing: str, k: int, l: int) -> pl.DataFrame:  # noqa: E741
    """Return the rows with as much of each department as may be shown."""
    backwards = list(reversed(departments))
    rest = rows.with_columns(_blurred(departments, nothing, l))
    settled: list[pl.DataFrame] = []
    for value, name in [("", ""), *((SOME, name) for name in backwards), *((HIDDEN, name) for name in backwards)]:
        if value:
            rest = rest.with_columns(_any(name, nothing) if value == SOME else _hide([name])[0])
        fit = rest.filter(_many([*_CLASS, *departments], k) & (pl.col(TOTAL) != HIDDEN))
        settled.append(fit)
        rest = rest.join(fit.select(_ROW), on=_ROW, how="anti")
    coded = _with_company(pl.concat(settled), rest, departments, k)
    return coded.with_columns(_blurred(departments, nothing, l))


def _with_company(settled: pl.DataFrame, rest: pl.DataFrame, departments: Sequence[str], k: int) -> pl.DataFrame:
    """Return all rows; where fewer than k of a class and total have all departments hidden, one more group has.

    It is the smallest group of that class and total. There is one: a class and total has at least k rows.
    """
    lonely = rest.group_by(_CLASS).len().filter(pl.col("len") < k).select(_CLASS)
    groups = settled.join(lonely, on=_CLASS, how="semi").group_by(*_CLASS, *departments).len()
    smallest = groups.sort("len", *departments).unique(_CLASS, keep="first", maintain_order=True)
    taken = settled.join(smallest, on=[*_CLASS, *departments], how="semi")
    hidden = taken.with_columns(_hide(departments))
    return pl.concat([settled.join(taken, on=_ROW, how="anti"), hidden, rest])


def _blurred(departments: Sequence[str], nothing: str, l: int) -> list[pl.Expr]:  # noqa: E741
    """Return each department as `SOME` or nothing in the classes that have fewer than l different bands of it."""

    def bands(name: str) -> pl.Expr:
        shown = ~pl.col(name).is_in([SOME, HIDDEN])
        return pl.col(name).filter(shown).n_unique().over(PROPERTIES)

    return [
        pl.when(bands(name) >= l).then(pl.col(name)).otherwise(_any(name, nothing)).alias(name) for name in departments
    ]


def _any(name: str, nothing: str) -> pl.Expr:
    return pl.when(pl.col(name).is_in([nothing, HIDDEN])).then(pl.col(name)).otherwise(pl.lit(SOME)).alias(name)


def _hide(names: Sequence[str]) -> list[pl.Expr]:
    return [pl.lit(HIDDEN).alias(name) for name in names]


def _many(key: Sequence[str], k: int) -> pl.Expr:
    return pl.len().over(key) >= k
