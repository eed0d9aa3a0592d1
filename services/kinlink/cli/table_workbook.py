"""A released table as a workbook, for an analyst in Excel: what it looks like, its data, what it means.

1. "Tabel" is the table as a person reads it. ".." is a suppressed cell; a carried number is slanted and followed by its
   revision. All that is shown is a number, not text.
2. "Data" has a row a number, for pivots: no value where it is suppressed, its status in a column of its own. Sums are
   marked, so that a pivot can leave them out.
3. "Forklaring" says what the table and its signs mean, and which release it is.
4. Amounts are kroner, unrounded. The same table gives the same bytes.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC

import xlsxwriter
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from kinlink.cli.table_layout import lay_out
from kinlink.cli.table_words import (
    NOTHING,
    STATUSES,
    SUPPRESSED,
    UNITS,
    footnotes,
    mark,
    omissions,
    period,
    title,
    writer,
)
from kinlink.released import Cell, Table

_PAGE = 10_000  # a sheet is as wide as it must be
_NUMBERS = {"count": "#,##0", "amount_ore": "#,##0", "mean_ore": "#,##0", "share": "0.0%", "mean": "0.00"}
_A4 = 9
_WIDE = 100  # characters of a line of text
_LINE = 15  # its height
_KRONER = frozenset({"amount_ore", "mean_ore"})


class _Formats:
    """The formats of a workbook, made when they are first asked for."""

    def __init__(self, book: xlsxwriter.Workbook) -> None:
        self._book = book
        self._made: dict[tuple[tuple[str, object], ...], Format] = {}

    def __call__(self, **properties: object) -> Format:
        key = tuple(sorted(properties.items()))
        if key not in self._made:
            self._made[key] = self._book.add_format(dict(key))
        return self._made[key]


def workbook(table: Table) -> bytes:
    """Return the table as an XLSX file."""
    sink = io.BytesIO()
    with xlsxwriter.Workbook(sink, {"in_memory": True}) as book:
        released_at = table.released_at.astimezone(UTC).replace(tzinfo=None)
        book.set_properties({"title": title(table), "comments": f"sha256 {table.digest}", "created": released_at})
        formats = _Formats(book)
        units = {measure.name: measure.unit for measure in table.measures}
        _picture(book.add_worksheet("Tabel"), table, units, formats)
        _data(book.add_worksheet("Data"), table, units, formats)
        _explanation(book.add_worksheet("Forklaring"), table, formats)
        for sheet in book.worksheets():
            sheet.set_landscape()
            sheet.set_paper(_A4)
            sheet.fit_to_pages(1, 0)  # as many pages down as it takes
    return sink.getvalue()


def value(cell: Cell, unit: str) -> float | None:
    """Return a cell's number as Excel has it, amounts in kroner; None when it is suppressed."""
    if cell.value is None:
        return None
    return cell.value / 100 if unit in _KRONER else cell.value


def _picture(sheet: Worksheet, table: Table, units: Mapping[str, str], formats: _Formats) -> None:
    layout = lay_out(table, _PAGE, writer(table))
    bold = formats(bold=True)
    sheet.write_string(0, 0, title(table), formats(bold=True, font_size=14))
    if _KRONER & set(units.values()):
        sheet.write_string(1, 0, "Beløb i kroner", formats(italic=True))
    first = 2
    for column, heading in enumerate(layout.titles):
        sheet.write_string(first, column, heading, bold)
    beside = len(layout.titles)
    for column, heading in enumerate(layout.headings, beside):
        sheet.write_string(first, column, heading, formats(bold=True, align="right", text_wrap=True))
    line = first
    for line, row in enumerate(layout.rows, first + 1):
        for column, label in enumerate(row.labels):
            sheet.write_string(line, column, label)
        for column, cell in enumerate(row.cells, beside):
            _number(sheet, line, column, cell, units, formats)
    _widths(sheet, beside, len(layout.headings), _numbers_width(layout.headings, table, units))
    sheet.freeze_panes(first + 1, beside)
    for below, note in enumerate([*footnotes(table), *omissions(table)], line + 2):
        sheet.write_string(below, 0, note, formats(italic=True))


