"""Linkage runs: started by request, one at a time, in the background, resumable.

1. A request id is one run, for ever: the same again returns it, or resumes it when it was
   interrupted; with another date it is refused.
2. A run that stops before its end is INTERRUPTED with a reason; what it did stays. The
   result of a run, the release and the run's end are one transaction.
3. After a restart nothing is under way: what was RUNNING is INTERRUPTED. So is a run whose
   end could not be written, when the next one is started.
4. Progress stands in the database; watchers are woken by it.
5. A run's work, the pseudonymizer's part included, is in the trace of the call that started it.

It does not know the stages' work: that is the pipeline.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import sqlalchemy as sa
import structlog
from opentelemetry import context, trace

from kinlink import errors as client_errors
from linker.store import runs
from linker.store.runs import Run, Stage
from linker.store.state import RunState, now
from servicekit.database import read
from servicekit.errors import (
    ConflictError,
    FieldViolation,
    InvalidError,
    NotFoundError,
    PreconditionError,
    ServiceError,
)

_log = structlog.get_logger(__name__)
_tracer = trace.get_tracer(__name__)
_WRITE_EVERY_S = 0.3
_LOOK_EVERY_S = 1.0
_STOP_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found. `commit` writes the release, in the transaction that ends the run."""

    snapshot: int
    coverage: Sequence[Mapping[str, Any]]
    tables: Sequence[Mapping[str, str]]
    commit: Callable[[sa.Connection], None]


Report = Callable[[Stage, int, int], None]
"""Called with the stage, the steps done and the steps in all; raises when the run must stop."""


class Pipeline(Protocol):
    """Does the work of a run."""

    def __call__(self, reference_date: date, year: int, report: Report) -> Result:
        """Return the result; what is raised interrupts or fails the run."""
        ...


class StoppedError(Exception):
    """The service is stopping."""


class Runs:
    """The use cases of an operator. All methods may be called from many threads."""

    def __init__(self, engine: sa.Engine, pipeline: Pipeline) -> None:
        self._engine = engine
        self._pipeline = pipeline
        self._starting = threading.Lock()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._worker: threading.Thread | None = None

    def open(self) -> None:
        """Note that whatever ran when the service ended was interrupted."""
        with self._engine.begin() as connection:
            message = "the service was restarted; start the run again with the same request id"
            runs.interrupt_all(connection, "SERVICE_RESTARTED", message)

    def close(self) -> None:
        """Interrupt the run under way, and wait for it a little."""
        self._stopping.set()
        worker = self._worker
        if worker is not None:
            worker.join(_STOP_WITHIN_S)

    def start(self, request_id: str, reference_date: str, year: int) -> Run:
        """Start a run, or resume or return the one of this request.

        `reference_date`: YYYY-MM-DD, a first of month. `year`: 0 means the year before it.

        Raises:
            InvalidError: REQUEST_INVALID, with the field.
            ConflictError: REQUEST_ID_REUSED, the request id stands for another date or year.
            PreconditionError: RUN_IN_PROGRESS, another run is under way; SERVICE_STOPPING.
        """
        day, year = _check(request_id, reference_date, year)
        with self._starting:
            if self._stopping.is_set():
                raise PreconditionError("the service is stopping", "SERVICE_STOPPING")
            with self._engine.begin() as connection:
                if self._worker is None or not self._worker.is_alive():  # it ended and could not write so
                    runs.interrupt_all(connection, "SERVICE_FAILED", "the run's end could not be noted; start it again")
                run = runs.of_request(connection, request_id)
                if run is not None and (run.reference_date, run.year) != (day, year):
                    message = "this request id started a run for another date or year; use a new id"
                    raise ConflictError(message, "REQUEST_ID_REUSED")
                if run is not None and run.state != RunState.INTERRUPTED:
                    return run
                other = runs.running(connection)
                if other is not None:
                    message = "another run is under way; watch it, or try again when it has ended"
                    raise PreconditionError(message, "RUN_IN_PROGRESS", metadata={"run_id": other.run_id})
                if run is None:
                    run_id = runs.start(connection, request_id, day, year)
                else:
                    run_id = run.run_id
                    state = {"state": RunState.RUNNING, "reason": "", "message": "", "done": 0, "total": 0}
                    runs.change(connection, run_id, **state, stage=Stage.CONVERSION, snapshot=None)
            self._worker = threading.Thread(
                target=self._traced,
                args=(context.get_current(), run_id, day, year),
                name="linkage-run",
                daemon=True,
            )
            self._worker.start()
        return self.get(run_id)

    def get(self, run_id: str) -> Run:
        """Return a run; the newest when `run_id` is empty.

        Raises:
            NotFoundError: RUN_UNKNOWN.
        """
        with read(self._engine) as connection:
            run = runs.get(connection, run_id) if run_id else runs.newest(connection)
        if run is None:
            raise NotFoundError("there is no such run", "RUN_UNKNOWN")
        return run

    def watch(self, run_id: str, watching: Callable[[], bool] = lambda: True) -> Iterator[Run]:
        """Yield the run now and whenever it has changed, until it is not RUNNING or nobody is `watching`.

        Raises:
            NotFoundError: RUN_UNKNOWN.
        """
        last: Run | None = None
        while watching():
            run = self.get(run_id)
            if run != last:
                yield run
                last = run
            if run.state != RunState.RUNNING:
                return
            with self._changed:
                self._changed.wait(_LOOK_EVERY_S)

    def _traced(self, within: context.Context, run_id: str, reference_date: date, year: int) -> None:
        with _tracer.start_as_current_span("linkage run", within, attributes={"kinlink.run": run_id}):
            self._work(run_id, reference_date, year)

    def _work(self, run_id: str, reference_date: date, year: int) -> None:
        log = _log.bind(**{"kinlink.run": run_id})
        report = _Reporter(self._engine, run_id, self._stopping, self._notify)
        try:
            result = self._pipeline(reference_date, year, report)
            with self._engine.begin() as connection:
                result.commit(connection)
                runs.change(
                    connection,
                    run_id,
                    state=RunState.SUCCEEDED,
                    snapshot=result.snapshot,
                    coverage=list(result.coverage),
                    tables=list(result.tables),
                    ended_at=now(),
                )
            log.info("run succeeded")
        except BaseException as error:  # a panic of polars is no Exception, and ends the run as well
            state, reason, message = _outcome(error)
            log.warning("run ended early", reason=reason, exc_info=error)
            ended_at = now() if state == RunState.FAILED else None
            with self._engine.begin() as connection:
                runs.change(connection, run_id, state=state, reason=reason, message=message[:1000], ended_at=ended_at)
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


