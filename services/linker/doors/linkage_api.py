"""LinkageService: wire messages to values, one use case, values to wire messages."""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from kinlink.linker.v1 import linkage_service_pb2 as pb
from kinlink.linker.v1.linkage_service_pb2_grpc import LinkageServiceServicer
from linker.doors.intake_api import timestamp
from linker.runs import Runs
from linker.store.runs import Run, Stage
from linker.store.state import RunState
from servicekit.audit import describe

_STATES = {
    RunState.RUNNING: pb.RUN_STATE_RUNNING,
    RunState.INTERRUPTED: pb.RUN_STATE_INTERRUPTED,
    RunState.SUCCEEDED: pb.RUN_STATE_SUCCEEDED,
    RunState.FAILED: pb.RUN_STATE_FAILED,
}
_STAGES = {
    Stage.CONVERSION: pb.RUN_STAGE_CONVERSION,
    Stage.LINKAGE: pb.RUN_STAGE_LINKAGE,
    Stage.ALIASES: pb.RUN_STAGE_ALIASES,
    Stage.FAMILIES: pb.RUN_STAGE_FAMILIES,
    Stage.TABLES: pb.RUN_STAGE_TABLES,
    Stage.RELEASE: pb.RUN_STAGE_RELEASE,
}


class LinkageApi(LinkageServiceServicer):
    """Serves LinkageService from `Runs`."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def StartRun(self, request: pb.StartRunRequest, context: grpc.ServicerContext) -> pb.StartRunResponse:
        """Start or resume a run."""
        run = self._runs.start(request.request_id, request.reference_date, request.year, request.through_month)
        describe(subject=f"run/{run.run_id}")
        return pb.StartRunResponse(run=_message(run))

    def WatchRun(self, request: pb.WatchRunRequest, context: grpc.ServicerContext) -> Iterator[pb.WatchRunResponse]:
        """Stream a run's progress."""
        for run in self._runs.watch(request.run_id, context.is_active):
            describe(subject=f"run/{run.run_id}")
            yield pb.WatchRunResponse(run=_message(run))

    def GetRun(self, request: pb.GetRunRequest, context: grpc.ServicerContext) -> pb.GetRunResponse:
        """Return a run."""
        run = self._runs.get(request.run_id)
        describe(subject=f"run/{run.run_id}")
        return pb.GetRunResponse(run=_message(run))


def _message(run: Run) -> pb.Run:
    return pb.Run(
        run_id=run.run_id,
        request_id=run.request_id,
        state=_STATES[run.state],
        stage=_STAGES[run.stage],
        done=run.done,
        total=run.total,
        reason=run.reason,
        message=run.message,
        reference_date=run.reference_date.isoformat(),
        year=run.year,
        through_month=run.through_month,
        snapshot=run.snapshot or 0,
        coverage=[pb.Coverage(**row) for row in run.coverage],
        tables=[pb.TableOutcome(**row) for row in run.tables],
        quality=[pb.LinkageQuality(**row) for row in run.quality],
        linkage_notes=run.linkage_notes,
        started_at=timestamp(run.started_at),
        ended_at=timestamp(run.ended_at),
    )
