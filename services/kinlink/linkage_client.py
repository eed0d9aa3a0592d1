"""Starts linkage runs on a linker and follows them: what an operator uses."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import grpc

from kinlink.errors import from_rpc_error
from kinlink.linker.v1 import linkage_service_pb2 as pb
from kinlink.linker.v1.linkage_service_pb2_grpc import LinkageServiceStub

STAGES = ("conversion", "linkage", "aliases", "families", "tables", "release")
"""The stages of a run, in order."""

_STAGES = {pb.RunStage.Value(f"RUN_STAGE_{stage.upper()}"): stage for stage in STAGES}

_STATES = {
    pb.RUN_STATE_RUNNING: "running",
    pb.RUN_STATE_INTERRUPTED: "interrupted",
    pb.RUN_STATE_SUCCEEDED: "succeeded",
    pb.RUN_STATE_FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of a source was linked, in [0, 1]; None when withheld or when there is no money."""

    source: str
    method: str
    share_rows: float | None
    share_amount: float | None


@dataclass(frozen=True, slots=True)
class TableOutcome:
    """What became of a table; `release_id` is empty when nothing serves it."""

    table_id: str
    release_id: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate in [0, 1] and the ends of its 95 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LinkageQuality:
    """How good the links by encodings are, as the model expects, of a source; `month`: "YYYY-MM", "" for all of them.

    `records` without a usable CPR number, of them `linked` and `in_review`. `precision`, `recall`: by amount, None
    where nothing was linked, or could be. In absolute kroner, whole thousands, None of a month: all postings of the
    source, `posted_kr`; of these, those under a CPR number, `identified_kr`; and with the linked ones, `covered_kr`.
    """

    source: str
    month: str
    records: int
    linked: int
    in_review: int
    precision: Interval | None
    recall: Interval | None
    posted_kr: int | None = None
    identified_kr: int | None = None
    covered_kr: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands. `state`: running, interrupted, succeeded or failed; `stage`: one of STAGES."""

    run_id: str
    request_id: str
    state: str
    stage: str
    done: int
    total: int
    reason: str
    message: str
    reference_date: date
    year: int
    through_month: int
    snapshot: int
    coverage: Sequence[Coverage]
    tables: Sequence[TableOutcome]
    quality: Sequence[LinkageQuality] = ()
    linkage_notes: Sequence[str] = ()


class LinkageClient:
    """Asks a linker to link."""

    def __init__(self, channel: grpc.Channel) -> None:
        """Use an open channel."""
        self._stub = LinkageServiceStub(channel)

    def start(self, reference_date: date, year: int = 0, request_id: str = "", *, through_month: int = 0) -> Run:
        """Start a run, or resume the one of `request_id`, a UUID; without one, a new one is made.

        `year` 0 means the year before the reference date; `through_month` is the last month of it that counts, 0
        means all. Raises KinlinkError when refused.
        """
        request = pb.StartRunRequest(
            request_id=request_id or str(uuid.uuid4()),
            reference_date=reference_date.isoformat(),
            year=year,
            through_month=through_month,
        )
        try:
            return _run(self._stub.StartRun(request).run)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def watch(self, run_id: str) -> Iterator[Run]:
        """Yield the run whenever it changes, until it is no longer running.

        Raises KinlinkError when refused or when the linker is away; the run goes on without a watcher.
        """
        try:
            for answer in self._stub.WatchRun(pb.WatchRunRequest(run_id=run_id)):
                yield _run(answer.run)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error

    def get(self, run_id: str = "") -> Run:
        """Return a run, the newest without an id. Raises KinlinkError when there is none."""
        try:
            return _run(self._stub.GetRun(pb.GetRunRequest(run_id=run_id)).run)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error


def _run(run: pb.Run) -> Run:
    return Run(
        run_id=run.run_id,
        request_id=run.request_id,
        state=_STATES.get(run.state, "unknown"),
        stage=_STAGES.get(run.stage, "unknown"),
        done=run.done,
        total=run.total,
        reason=run.reason,
        message=run.message,
        reference_date=date.fromisoformat(run.reference_date),
        year=run.year,
        through_month=run.through_month,
        snapshot=run.snapshot,
        coverage=[
            Coverage(
                row.source,
                row.method,
                row.share_rows if row.HasField("share_rows") else None,
                row.share_amount if row.HasField("share_amount") else None,
            )
            for row in run.coverage
        ],
        tables=[TableOutcome(row.table_id, row.release_id, row.outcome) for row in run.tables],
        quality=[_quality(row) for row in run.quality],
        linkage_notes=list(run.linkage_notes),
    )


def _quality(row: pb.LinkageQuality) -> LinkageQuality:
    precision = Interval(row.precision, row.precision_low, row.precision_high)
    recall = Interval(row.recall, row.recall_low, row.recall_high)
    return LinkageQuality(
        row.source,
        row.month,
        row.records,
        row.linked,
        row.in_review,
        precision if row.HasField("precision") else None,
        recall if row.HasField("recall") else None,
        *(getattr(row, name) if row.HasField(name) else None for name in ("posted_kr", "identified_kr", "covered_kr")),
    )