def _number(
    sheet: Worksheet, line: int, column: int, cell: Cell | None, units: Mapping[str, str], formats: _Formats
) -> None:
    number = value(cell, units[cell.measure]) if cell else None
    if cell is None or number is None:
        text = SUPPRESSED if cell else NOTHING
        sheet.write_string(line, column, text, formats(align="right", font_color="#666666"))
        return
    style = _NUMBERS[units[cell.measure]]
    if cell.status == "carried":
        sheet.write_number(line, column, number, formats(num_format=f'{style}"{mark(cell)}"', italic=True))
    else:
        sheet.write_number(line, column, number, formats(num_format=style))


def _data(sheet: Worksheet, table: Table, units: Mapping[str, str], formats: _Formats) -> None:
    titles = {measure.name: measure.title_da for measure in table.measures}
    heads = [*(axis.title_da for axis in table.axes), "Tal", "Enhed", "Sum", "Status", "Fra revision", "Værdi"]
    for line, cell in enumerate(table.cells, 1):
        unit = units[cell.measure]
        names = [axis.titles_da.get(name, name) for axis, name in zip(table.axes, cell.categories, strict=True)]
        is_sum = any(name not in axis.categories for axis, name in zip(table.axes, cell.categories, strict=True))
        words = [*names, titles[cell.measure], UNITS[unit], "ja" if is_sum else "nej", STATUSES[cell.status]]
        for column, word in enumerate(words):
            sheet.write_string(line, column, word)
        number = value(cell, unit)
        if number is not None:
            sheet.write_number(line, len(words), cell.revision)
            sheet.write_number(line, len(words) + 1, number, formats(num_format=_NUMBERS[unit]))
    columns = [{"header": head} for head in _distinct(heads)]
    options = {"columns": columns, "name": "Data", "style": "Table Style Light 1"}
    sheet.add_table(0, 0, max(len(table.cells), 1), len(heads) - 1, options)
    _widths(sheet, len(table.axes) + 1, 5)
    sheet.freeze_panes(1, 0)


def _distinct(heads: Sequence[str]) -> list[str]:
    """Return headings of which no two are the same, as Excel's tables want it."""
    words = [head.lower() for head in heads]
    return [f"{head} ({place + 1})" if words[place] in words[:place] else head for place, head in enumerate(heads)]


def _explanation(sheet: Worksheet, table: Table, formats: _Formats) -> None:
    definition = table.definition
    lines = [
        ("Tabel", definition.title_da),
        ("På engelsk", definition.title_en),
        ("Definition", f"{definition.table_id} version {definition.version}: {definition.universe}"),
        ("Periode", " · ".join(dict.fromkeys((period(table.period), table.period)))),
        ("Referencedato", table.reference_date.isoformat()),
        ("Revision", str(table.revision)),
        ("Udgivet", table.released_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("Udgivelse", table.release_id),
        ("SHA-256", table.digest),
        *(("Bemærk", note) for note in definition.notes),
        *(("Tegn", note) for note in footnotes(table)),
        ("Arket Data", "En række pr. tal. Uden værdi: skjult (se Status). Beløb er i kroner, andele fra 0 til 1."),
        (
            "Arket Data",
            "Totaler og delsummer er også rækker (Sum = ja): vælg ét niveau, før der lægges sammen.",
        ),
    ]
    wrapped = formats(text_wrap=True, valign="top")
    for line, (word, meaning) in enumerate(lines):
        repeated = line and lines[line - 1][0] == word
        sheet.write_string(line, 0, "" if repeated else word, formats(bold=True, valign="top"))
        sheet.write_string(line, 1, meaning, wrapped)
        sheet.set_row(line, _LINE * len(textwrap.wrap(meaning, _WIDE)))
    sheet.set_column(0, 0, 16)
    sheet.set_column(1, 1, _WIDE)


def _numbers_width(headings: Sequence[str], table: Table, units: Mapping[str, str]) -> int:
    """Return how wide columns of numbers are: as the longest word of a heading, or the longest number and its mark."""
    words = [len(word) for heading in headings for word in heading.split()]
    numbers = [len(f"{value(cell, units[cell.measure]) or 0:,.0f}") + len(mark(cell)) for cell in table.cells]
    return max([4, *words, *numbers]) + 2


def _widths(sheet: Worksheet, labels: int, numbers: int, wide: int = 16) -> None:
    sheet.set_column(0, labels - 1, 28)
    sheet.set_column(labels, labels + numbers - 1, wide)
