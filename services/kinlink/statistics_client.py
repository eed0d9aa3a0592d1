"""Reads released tables from a linker: what an analyst or another municipal system uses.

1. A table comes as typed cells or as an Arrow stream; the frames made of the two are equal.
2. A suppressed cell has status "suppressed" and no number. It is not 0 and not missing.
3. Amounts are øre; shares are in [0, 1].
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import grpc
import polars as pl

from kinlink.errors import from_rpc_error
from kinlink.linker.v1 import statistics_service_pb2 as pb
from kinlink.linker.v1.statistics_service_pb2_grpc import StatisticsServiceStub

_UNITS = {
    pb.MEASURE_COUNT: "count",
    pb.MEASURE_AMOUNT_ORE: "amount_ore",
    pb.MEASURE_MEAN_ORE: "mean_ore",
    pb.MEASURE_SHARE: "share",
    pb.MEASURE_MEAN: "mean",
}
_STATUSES = {pb.CELL_STATUS_PUBLISHED: "published", pb.CELL_STATUS_SUPPRESSED: "suppressed"}


@dataclass(frozen=True, slots=True)
class TableDefinition:
    """What a table says. `periods` are those with a release, newest first."""

    table_id: str
    version: int
    title_da: str
    title_en: str
    universe: str
    notes: Sequence[str]
    periods: Sequence[str]


@dataclass(frozen=True, slots=True)
class Axis:
    """One way of dividing a table: categories, then sums over some of them, then the total (or "")."""

    name: str
    title_da: str
    categories: Sequence[str]
    subtotals: Sequence[str]
    total: str
    titles_da: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """All names that a cell may have, in order."""
        return (*self.categories, *self.subtotals, *([self.total] if self.total else []))


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of each cell. `unit`: count, amount_ore, mean_ore, share or mean."""

    name: str
    title_da: str
    unit: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One measure of one cell; `value` is None exactly when `status` is "suppressed"."""

    categories: tuple[str, ...]
    measure: str
    status: str
    value: int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """A released table. `digest` is SHA-256 of the release, hex, the same for every door."""

    definition: TableDefinition
    release_id: str
    digest: str
    period: str
    reference_date: date
    released_at: datetime
    axes: Sequence[Axis]
    measures: Sequence[Measure]
    cells: Sequence[Cell]

    def to_frame(self) -> pl.DataFrame:
        """Return a row a cell and measure, in the release's order.

        Columns: one an axis, measure, unit, status (String), integer (Int64: counts and øre), real
        (Float64: shares and means). Both are null where the cell is suppressed.
        """
        units = {measure.name: measure.unit for measure in self.measures}
        rows = []
        for cell in self.cells:
            real = units[cell.measure] in {"share", "mean"}
            numbers = (None, cell.value) if real else (cell.value, None)
            rows.append((*cell.categories, cell.measure, units[cell.measure], cell.status, *numbers))
        words = [*(axis.name for axis in self.axes), "measure", "unit", "status"]
        schema: dict[str, pl.DataType] = dict.fromkeys(words, pl.String())
        return pl.DataFrame(rows, schema={**schema, "integer": pl.Int64(), "real": pl.Float64()}, orient="row")


class StatisticsClient:
    """Asks a linker for released tables. Every method raises KinlinkError when refused or out of reach."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Use an open channel (`kinlink.channel.open_channel`)."""
        self._stub = StatisticsServiceStub(channel)

    def list_tables(self) -> list[TableDefinition]:
        """Return the tables that this caller may read, in the registry's order."""
        try:
            answer = self._stub.ListTables(pb.ListTablesRequest())
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return [_definition(table) for table in answer.tables]

    def get_table(self, table_id: str, period: str = "") -> Table:
        """Return a released table; an empty period means the newest.

        Raises:
            ConflictError: there is no such released table, or not for this caller.
        """
        try:
            answer = self._stub.GetTable(pb.GetTableRequest(table_id=table_id, period=period))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return _table(answer.table)

    def stream_table(self, table_id: str, period: str = "") -> pl.DataFrame:
        """Return the frame of a released table (as `Table.to_frame`), sent as Arrow.

        Raises:
            ConflictError: as `get_table`.
        """
        parts = io.BytesIO()
        try:
            for answer in self._stub.StreamTable(pb.StreamTableRequest(table_id=table_id, period=period)):
                parts.write(answer.arrow_ipc)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        parts.seek(0)
        return pl.read_ipc_stream(parts)


def _definition(message: pb.TableDefinition) -> TableDefinition:
    return TableDefinition(
        message.table_id,
        message.version,
        message.title_da,
        message.title_en,
        message.universe,
        tuple(message.notes),
        tuple(message.periods),
    )


def _table(message: pb.Table) -> Table:
    return Table(
        definition=_definition(message.definition),
        release_id=message.release_id,
        digest=message.digest.hex(),
        period=message.period,
        reference_date=date.fromisoformat(message.reference_date),
        released_at=message.released_at.ToDatetime(UTC),
        axes=tuple(
            Axis(
                axis.name,
                axis.title_da,
                tuple(axis.categories),
                tuple(axis.subtotals),
                axis.total,
                dict(sorted(axis.titles_da.items())),
            )
            for axis in message.axes
        ),
        measures=tuple(Measure(each.name, each.title_da, _UNITS[each.measure]) for each in message.measures),
        cells=tuple(map(_cell, message.cells)),
    )


def _cell(message: pb.Cell) -> Cell:
    field = message.WhichOneof("value")
    value = None if field is None else getattr(message, field)
    return Cell(tuple(message.categories), message.measure_name, _STATUSES[message.status], value)
