"""A released table as an Arrow IPC stream."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa

from linker.disclosure.release import CellStatus, ReleasedCell, ReleasedTable
from linker.tables.registered_table import Unit


def arrow_stream(table: ReleasedTable) -> bytes:
    """Return the table as an Arrow IPC stream: a row a cell and measure, in the release's order.

    Columns: one an axis, measure, unit, status (String), revision (Int32: whose number it is), integer (Int64), real
    (Float64); the one of the last two that the unit names holds the value. Revision and value are null where it is
    suppressed. Metadata of the schema: release_id, digest (hex), definition (JSON).
    """
    units = {measure.name: measure.unit for measure in table.measures}
    integers = [None if is_real(units[cell.measure]) else cell.value for cell in table.cells]
    reals = [cell.value if is_real(units[cell.measure]) else None for cell in table.cells]
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        axis.name: (pa.string(), [cell.categories[place] for cell in table.cells])
        for place, axis in enumerate(table.axes)
    }
    columns["measure"] = pa.string(), [cell.measure for cell in table.cells]
    columns["unit"] = pa.string(), [units[cell.measure].value for cell in table.cells]
    columns["status"] = pa.string(), [cell.status.value for cell in table.cells]
    columns["revision"] = pa.int32(), [revision_of(cell, table) or None for cell in table.cells]
    columns["integer"] = pa.int64(), integers
    columns["real"] = pa.float64(), reals
    definition = {
        "table_id": table.table_id,
        "version": table.version,
        "title_da": table.title_da,
        "title_en": table.title_en,
        "universe": table.universe,
        "notes_da": table.notes_da,
        "period": table.period,
        "revision": table.revision,
        "reference_date": table.reference_date.isoformat(),
    }
    metadata: dict[bytes | str, bytes | str] = {
        "release_id": table.release_id,
        "digest": table.digest,
        "definition": json.dumps(definition, ensure_ascii=False, sort_keys=True),
    }
    schema = pa.schema([(name, dtype) for name, (dtype, _) in columns.items()], metadata)
    content = pa.Table.from_pydict({name: values for name, (_, values) in columns.items()}, schema)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, content.schema) as writer:
        writer.write_table(content)
    return sink.getvalue()


def revision_of(cell: ReleasedCell, table: ReleasedTable) -> int:
    """Return the revision whose number a cell shows; 0 when it is suppressed."""
    return table.revision if cell.status is CellStatus.PUBLISHED else cell.revision


def is_real(unit: Unit) -> bool:
    """Say whether a measure of this unit has fractions, and no whole numbers."""
    return unit in (Unit.SHARE, Unit.MEAN)
