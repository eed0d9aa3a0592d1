"""StatisticsService: look-up of released tables, as typed cells and as Arrow.

1. A table that is not registered, not allowed to this caller, or not released gives the same answer, so that asking
   tells nothing.
2. Nothing is computed here but another form of a release.
3. A withheld cell is SUPPRESSED, whatever withheld it. Of the record only what tells nothing of that is sent.
4. A consumer of the family table gets tables made of its rows, and no others (`family_table`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from kinlink.linker.v1 import statistics_service_pb2 as pb
from kinlink.linker.v1.statistics_service_pb2_grpc import StatisticsServiceServicer
from linker.disclosure.family_table.coded_tables import UNIVERSE, Definition
from linker.disclosure.policy import Policy
from linker.disclosure.release import CellStatus, ReleasedCell, ReleasedTable
from linker.doors.family_table import FamilyTableDoor
from linker.doors.released_arrow import arrow_stream, is_real, revision_of
from linker.store.releases import Releases, Revision, StoredRelease, StoredTable
from linker.tables.registered_table import PeriodType, RegisteredTable, Unit
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
    CellStatus.CARRIED: pb.CELL_STATUS_CARRIED,
    CellStatus.SUPPRESSED: pb.CELL_STATUS_SUPPRESSED,
}
_PERIODS = {
    PeriodType.YEAR: pb.PERIOD_TYPE_YEAR,
    PeriodType.YEAR_TO_DATE: pb.PERIOD_TYPE_YEAR_TO_DATE,
    PeriodType.QUARTER: pb.PERIOD_TYPE_QUARTER,
}


class StatisticsApi(StatisticsServiceServicer):
    """Serves StatisticsService from the registry and the releases."""

    def __init__(
        self, registry: Sequence[RegisteredTable], policy: Policy, releases: Releases, families: FamilyTableDoor
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._releases = releases
        self._families = families

    def ListTables(
        self,
        request: pb.ListTablesRequest,
        context: grpc.ServicerContext,
    ) -> pb.ListTablesResponse:
        """List the tables that the caller may read."""
        if self._families.is_for_caller():
            coded = self._families.definitions()
            describe(count=len(coded))
            return pb.ListTablesResponse(
                tables=[_definition(table, revisions, PeriodType.YEAR, UNIVERSE, 0) for table, revisions in coded]
            )
        revisions = self._releases.revisions()
        tables = [
            _definition(
                table, revisions.get(table.table_id, []), table.period, table.universe_text, self._threshold(table)
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
        found = self._find(request)
        return pb.GetTableResponse(table=self._message(found))

    def StreamTable(
        self,
        request: pb.StreamTableRequest,
        context: grpc.ServicerContext,
    ) -> Iterator[pb.StreamTableResponse]:
        """Return a released table as an Arrow IPC stream, cut into messages."""
        found = self._find(request)
        content = arrow_stream(found.table)
        for start in range(0, len(content), MESSAGE_BYTES):
            yield pb.StreamTableResponse(arrow_ipc=content[start : start + MESSAGE_BYTES])

    def StreamFamilyTable(
        self,
        request: pb.StreamFamilyTableRequest,
        context: grpc.ServicerContext,
    ) -> Iterator[pb.StreamFamilyTableResponse]:
        """Return the family table of a year as an Arrow IPC stream, cut into messages."""
        for part in self._families.stream(request.period):
            yield pb.StreamFamilyTableResponse(arrow_ipc=part)

    def ListReleases(
        self,
        request: pb.ListReleasesRequest,
        context: grpc.ServicerContext,
    ) -> pb.ListReleasesResponse:
        """List what was released, with the counts of its disclosure control."""
        records = self._releases.records()
        describe(count=len(records))
        return pb.ListReleasesResponse(releases=[_record(each, self._rules) for each in records])

    def _find(self, request: pb.GetTableRequest | pb.StreamTableRequest) -> StoredTable:
        asked = request.table_id, request.period, request.release_id
        if self._families.is_for_caller():
            found = self._families.find(*asked)
        else:
            found = self._releases.find(*asked) if self._registered(request.table_id) else None
        if found is None:
            message = "there is no such released table, period or release, or it is not for this caller"
            raise NotFoundError(message, "TABLE_NOT_FOUND")
        table = found.table
        describe(subject=f"{table.table_id}/{table.period}/{table.release_id}", count=len(table.cells))
        return found

    def _threshold(self, table: RegisteredTable) -> int:
        return self._policy.policies[table.policy].protection.threshold

    def _rules(self, table: ReleasedTable, policy_digest: str) -> pb.ProtectionRules | None:
        """Return what a table of a release was protected by; None when that is not known any more."""
        versions = {(each.table_id, each.version): each.policy for each in self._registry}
        name = versions.get((table.table_id, table.version))
        if name is None or policy_digest != self._policy.digest:
            return None
        rules = self._policy.policies[name]
        return pb.ProtectionRules(
            policy=name,
            threshold=rules.protection.threshold,
            p_percent=rules.protection.p_percent or 0,
            dominance=[pb.DominanceRule(largest=n, percent=k) for n, k in rules.protection.dominance],
            interval_percent=rules.protection.interval_percent,
            interval_minimum_ore=rules.protection.interval_minimum,
            singletons=rules.protection.singletons,
            department_insiders=rules.department_insiders,
        )

    def _registered(self, table_id: str) -> RegisteredTable | None:
        """Return a registered table that the caller may read."""
        return next((each for each in self._registry if each.table_id == table_id and _allowed(table_id)), None)

    def _message(self, found: StoredTable) -> pb.Table:
        table = found.table
        units = {measure.name: measure.unit for measure in table.measures}
        if self._families.is_for_caller():
            coded = {definition.table_id: of_table for definition, of_table in self._families.definitions()}
            revisions, period_type, threshold = coded[table.table_id], PeriodType.YEAR, 0
        else:
            revisions = self._releases.revisions().get(table.table_id, [])
            registered = next(each for each in self._registry if each.table_id == table.table_id)
            period_type = registered.period
            threshold = self._threshold(registered) if found.policy_digest == self._policy.digest else 0
        return pb.Table(
            definition=_definition(table, revisions, period_type, table.universe, threshold),
            release_id=table.release_id,
            digest=bytes.fromhex(table.digest),
            period=table.period,
            revision=table.revision,
            reference_date=table.reference_date.isoformat(),
            released_at=_instant(found.released_at),
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
            cells=[_cell(cell, units[cell.measure], revision_of(cell, table)) for cell in table.cells],
            measures=[
                pb.MeasureDefinition(name=each.name, title_da=each.title_da, measure=MEASURES[each.unit])
                for each in table.measures
            ],
        )


def _definition(
    table: RegisteredTable | ReleasedTable | Definition,
    revisions: Sequence[Revision],
    period_type: PeriodType,
    universe: str,
    threshold: int,
) -> pb.TableDefinition:
    return pb.TableDefinition(
        table_id=table.table_id,
        version=table.version,
        title_da=table.title_da,
        title_en=table.title_en,
        universe=universe,
        notes=table.notes_da,
        periods=dict.fromkeys(each.period for each in revisions),
        period_type=_PERIODS[period_type],
        revisions=[
            pb.Revision(
                period=each.period,
                revision=each.revision,
                release_id=each.release_id,
                reference_date=each.reference_date.isoformat(),
                released_at=_instant(each.released_at),
            )
            for each in revisions
        ],
        threshold=threshold,
    )


def _record(
    release: StoredRelease, rules: Callable[[ReleasedTable, str], pb.ProtectionRules | None]
) -> pb.ReleaseRecord:
    """Return the public part of a release's record.

    How many lone contributors attacked would tell how many cells hold one family: only who attacked is sent.
    """
    record = release.record
    return pb.ReleaseRecord(
        release_id=release.release_id,
        reference_date=release.reference_date.isoformat(),
        released_at=_instant(release.released_at),
        policy_digest=bytes.fromhex(release.policy_digest),
        attackers=sorted(record.attackers),
        programs=record.programs,
        failures=record.failures,
        unchecked=record.unchecked,
        seconds=record.seconds,
        tables=[_table_record(table, rules(table, release.policy_digest)) for table in release.tables],
    )


def _table_record(table: ReleasedTable, rules: pb.ProtectionRules | None) -> pb.TableRecord:
    statuses = Counter(cell.status for cell in table.cells)
    return pb.TableRecord(
        table_id=table.table_id,
        title_da=table.title_da,
        title_en=table.title_en,
        period=table.period,
        revision=table.revision,
        digest=bytes.fromhex(table.digest),
        cells=len(table.cells),
        shown=statuses[CellStatus.PUBLISHED],
        carried=statuses[CellStatus.CARRIED],
        suppressed=statuses[CellStatus.SUPPRESSED],
        rules=rules,
    )


def _instant(at: datetime) -> Timestamp:
    released_at = Timestamp()
    released_at.FromDatetime(at.astimezone(UTC))
    return released_at


def _cell(cell: ReleasedCell, unit: Unit, revision: int) -> pb.Cell:
    message = pb.Cell(
        categories=cell.categories,
        measure_name=cell.measure,
        measure=MEASURES[unit],
        status=_STATUSES[cell.status],
        revision=revision,
    )
    if cell.value is not None and is_real(unit):
        message.real = cell.value
    elif cell.value is not None:
        message.integer = int(cell.value)
    return message


def _allowed(table_id: str) -> bool:
    tables = current_limits().get("tables", ())
    return "*" in tables or table_id in tables
