"""From a pattern to released tables: values, carried values, and the counts of the record.

A mean in øre is rounded to whole øre, halves away from zero; other means and shares to 4 decimals, so that a ratio does
not give its two counts away. It does not know why a cell is hidden, but for the record's counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import product

from linker.disclosure.protection import Protected, Reason
from linker.disclosure.release import (
    CellStatus,
    ReleasedAxis,
    ReleasedCell,
    ReleasedMeasure,
    ReleasedTable,
    TableRecord,
)
from linker.disclosure.views import classification
from linker.tables.registered_table import Axis, Measure, RegisteredTable, Unit

Categories = tuple[str, ...]
_Cells = tuple[Categories, Mapping[Categories, int]]  # axes of a column, and codes → cell


def frozen(
    table: RegisteredTable,
    protected: Protected,
    live: ReleasedTable | None,
    *,
    carry: bool,
    period: str,
    reference_date: date,
) -> tuple[ReleasedTable, TableRecord]:
    """Return a table as it may be served, and its record. `live`: its last revision of the period.

    A number that is hidden now and that the last revision has is carried, with the revision that published it; none is
    if `carry` is false: by the policy of now it might not have been published. Without
    margins a share of nobody is no cell, and no secret.
    """
    columns = {column: protected.cells(table.table_id, column) for column in table.columns}
    carried = _published(live) if carry and live and live.version == table.version else {}
    names = [axis.name for axis in table.axes]
    cells, reasons = [], []
    for categories in product(*(classification(axis, margins=table.margins).codes for axis in table.axes)):
        at = dict(zip(names, categories, strict=True))
        for measure in table.measures:
            parts = [_cell(columns[name], at) for name in (measure.column, measure.denominator) if name]
            reason = protected.reason(parts)
            value = (
                None if reason else _value(measure, *(int(protected.registered.system.values[cell]) for cell in parts))
            )
            if value is not None:
                found = ReleasedCell(categories, measure.name, CellStatus.PUBLISHED, value)
            elif reason or table.margins:
                nothing = ReleasedCell(categories, measure.name, CellStatus.SUPPRESSED, None)
                found = carried.get((categories, measure.name), nothing) if reason else nothing
            else:
                continue
            cells.append(found)
            reasons.append(reason)
    released = ReleasedTable(
        release_id="",
        table_id=table.table_id,
        version=table.version,
        revision=live.revision + 1 if live else 1,
        title_da=table.title_da,
        title_en=table.title_en,
        universe=table.universe_text,
        notes_da=table.notes_da,
        period=period,
        reference_date=reference_date,
        axes=tuple(_axis(axis, margins=table.margins) for axis in table.axes),
        measures=tuple(ReleasedMeasure(each.name, each.title_da, each.unit) for each in table.measures),
        cells=tuple(cells),
        digest="",
    )
    return released.sealed(), _record(cells, reasons)


def _cell(column: _Cells, at: Mapping[str, str]) -> int:
    axes, cells = column
    return cells[tuple(at[name] for name in axes)]


def _value(measure: Measure, numerator: int, denominator: int = 0) -> int | float | None:
    """Return the number; None for a mean or share of nobody."""
    if measure.denominator is None:
        return numerator
    if denominator == 0:
        return None
    if measure.unit is Unit.MEAN_ORE:
        rounded = (2 * abs(numerator) + denominator) // (2 * denominator)
        return rounded if numerator >= 0 else -rounded
    return round(numerator / denominator, 4)


def _published(live: ReleasedTable) -> dict[tuple[Categories, str], ReleasedCell]:
    """Return the numbers that the last revision has, each with the revision that published it."""
    return {
        (cell.categories, cell.measure): ReleasedCell(
            cell.categories, cell.measure, CellStatus.CARRIED, cell.value, cell.revision or live.revision
        )
        for cell in live.cells
        if cell.value is not None
    }


def _axis(axis: Axis, *, margins: bool) -> ReleasedAxis:
    subtotals = tuple(axis.subtotals) if margins else ()
    total = axis.total if margins else ""
    names = [*axis.categories, *subtotals, *([total] if total else [])]
    titles = {name: axis.titles_da.get(name, name) for name in names}
    return ReleasedAxis(axis.name, axis.title_da, axis.categories, subtotals, total, titles)


def _record(cells: Sequence[ReleasedCell], reasons: Sequence[Reason | None]) -> TableRecord:
    statuses = [cell.status for cell in cells]
    return TableRecord(
        cells=len(cells),
        shown=statuses.count(CellStatus.PUBLISHED),
        carried=statuses.count(CellStatus.CARRIED),
        suppressed=statuses.count(CellStatus.SUPPRESSED),
        primary=reasons.count(Reason.PRIMARY),
        secondary=reasons.count(Reason.SECONDARY),
        changes=reasons.count(Reason.CHANGE),
    )
