"""StatisticsService: look-up of released tables, as typed cells and as Arrow.

A table that is not registered, not allowed to this caller, or not released gives the same
answer, so that asking tells nothing. Nothing is computed here but another form of a release.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Any

import grpc
import pyarrow as pa
from google.protobuf.timestamp_pb2 import Timestamp

from kinlink.linker.v1 import statistics_service_pb2 as pb
from kinlink.linker.v1.statistics_service_pb2_grpc import StatisticsServiceServicer
from linker.disclosure.release import CellStatus, ReleasedCell, ReleasedTable
from linker.store.releases import LiveTable, ReleaseRecord, Releases
from linker.tables.registry import RegisteredTable, Unit
from servicekit.audit import describe
from servicekit.errors import NotFoundError
from servicekit.identity import current_limits

MESSAGE_BYTES = 1 << 20

MEASURES = {
    Unit.COUNT: pb.MEASURE_COUNT,
    Unit.AMOUNT_ORE: pb.MEASURE_AMOUNT_ORE,
    Unit.MEAN_ORE: pb.MEASURE_MEAN_ORE,
    Unit.SHARE: pb.MEASURE_SHARE,
    Unit.MEAN: pb.MEASURE_MEAN,
}
_STATUSES = {
    CellStatus.PUBLISHED: pb.CELL_STATUS_PUBLISHED,
    CellStatus.SUPPRESSED: pb.CELL_STATUS_SUPPRESSED,
}


class StatisticsApi(StatisticsServiceServicer):
    """Serves StatisticsService from the registry and the live releases."""

    def __init__(self, registry: Sequence[RegisteredTable], releases: Releases) -> None:
        self._registry = registry
        self._releases = releases

    def ListTables(
        self,
        request: pb.ListTablesRequest,
        context: grpc.ServicerContext,
    ) -> pb.ListTablesResponse:
        """List the tables that the caller may read."""
        periods = self._releases.periods()
        tables = [
            pb.TableDefinition(
                table_id=table.table_id,
                version=table.version,
                title_da=table.title_da,
                title_en=table.title_en,
                universe=table.universe_text,
                notes=table.notes_da,
                periods=periods.get(table.table_id, []),
            )
            for table in self._registry
            if _allowed(table.table_id)
        ]
        describe(count=len(tables))
        return pb.ListTablesResponse(tables=tables)

    def GetTable(
        self,
        request: pb.GetTableRequest,
        context: grpc.ServicerContext,
    ) -> pb.GetTableResponse:
        """Return a released table as typed cells."""
        found = self._find(request.table_id, request.period)
        return pb.GetTableResponse(table=self._message(found))

    def StreamTable(
        self,
        request: pb.StreamTableRequest,
        context: grpc.ServicerContext,
    ) -> Iterator[pb.StreamTableResponse]:
        """Return a released table as an Arrow IPC stream, cut into messages."""
        found = self._find(request.table_id, request.period)
        content = arrow_stream(found.table)
        for start in range(0, len(content), MESSAGE_BYTES):
            yield pb.StreamTableResponse(arrow_ipc=content[start : start + MESSAGE_BYTES])

    def ListReleases(
        self,
        request: pb.ListReleasesRequest,
        context: grpc.ServicerContext,
    ) -> pb.ListReleasesResponse:
        """List what was released, with the counts of its disclosure control."""
        records = self._releases.records()
        describe(count=len(records))
        return pb.ListReleasesResponse(releases=map(_record, records))

    def _find(self, table_id: str, period: str) -> LiveTable:
        registered = any(table.table_id == table_id for table in self._registry)
        found = self._releases.find(table_id, period) if registered and _allowed(table_id) else None
        if found is None:
            message = "no such released table, or not for this caller; ListTables names the tables and their periods"
            raise NotFoundError(message, "TABLE_NOT_FOUND")
        table = found.table
        describe(subject=f"{table.table_id}/{table.period}/{table.release_id}", count=len(table.cells))
        return found

    def _message(self, found: LiveTable) -> pb.Table:
        table = found.table
        units = {measure.name: measure.unit for measure in table.measures}
        return pb.Table(
            definition=pb.TableDefinition(
                table_id=table.table_id,
                version=table.version,
                title_da=table.title_da,
                title_en=table.title_en,
                universe=table.universe,
                notes=table.notes_da,
                periods=self._releases.periods().get(table.table_id, []),
            ),
            release_id=table.release_id,
            digest=bytes.fromhex(table.digest),
            period=table.period,
            reference_date=table.reference_date.isoformat(),
            released_at=_instant(found),
            axes=[
                pb.Axis(
                    name=axis.name,
                    title_da=axis.title_da,
                    categories=axis.categories,
                    total=axis.total,
                    subtotals=axis.subtotals,
                    titles_da=axis.titles_da,
                )
                for axis in table.axes
            ],
            cells=[_cell(cell, units[cell.measure]) for cell in table.cells],
            measures=[
                pb.MeasureDefinition(name=each.name, title_da=each.title_da, measure=MEASURES[each.unit])
                for each in table.measures
            ],
        )


def arrow_stream(table: ReleasedTable) -> bytes:
    """Return the table as an Arrow IPC stream: a row a cell and measure, in the release's order.

    Columns: one an axis, measure, unit, status (String), integer (Int64), real (Float64); the one
    of the last two that the unit names holds the value, and both are null where it is suppressed.
    Metadata of the schema: release_id, digest (hex), definition (JSON).
    """
    units = {measure.name: measure.unit for measure in table.measures}
    integers = [None if _is_real(units[cell.measure]) else cell.value for cell in table.cells]
    reals = [cell.value if _is_real(units[cell.measure]) else None for cell in table.cells]
    columns: dict[str, tuple[pa.DataType, list[Any]]] = {
        axis.name: (pa.string(), [cell.categories[place] for cell in table.cells])
        for place, axis in enumerate(table.axes)
    }
    columns["measure"] = pa.string(), [cell.measure for cell in table.cells]
    columns["unit"] = pa.string(), [units[cell.measure].value for cell in table.cells]
    columns["status"] = pa.string(), [cell.status.value for cell in table.cells]
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


def _record(record: ReleaseRecord) -> pb.ReleaseRecord:
    table = record.live.table
    return pb.ReleaseRecord(
        release_id=table.release_id,
        table_id=table.table_id,
        title_da=table.title_da,
        title_en=table.title_en,
        period=table.period,
        reference_date=table.reference_date.isoformat(),
        released_at=_instant(record.live),
        digest=bytes.fromhex(table.digest),
        policy_digest=bytes.fromhex(record.policy_digest),
        outcome=record.outcome,
        cells=record.cells,
        withheld=record.withheld,
        unsafe_at_finest=record.unsafe_at_finest,
    )


def _instant(found: LiveTable) -> Timestamp:
    released_at = Timestamp()
    released_at.FromDatetime(found.released_at.astimezone(UTC))
    return released_at


def _cell(cell: ReleasedCell, unit: Unit) -> pb.Cell:
    message = pb.Cell(
        categories=cell.categories,
        measure_name=cell.measure,
        measure=MEASURES[unit],
        status=_STATUSES[cell.status],
    )
    if cell.value is not None and _is_real(unit):
        message.real = cell.value
    elif cell.value is not None:
        message.integer = int(cell.value)
    return message


def _is_real(unit: Unit) -> bool:
    return unit in (Unit.SHARE, Unit.MEAN)


def _allowed(table_id: str) -> bool:
    tables = current_limits().get("tables", ())
    return "*" in tables or table_id in tables
