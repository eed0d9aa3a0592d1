"""A released table as text: Danish, one axis across, definitions underneath.

Of three axes down or more, the first stands in lines of its own, above its rows.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable
from typing import Literal

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table as RichTable

from kinlink.cli.table_layout import MANY, Layout, broken, lay_out
from kinlink.cli.table_words import NOTHING, footnotes, mark, omissions, title, writer
from kinlink.released import Cell, Table

_UNBOUNDED = 10_000
_BLANK = "\u2800"  # as wide as a space, and kept at the end of a column


def render(table: Table, width: int) -> str:
    """Return the table and its definitions, `width` characters wide, or more where the table is wider."""
    written = writer(table)
    room = max((len(mark(cell)) for cell in table.cells), default=0)

    def aligned(cell: Cell | None) -> str:
        return NOTHING + _BLANK * room if cell is None else written(cell) + _BLANK * (room - len(mark(cell)))

    grid = draw(lay_out(table, width, written), aligned, "right")
    text = io.StringIO()
    console = Console(file=text, width=_UNBOUNDED)
    console.print(grid, width=max(width, console.measure(grid).maximum))
    lines = [line.rstrip() for line in text.getvalue().replace(_BLANK, " ").splitlines()]
    return "\n".join([title(table), *lines, _notes(table, width), ""])


def draw(
    layout: Layout, shown: Callable[[Cell | None], RenderableType], justify: Literal["right", "center"]
) -> RichTable:
    """Return a layout as a grid of a terminal, with what `shown` makes of each cell."""
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    titles = list(layout.titles)
    sections = len(titles) >= MANY
    if sections:
        titles[:2] = [broken(f"{titles[0]}, {titles[1].lower()}")]
    for heading in titles:
        grid.add_column(heading, no_wrap=True)
    for heading in layout.headings:
        grid.add_column(broken(heading), justify=justify, no_wrap=True)
    for row in layout.rows:
        labels = list(row.labels)
        if sections:
            section = labels.pop(0)
            if section:
                grid.add_row(section)
            labels[0] = f"  {labels[0]}"
        grid.add_row(*labels, *map(shown, row.cells))
    return grid


def _notes(table: Table, width: int) -> str:
    notes = [*table.definition.notes, *footnotes(table), *omissions(table)]
    lines = [textwrap.fill(note, width, initial_indent="- ", subsequent_indent="  ") for note in notes]
    definition = table.definition
    source = f"{definition.table_id} version {definition.version}, referencedato {table.reference_date.isoformat()}"
    release = f"udgivelse {table.release_id}, revision {table.revision}"
    return "\n".join([*lines, source, release, f"sha256 {table.digest}"])
