"""Cells and margins of one table at chosen levels, from its contributions.

1. A cell is numbered by its categories in mixed radix; each axis has its groups, then
   subtotals, then total. All cells of the product exist, empty ones too.
2. A contributor's contribution to a margin is the sum of what it contributes below,
   so that a family counts once there, with its net amount.

It does not know what makes a cell unsafe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import polars as pl

from linker.disclosure.table_input import TableInput
from linker.tables.registry import Axis


class ContributionError(ValueError):
    """Contributions do not fit the registered table; names table and column, never a value."""


@dataclass(frozen=True, slots=True)
class ShownAxis:
    """An axis as shown at one level: the names its cells may have, in order.

    `mapping` takes a registered category to the name that it is shown in.
    """

    axis: Axis
    mapping: Mapping[str, str]
    groups: tuple[str, ...]
    subtotals: tuple[str, ...]
    total: str

    @property
    def names(self) -> tuple[str, ...]:
        """Groups, then subtotals, then the total where there is one."""
        return (*self.groups, *self.subtotals, *([self.total] if self.total else []))

    def sums(self) -> Iterable[tuple[int, list[int]]]:
        """Return number of each subtotal and total, with the numbers of the groups that it sums."""
        for name in self.subtotals:
            groups = {self.mapping[category] for category in self.axis.subtotals[name]}
            yield self.names.index(name), [self.names.index(group) for group in self.groups if group in groups]
        if self.total and self.groups:
            yield self.names.index(self.total), list(range(len(self.groups)))


@dataclass(frozen=True, slots=True)
class Cells:
    """Contributions per cell.

    `frame`: `cell` Int64, `contributor` UInt32, and Int64 columns; key (cell, contributor).
    `axes` give the meaning of a cell number.
    """

    axes: tuple[ShownAxis, ...]
    frame: pl.DataFrame

    def categories(self) -> Iterable[tuple[str, ...]]:
        """Return the categories of cells 0, 1, 2, …"""
        return product(*(axis.names for axis in self.axes))


def shown(axis: Axis, level: int, *, margins: bool) -> ShownAxis:
    """Return the axis at a level; without margins it has neither subtotals nor total.

    A dropped axis has its total only: a subtotal would be finer than the level.
    """
    groups = axis.groups(level)
    subtotals = tuple(axis.subtotals) if margins and groups else ()
    return ShownAxis(axis, axis.levels[level], groups, subtotals, axis.total if margins else "")


def inner(table: TableInput, levels: Mapping[str, int]) -> Cells:
    """Return the cells without margins. Cost: one group-by over the contributions.

    Raises:
        ContributionError: a column is missing, has another type or nulls, an axis has a category
            that is not registered, or a contributor stands in two cells of a count.
    """
    definition = table.table
    for name, dtype in table.schema.items():
        if table.contributions.schema.get(name) != dtype or table.contributions[name].null_count():
            raise ContributionError(f"table {definition.table_id}: column {name} must be {dtype} without nulls")
    counts = definition.margins and any(not column.endswith("_ore") for column in definition.columns)
    if counts and table.contributions["contributor"].is_duplicated().any():
        raise ContributionError(f"table {definition.table_id}: a contributor stands in two cells of a count")
    axes = tuple(shown(axis, levels[axis.name], margins=definition.margins) for axis in definition.axes)
    return _place(definition.table_id, table.contributions, axes, definition.columns)


def with_margins(cells: Cells) -> Cells:
    """Return the cells with all subtotals and totals. Cost: a group-by for each of them."""
    frame = cells.frame
    for axis, radix in zip(cells.axes, _radices(cells.axes), strict=True):
        digit = pl.col("cell") // radix % len(axis.names)
        sums = [
            _sum(frame.filter(digit.is_in(members)).with_columns(pl.col("cell") + (number - digit) * radix))
            for number, members in axis.sums()
        ]
        frame = pl.concat([frame, *sums])
    return Cells(cells.axes, frame)


def denominators(table: TableInput, cells: Cells) -> list[int]:
    """Return, for each cell, the number of families in its denominator-axis categories.

    Raises:
        ContributionError: as `inner`, for the families frame.
    """
    definition = table.table
    places = [place for place, axis in enumerate(cells.axes) if axis.axis.name in definition.denominator_axes]
    axes = tuple(cells.axes[place] for place in places)
    of_groups = with_margins(_place(definition.table_id, table.families, axes, ()))
    sizes = dict(of_groups.frame.group_by("cell").len().iter_rows())
    size_of = {names: sizes.get(cell, 0) for cell, names in enumerate(of_groups.categories())}
    return [size_of[tuple(names[place] for place in places)] for names in cells.categories()]


def _place(table_id: str, frame: pl.DataFrame, axes: tuple[ShownAxis, ...], columns: Sequence[str]) -> Cells:
    cell: pl.Expr = pl.lit(0, pl.Int64)
    for axis, radix in zip(axes, _radices(axes), strict=True):
        numbers = {category: axis.names.index(name) * radix for category, name in axis.mapping.items()}
        cell = cell + pl.col(axis.axis.name).replace_strict(numbers, default=None, return_dtype=pl.Int64)
    placed = frame.select(cell.alias("cell"), "contributor", *columns)
    if placed["cell"].null_count():
        raise ContributionError(f"table {table_id}: an axis has a category that is not registered")
    return Cells(axes, _sum(placed))


def _sum(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("cell", "contributor").agg(pl.all().sum())


def _radices(axes: Sequence[ShownAxis]) -> list[int]:
    return [prod(len(later.names) for later in axes[place + 1 :]) for place in range(len(axes))]
