"""Linkage runs: started by request, one at a time, in the background, resumable.

1. A request id is one run, for ever: the same again returns it, or resumes it when it was
   interrupted; with another date, year or month it is refused.
2. A run that stops before its end is INTERRUPTED with a reason; what it did stays. The
   result of a run, the release and the run's end are one transaction.
3. After a restart nothing is under way: what was RUNNING is INTERRUPTED. So is a run whose
   end could not be written, when the next one is started.

It does not know the stages' work: that is the pipeline; nor how work goes on in the background.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol

import sqlalchemy as sa

from linker.background import Background, Report, is_request_id
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
)

_MONTHS = 12
_FIRST_YEAR = 1900
_AHEAD = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found. `commit` writes the release, in the transaction that ends the run.

    `quality`: rows of `linkage.quality`; `linkage_notes`: sentences about the linkage by encodings.
    """

    snapshot: int
    coverage: Sequence[Mapping[str, Any]]
    tables: Sequence[Mapping[str, str]]
    commit: Callable[[sa.Connection], None]
    quality: Sequence[Mapping[str, Any]] = ()
    linkage_notes: Sequence[str] = ()


class Pipeline(Protocol):
    """Does the work of a run."""

    def __call__(self, reference_date: date, year: int, through_month: int, report: Report) -> Result:
        """Return the result of the year through a month, 1 to 12; what is raised interrupts or fails the run."""
        ...


class Runs:
    """The use cases of an operator. All methods may be called from many threads."""

    def __init__(self, engine: sa.Engine, pipeline: Pipeline) -> None:
        self._engine = engine
        self._pipeline = pipeline
        self._starting = threading.Lock()
        self._background = Background("linkage run", self._save)

    def open(self) -> None:
        """Note that whatever ran when the service ended was interrupted."""
        with self._engine.begin() as connection:
            message = "the service was restarted; start the run again with the same request id"
            runs.interrupt_all(connection, "SERVICE_RESTARTED", message)

    def close(self) -> None:
        """Interrupt the run under way, and wait for it a little."""
        self._background.close()

    def start(self, request_id: str, reference_date: str, year: int, through_month: int) -> Run:
        """Start a run, or resume or return the one of this request.

        `reference_date`: YYYY-MM-DD, a first of month. `year`: 0 means the year before it. `through_month`: the last
        month of the year that counts; 0 means all, and so does 12.

        Raises:
            InvalidError: REQUEST_INVALID, with the field.
            ConflictError: REQUEST_ID_REUSED, the request id stands for another date, year or month.
            PreconditionError: RUN_IN_PROGRESS, another run is under way; SERVICE_STOPPING.
        """
        day, year, month = _check(request_id, reference_date, year, through_month)
        with self._starting:
            self._background.check_open()
            with self._engine.begin() as connection:
                if self._background.idle:  # it ended and could not write so
                    runs.interrupt_all(connection, "SERVICE_FAILED", "the run's end could not be noted; start it again")
                run = runs.of_request(connection, request_id)
                if run is not None and (run.reference_date, run.year, run.through_month) != (day, year, month):
                    message = "this request id started a run for another date, year or month; use a new id"
                    raise ConflictError(message, "REQUEST_ID_REUSED")
                if run is not None and run.state != RunState.INTERRUPTED:
                    return run
                other = runs.running(connection)
                if other is not None:
                    message = "another run is under way; watch it, or try again when it has ended"
                    raise PreconditionError(message, "RUN_IN_PROGRESS", metadata={"run_id": other.run_id})
                if run is None:
                    run_id = runs.start(connection, request_id, day, year, month)
                else:
                    run_id = run.run_id
                    state = {"state": RunState.RUNNING, "reason": "", "message": "", "done": 0, "total": 0}
                    runs.change(connection, run_id, **state, stage=Stage.CONVERSION, snapshot=None)
            self._background.start(run_id, lambda report: self._work(run_id, day, year, month, report))
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
        yield from self._background.watch(lambda: self.get(run_id), watching)

    def _work(self, run_id: str, reference_date: date, year: int, through_month: int, report: Report) -> None:
        result = self._pipeline(reference_date, year, through_month, report)
        with self._engine.begin() as connection:
            result.commit(connection)
            runs.change(
                connection,
                run_id,
                state=RunState.SUCCEEDED,
                snapshot=result.snapshot,
                coverage=list(result.coverage),
                tables=list(result.tables),
                quality=list(result.quality),
                linkage_notes=list(result.linkage_notes),
                ended_at=now(),
            )

    def _save(self, run_id: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            runs.change(connection, run_id, **values)


def _check(request_id: str, reference_date: str, year: int, through_month: int) -> tuple[date, int, int]:
    violations, today = [], now().date()
    if not is_request_id(request_id):
        violations.append(FieldViolation("request_id", "expected a UUID"))
    try:
        day = date.fromisoformat(reference_date) if len(reference_date) == 10 else date.max
    except ValueError:
        day = date.max
    if day.day != 1:
        violations.append(FieldViolation("reference_date", "expected a first of month, YYYY-MM-DD"))
    elif day > today + _AHEAD:  # what a year's closing is counted from must not be a typing error
        violations.append(FieldViolation("reference_date", "expected a date at most a month ahead"))
    if year and year < _FIRST_YEAR:
        violations.append(FieldViolation("year", "expected a year, or 0 for the year before the reference date"))
    elif year > today.year:
        violations.append(FieldViolation("year", "expected a year that has begun"))
    if not 0 <= through_month <= _MONTHS:
        violations.append(FieldViolation("through_month", "expected a month, 1 to 12, or 0 for the whole year"))
    elif not year and through_month % _MONTHS:
        violations.append(FieldViolation("year", "expected the year of through_month"))
    if violations:
        raise InvalidError("the run cannot be started: " + violations[0].description, "REQUEST_INVALID", violations)
    return day, year or day.year - 1, through_month or _MONTHS
