"""Work that goes on in the background: one job at a time, each with a row that says where it stands.

1. A job that stops before its end is INTERRUPTED with a reason when it can go on later, and
   FAILED when it would fail again.
2. Progress stands in the database; watchers are woken by it.
3. The work, the pseudonymizer's part included, is in the trace of the call that started it, and what it
   writes to the log is that caller's.

It does not know what the jobs do, nor their tables.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextvars import copy_context
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import structlog
from opentelemetry import context, trace

from kinlink import errors as client_errors
from linker.store.state import RunState, now
from servicekit.errors import PreconditionError, ServiceError, UnavailableError

_log = structlog.get_logger(__name__)
_tracer = trace.get_tracer(__name__)
_WRITE_EVERY_S = 0.3
_LOOK_EVERY_S = 1.0
_STOP_WITHIN_S = 30.0


class StoppedError(Exception):
    """The service is stopping."""


class Job(Protocol):
    """A job as it stands."""

    @property
    def state(self) -> RunState: ...


JobT = TypeVar("JobT", bound=Job)
Save = Callable[..., None]
"""Called with the id of a job and, by name, the columns of its row to set, in a transaction of its own."""
Report = Callable[[Any, int, int], None]
"""Called with the stage, the steps done and the steps in all; raises when the job must stop."""


class Background:
    """Does jobs of one sort. All methods may be called from many threads."""

    def __init__(self, name: str, save: Save) -> None:
        """`name` is what a job is called in logs and traces, for example "linkage run"."""
        self._name = name
        self._save = save
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._worker: threading.Thread | None = None

    @property
    def idle(self) -> bool:
        """Whether no job is under way in this process."""
        return self._worker is None or not self._worker.is_alive()

    def check_open(self) -> None:
        """Refuse to start anything once the service is stopping.

        Raises:
            PreconditionError: SERVICE_STOPPING.
        """
        if self._stopping.is_set():
            raise PreconditionError("the service is stopping", "SERVICE_STOPPING")

    def start(self, job_id: str, work: Callable[[Report], None]) -> None:
        """Do the work of a job in a thread. It writes its own success; how it ends otherwise is written here."""
        self._worker = threading.Thread(
            target=copy_context().run,
            args=(self._traced, context.get_current(), job_id, work),
            name=self._name,
            daemon=True,
        )
        self._worker.start()

    def close(self) -> None:
        """Interrupt the job under way, and wait for it a little."""
        self._stopping.set()
        worker = self._worker
        if worker is not None:
            worker.join(_STOP_WITHIN_S)

    def wait(self, seconds: float) -> None:
        """Let some time pass within a job.

        Raises:
            StoppedError: the service is stopping.
        """
        if self._stopping.wait(seconds):
            raise StoppedError

    def watch(self, get: Callable[[], JobT], watching: Callable[[], bool]) -> Iterator[JobT]:
        """Yield the job now and whenever it has changed, until it is not RUNNING or nobody is `watching`."""
        last: JobT | None = None
        while watching():
            job = get()
            if job != last:
                yield job
                last = job
            if job.state != RunState.RUNNING:
                return
            with self._changed:
                self._changed.wait(_LOOK_EVERY_S)

    def _traced(self, within: context.Context, job_id: str, work: Callable[[Report], None]) -> None:
        with _tracer.start_as_current_span(self._name, within, attributes={"kinlink.run": job_id}):
            self._work(job_id, work)

    def _work(self, job_id: str, work: Callable[[Report], None]) -> None:
        log = _log.bind(**{"kinlink.run": job_id})
        try:
            work(_Reporter(lambda **values: self._save(job_id, **values), self._stopping, self._notify))
            log.info("background work succeeded")
        except BaseException as error:  # a panic of polars is no Exception, and ends the job as well
            state, reason, message = _outcome(error)
            log.warning("background work ended early", reason=reason, exc_info=error)
            ended_at = now() if state == RunState.FAILED else None
            self._save(job_id, state=state, reason=reason, message=message[:1000], ended_at=ended_at)
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()


class _Reporter:
    """Writes progress, not more often than a watcher could follow; stops the job when the service stops."""

    def __init__(self, save: Callable[..., None], stopping: threading.Event, notify: Callable[[], None]) -> None:
        self._save = save
        self._stopping = stopping
        self._notify = notify
        self._stage: StrEnum | None = None
        self._written_at = 0.0

    def __call__(self, stage: StrEnum, done: int, total: int) -> None:
        if self._stopping.is_set():
            raise StoppedError
        at = time.monotonic()
        if stage == self._stage and done < total and at - self._written_at < _WRITE_EVERY_S:
            return
        self._stage, self._written_at = stage, at
        self._save(stage=stage, done=done, total=total)
        self._notify()


def _outcome(error: BaseException) -> tuple[RunState, str, str]:
    match error:
        case StoppedError():
            message = "the service was stopped; start it again with the same request id"
            return RunState.INTERRUPTED, "SERVICE_STOPPED", message
        case client_errors.UnavailableError():
            return RunState.INTERRUPTED, "PSEUDONYMIZER_UNAVAILABLE", f"the pseudonymizer: {error.message}"
        case client_errors.LimitError():
            return RunState.INTERRUPTED, "PSEUDONYMIZER_LIMIT", f"the pseudonymizer: {error.message}"
        case client_errors.KinlinkError():
            return RunState.INTERRUPTED, "PSEUDONYMIZER_REFUSED", f"the pseudonymizer: {error.message}"
        case ServiceError():
            state = RunState.INTERRUPTED if isinstance(error, UnavailableError) else RunState.FAILED
            return state, error.reason, error.message
    return RunState.FAILED, "INTERNAL", "the service failed; its operator finds the id in the log"


def is_request_id(text: str) -> bool:
    """Say whether the text is a UUID as one is written."""
    try:
        return str(uuid.UUID(text)) == text.lower()  # UUID() takes a URN, braces and any hyphens
    except ValueError:
        return False
