"""Reads released tables from a linker: what an analyst or another municipal system uses.

1. A table comes as typed cells or as an Arrow stream; the frames made of the two are equal.
2. The newest revision is read, or that of a named release.

What the numbers mean: `kinlink.released`.
"""

from __future__ import annotations

import io
from datetime import UTC, date

import grpc
import polars as pl
import pyarrow as pa

from kinlink.errors import from_rpc_error
from kinlink.linker.v1 import statistics_service_pb2 as pb
from kinlink.linker.v1.statistics_service_pb2_grpc import StatisticsServiceStub
from kinlink.released import (
    Axis,
    Cell,
    Measure,
    ProtectionRules,
    Release,
    Revision,
    Table,
    TableDefinition,
    TableRecord,
)

_UNITS = {
    pb.MEASURE_COUNT: "count",
    pb.MEASURE_AMOUNT_ORE: "amount_ore",
    pb.MEASURE_MEAN_ORE: "mean_ore",
    pb.MEASURE_SHARE: "share",
    pb.MEASURE_MEAN: "mean",
}
_STATUSES = {
    pb.CELL_STATUS_PUBLISHED: "published",
    pb.CELL_STATUS_SUPPRESSED: "suppressed",
    pb.CELL_STATUS_CARRIED: "carried",
}
_PERIOD_TYPES = {
    pb.PERIOD_TYPE_UNSPECIFIED: "",
    pb.PERIOD_TYPE_YEAR: "year",
    pb.PERIOD_TYPE_YEAR_TO_DATE: "year_to_date",
    pb.PERIOD_TYPE_QUARTER: "quarter",
}


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

    def get_table(self, table_id: str, period: str = "", release_id: str = "") -> Table:
        """Return a released table: of a period, else of the newest; the newest revision, else that of a release.

        Raises:
            ConflictError: there is no such released table, or not for this caller.
        """
        try:
            answer = self._stub.GetTable(pb.GetTableRequest(table_id=table_id, period=period, release_id=release_id))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return _table(answer.table)

    def stream_table(self, table_id: str, period: str = "", release_id: str = "") -> pl.DataFrame:
        """Return the frame of a released table (as `Table.to_frame`), sent as Arrow.

        Raises:
            ConflictError: as `get_table`.
        """
        request = pb.StreamTableRequest(table_id=table_id, period=period, release_id=release_id)
        parts = io.BytesIO()
        try:
            for answer in self._stub.StreamTable(request):
                parts.write(answer.arrow_ipc)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        parts.seek(0)
        return pl.read_ipc_stream(parts)

    def stream_family_table(self, period: str = "") -> pa.Table:
        """Return the family table of a year, the newest granted when `period` is empty: a row a family.

        Metadata of its schema: release_id, digest, label_da, label_en, definition (JSON).

        Raises:
            ConflictError: there is no such table, or no grant for it.
            RefusedError: this caller is in no rule for it.
        """
        parts = io.BytesIO()
        try:
            for answer in self._stub.StreamFamilyTable(pb.StreamFamilyTableRequest(period=period)):
                parts.write(answer.arrow_ipc)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        parts.seek(0)
        return pa.ipc.open_stream(parts).read_all()

    def list_releases(self) -> list[Release]:
        """Return what was released, with the record of its disclosure control, newest first."""
        try:
            answer = self._stub.ListReleases(pb.ListReleasesRequest())
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return [_release(each) for each in answer.releases]


def _definition(message: pb.TableDefinition) -> TableDefinition:
    return TableDefinition(
        message.table_id,
        message.version,
        message.title_da,
        message.title_en,
        message.universe,
        tuple(message.notes),
        tuple(message.periods),
        _PERIOD_TYPES.get(message.period_type, ""),
        tuple(
            Revision(
                each.period,
                each.revision,
                each.release_id,
                date.fromisoformat(each.reference_date),
                each.released_at.ToDatetime(UTC),
            )
            for each in message.revisions
        ),
        message.threshold,
    )


def _release(message: pb.ReleaseRecord) -> Release:
    return Release(
        release_id=message.release_id,
        reference_date=date.fromisoformat(message.reference_date),
        released_at=message.released_at.ToDatetime(UTC),
        policy_digest=message.policy_digest.hex(),
        attackers=tuple(message.attackers),
        programs=message.programs,
        failures=message.failures,
        unchecked=message.unchecked,
        seconds=message.seconds,
        tables=tuple(
            TableRecord(
                each.table_id,
                each.title_da,
                each.title_en,
                each.period,
                each.revision,
                each.digest.hex(),
                each.cells,
                each.shown,
                each.carried,
                each.suppressed,
                _rules(each.rules) if each.HasField("rules") else None,
            )
            for each in message.tables
        ),
    )


def _rules(message: pb.ProtectionRules) -> ProtectionRules:
    return ProtectionRules(
        message.policy,
        message.threshold,
        message.p_percent,
        tuple((each.largest, each.percent) for each in message.dominance),
        message.interval_percent,
        message.interval_minimum_ore,
        message.singletons,
        message.department_insiders,
    )


def _table(message: pb.Table) -> Table:
    return Table(
        definition=_definition(message.definition),
        release_id=message.release_id,
        digest=message.digest.hex(),
        period=message.period,
        revision=message.revision,
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
    return Cell(tuple(message.categories), message.measure_name, _STATUSES[message.status], value, message.revision)
