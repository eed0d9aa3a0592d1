"""A released table as a person reads it: Danish, one axis across, definitions underneath.

1. With one measure the first axis goes across, unless it is too wide: then the one with
   fewest categories. With several measures they go across, or down when there is one axis.
   Of three axes down or more, the first stands in lines of its own, above its rows.
2. Amounts are whole kroner, shares per cent with one decimal, means with two. ".." is a
   suppressed cell. Rows that are 0 throughout are left out, and the text says so.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from kinlink.released import Axis, Cell, Measure, Table

SUPPRESSED = ".."
_MEASURE = "measure"
_HEADING = 14  # characters before a column heading is broken
_MANY = 3
_UNBOUNDED = 10_000


def render(table: Table, width: int) -> str:
    """Return the table and its definitions, `width` characters wide, or more where the table is wider."""
    grid = _grid(table, width)
    text = io.StringIO()
    console = Console(file=text, width=_UNBOUNDED)
    console.print(grid, width=max(width, console.measure(grid).maximum))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    return "\n".join([f"{table.definition.title_da}, {table.period}", *lines, _notes(table, width), ""])


def number(value: float | None, unit: str) -> str:
    """Return a number the Danish way: 1.353 · 113.000 kr. · 69,1 % · 2,21; None is ".."."""
    if value is None:
        return SUPPRESSED
    match unit:
        case "amount_ore" | "mean_ore":
            return f"{_danish(_kroner(int(value)), 0)}\u00a0kr."
        case "share":
            return f"{_danish(value * 100, 1)}\u00a0%"
        case "mean":
            return _danish(value, 2)
    return _danish(value, 0)


def _kroner(ore: int) -> int:
    whole = (abs(ore) + 50) // 100
    return whole if ore >= 0 else -whole


def _danish(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}".translate(str.maketrans(",.", ".,"))


def _grid(table: Table, width: int) -> RichTable:
    measures = Axis(_MEASURE, "", tuple(each.name for each in table.measures), (), "", _titles(table.measures))
    across, down = _layout(table, measures, width)
    by_place = {(*cell.categories, cell.measure): cell for cell in table.cells}
    units = {measure.name: measure.unit for measure in table.measures}
    order = [*(axis.name for axis in table.axes), _MEASURE]

    def at(row: Sequence[str], column: str) -> Cell | None:
        places = dict(zip((axis.name for axis in down), row, strict=True)) | {across.name: column}
        places.setdefault(_MEASURE, table.measures[0].name)
        return by_place.get(tuple(places[name] for name in order))

    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    sections = len(down) >= _MANY
    titles = [axis.title_da for axis in down]
    if sections:
        titles[:2] = [_heading(f"{titles[0]}, {titles[1].lower()}")]
    for heading in titles:
        grid.add_column(heading, no_wrap=True)
    for name in across.names:
        grid.add_column(_heading(across.titles_da.get(name, name)), justify="right", no_wrap=True)
    rows = {row: [at(row, name) for name in across.names] for row in product(*(axis.names for axis in down))}
    said: set[tuple[str, ...]] = set()
    for row, cells in rows.items():
        if _is_empty(cells) or _is_repetition(row, down, rows):
            continue
        labels = []
        for place, (axis, name) in enumerate(zip(down, row, strict=True)):
            labels.append("" if row[: place + 1] in said else axis.titles_da.get(name, name))
            said.add(row[: place + 1])
        if sections:
            section = labels.pop(0)
            if section:
                grid.add_row(section)
            labels[0] = f"  {labels[0]}"
        grid.add_row(*labels, *("–" if cell is None else number(cell.value, units[cell.measure]) for cell in cells))
    return grid


def _is_empty(cells: Sequence[Cell | None]) -> bool:
    return all(cell is None or cell.value == 0 for cell in cells)


def _is_repetition(
    row: tuple[str, ...], down: Sequence[Axis], rows: Mapping[tuple[str, ...], Sequence[Cell | None]]
) -> bool:
    """Say whether a row of a table with three or more axes down says what its neighbours say.

    A total over one category alone is left out; so is the division of a sum by the last axis.
    """
    if len(down) < _MANY:
        return False
    inner, outer = down[-1], down[-2]
    if row[-2] not in outer.categories:
        return bool(inner.total) and row[-1] != inner.total
    filled = [name for name in inner.categories if not _is_empty(rows[(*row[:-1], name)])]
    return row[-1] == inner.total and len(filled) == 1


def _heading(title: str) -> str:
    return textwrap.fill(title, _HEADING, break_long_words=False)


def _titles(measures: Sequence[Measure]) -> Mapping[str, str]:
    return {measure.name: measure.title_da for measure in measures}


def _layout(table: Table, measures: Axis, width: int) -> tuple[Axis, list[Axis]]:
    """Return the axis across and those down."""
    axes = list(table.axes)
    if len(axes) == 1 and len(table.measures) > 1:
        return axes[0], [measures]
    if len(axes) == 1 or len(table.measures) > 1:
        return measures, axes
    widths = {axis.name: sum(_width(table, axis, name) + 2 for name in axis.names) for axis in axes}
    labels = sum(max(len(axis.titles_da.get(name, name)) for name in axis.names) + 2 for axis in axes[1:])
    across = axes[0] if widths[axes[0].name] + labels <= width else min(axes, key=lambda axis: len(axis.names))
    return across, [axis for axis in axes if axis is not across]


def _width(table: Table, axis: Axis, name: str) -> int:
    place = [each.name for each in table.axes].index(axis.name)
    unit = table.measures[0].unit
    numbers = [len(number(cell.value, unit)) for cell in table.cells if cell.categories[place] == name]
    heading = _heading(axis.titles_da.get(name, name))
    return max([*map(len, heading.splitlines()), *numbers])


def _notes(table: Table, width: int) -> str:
    definition = table.definition
    notes = list(definition.notes)
    if any(cell.value is None for cell in table.cells):
        notes.append(f"{SUPPRESSED} betyder, at tallet findes, men ikke vises af hensyn til de berørte. Det er ikke 0.")
    if len(table.cells) < len(table.measures) * prod(len(axis.names) for axis in table.axes):
        notes.append("– betyder, at der ikke er noget tal, fx ved en kilde, der ikke leverer beløb.")
    if any(cell.value == 0 for cell in table.cells):
        notes.append("Rækker, hvor alt er 0, er udeladt.")
    if len(table.axes) > _MANY:
        notes.append("Gentagelser og opdeling af totaler er udeladt her; de findes i de andre formater.")
    lines = [textwrap.fill(note, width, initial_indent="- ", subsequent_indent="  ") for note in notes]
    source = f"{definition.table_id} version {definition.version}, referencedato {table.reference_date.isoformat()}"
    return "\n".join([*lines, source, f"udgivelse {table.release_id}"])
