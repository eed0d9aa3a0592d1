"""How a released table is laid out for a person: what goes across, what down, and what is left out.

1. With one measure the first axis goes across, unless it is too wide: then the one with
   fewest categories. With several measures they go across, or down when there is one axis.
2. Rows whose numbers of this revision are 0 throughout are left out; so are, with three axes down or more, rows that
   say what their neighbours say.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from kinlink.released import Axis, Cell, Measure, Table

MANY = 3
"""Axes down from which rows stand in sections."""
_MEASURE = "measure"
_HEADING = 14  # characters before a column heading is broken


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a label an axis down, "" where the line above has the same, and a cell a column, None where none is."""

    labels: tuple[str, ...]
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A table as a grid. `titles` stand above the labels, `headings` above the columns."""

    titles: tuple[str, ...]
    headings: tuple[str, ...]
    rows: tuple[Row, ...]


def lay_out(table: Table, width: int, written: Callable[[Cell], str]) -> Layout:
    """Return the grid of a table for a page of `width` characters; `written` is how a cell is written on it."""
    measures = Axis(_MEASURE, "", tuple(each.name for each in table.measures), (), "", _titles(table.measures))
    across, down = _axes(table, measures, width, written)
    by_place = {(*cell.categories, cell.measure): cell for cell in table.cells}
    order = [*(axis.name for axis in table.axes), _MEASURE]

    def at(row: Sequence[str], column: str) -> Cell | None:
        places = dict(zip((axis.name for axis in down), row, strict=True)) | {across.name: column}
        places.setdefault(_MEASURE, table.measures[0].name)
        return by_place.get(tuple(places[name] for name in order))

    cells = {row: tuple(at(row, name) for name in across.names) for row in product(*(axis.names for axis in down))}
    rows = []
    said: set[tuple[str, ...]] = set()
    for row, found in cells.items():
        if _is_empty(found) or _is_repetition(row, down, cells):
            continue
        labels = []
        for place, (axis, name) in enumerate(zip(down, row, strict=True)):
            labels.append("" if row[: place + 1] in said else axis.titles_da.get(name, name))
            said.add(row[: place + 1])
        rows.append(Row(tuple(labels), found))
    headings = tuple(across.titles_da.get(name, name) for name in across.names)
    return Layout(tuple(axis.title_da for axis in down), headings, tuple(rows))


def broken(heading: str) -> str:
    """Return a heading in lines of a column's width."""
    return textwrap.fill(heading, _HEADING, break_long_words=False)


def _is_empty(cells: Sequence[Cell | None]) -> bool:
    return all(cell is None or (cell.value == 0 and cell.status == "published") for cell in cells)


def _is_repetition(
    row: tuple[str, ...], down: Sequence[Axis], rows: Mapping[tuple[str, ...], Sequence[Cell | None]]
) -> bool:
    """Say whether a row of a table with three or more axes down says what its neighbours say.

    A total over one category alone is left out; so is the division of a sum by the last axis.
    """
    if len(down) < MANY:
        return False
    inner, outer = down[-1], down[-2]
    if row[-2] not in outer.categories:
        return bool(inner.total) and row[-1] != inner.total
    filled = [name for name in inner.categories if not _is_empty(rows[(*row[:-1], name)])]
    return row[-1] == inner.total and len(filled) == 1


def _titles(measures: Sequence[Measure]) -> Mapping[str, str]:
    return {measure.name: measure.title_da for measure in measures}


def _axes(table: Table, measures: Axis, width: int, written: Callable[[Cell], str]) -> tuple[Axis, list[Axis]]:
    """Return the axis across and those down."""
    axes = list(table.axes)
    if len(axes) == 1 and len(table.measures) > 1:
        return axes[0], [measures]
    if len(axes) == 1 or len(table.measures) > 1:
        return measures, axes
    widths = {
        axis.name: sum(_width(table, place, axis, name, written) + 2 for name in axis.names)
        for place, axis in enumerate(axes)
    }
    labels = sum(max(len(axis.titles_da.get(name, name)) for name in axis.names) + 2 for axis in axes[1:])
    across = axes[0] if widths[axes[0].name] + labels <= width else min(axes, key=lambda axis: len(axis.names))
    return across, [axis for axis in axes if axis is not across]


def _width(table: Table, place: int, axis: Axis, name: str, written: Callable[[Cell], str]) -> int:
    cells = [len(written(cell)) for cell in table.cells if cell.categories[place] == name]
    heading = broken(axis.titles_da.get(name, name))
    return max([*map(len, heading.splitlines()), *cells])