class _Reporter:
    """Writes progress, not more often than a watcher could follow; stops the run when the service stops."""

    def __init__(self, engine: sa.Engine, run_id: str, stopping: threading.Event, notify: Callable[[], None]) -> None:
        self._engine = engine
        self._run_id = run_id
        self._stopping = stopping
        self._notify = notify
        self._stage: Stage | None = None
        self._written_at = 0.0

    def __call__(self, stage: Stage, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise StoppedError
        at = time.monotonic()
        if stage == self._stage and done < total and at - self._written_at < _WRITE_EVERY_S:
            return
        self._stage, self._written_at = stage, at
        with self._engine.begin() as connection:
            runs.change(connection, self._run_id, stage=stage, done=done, total=total)
        self._notify()


def _outcome(error: BaseException) -> tuple[RunState, str, str]:
    match error:
        case StoppedError():
            message = "the service was stopped; start the run again with the same request id"
            return RunState.INTERRUPTED, "SERVICE_STOPPED", message
        case client_errors.UnavailableError():
            return RunState.INTERRUPTED, "PSEUDONYMIZER_UNAVAILABLE", f"the pseudonymizer: {error.message}"
        case client_errors.LimitError():
            return RunState.INTERRUPTED, "PSEUDONYMIZER_LIMIT", f"the pseudonymizer: {error.message}"
        case client_errors.KinlinkError():
            return RunState.INTERRUPTED, "PSEUDONYMIZER_REFUSED", f"the pseudonymizer: {error.message}"
        case ServiceError():
            return RunState.FAILED, error.reason, error.message
    return RunState.FAILED, "INTERNAL", "the service failed; its operator finds the run's id in the log"


def _check(request_id: str, reference_date: str, year: int) -> tuple[date, int]:
    violations = []
    try:
        known_form = str(uuid.UUID(request_id)) == request_id.lower()  # UUID() takes a URN, braces and any hyphens
    except ValueError:
        known_form = False
    if not known_form:
        violations.append(FieldViolation("request_id", "expected a UUID"))
    try:
        day = date.fromisoformat(reference_date) if len(reference_date) == 10 else date.max
    except ValueError:
        day = date.max
    if day.day != 1:
        violations.append(FieldViolation("reference_date", "expected a first of month, YYYY-MM-DD"))
    if year and not 1900 <= year <= 2200:
        violations.append(FieldViolation("year", "expected a year, or 0 for the year before the reference date"))
    if violations:
        raise InvalidError("the run cannot be started: " + violations[0].description, "REQUEST_INVALID", violations)
    return day, year or day.year - 1
