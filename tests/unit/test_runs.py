"""A run is one request, resumable, watched, and ends in a state whatever happens."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from kinlink import errors as client_errors
from linker.background import Report
from linker.runs import Result, Runs
from linker.store import runs as rows
from linker.store.runs import Run, Stage
from linker.store.state import RunState
from servicekit.errors import PreconditionError, ServiceError
from servicekit.identity import CURRENT, Call, Caller, Role, caller_uri
from tests.unit import linker_fixtures as given

Work = Callable[[Report], None]
ROW = {"source": "prisme", "method": "exact", "share_rows": 0.5, "share_amount": None}
OUTCOME = {"table_id": "t", "release_id": "r", "outcome": "released"}


class ScriptedPipeline:
    """Does what the test says, one piece of work a call."""

    def __init__(self, *work: Work) -> None:
        self.work = list(work)
        self.asked: list[tuple[date, int, int]] = []
        self.committed = 0

    def __call__(self, reference_date: date, year: int, through_month: int, report: Report) -> Result:
        self.asked.append((reference_date, year, through_month))
        self.work.pop(0)(report)

        def commit(connection: sa.Connection) -> None:
            assert connection.in_transaction()
            self.committed += 1

        return Result(snapshot=7, coverage=[ROW], tables=[OUTCOME], commit=commit)


def quick(report: Report) -> None:
    for stage in Stage:
        report(stage, 0, 2)
        report(stage, 2, 2)


class Panic(BaseException):
    """As polars raises it when Rust panics: not an Exception."""


def failing(error: BaseException) -> Work:
    def work(report: Report) -> None:
        report(Stage.CONVERSION, 3, 10)
        raise error

    return work


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    made = given.database(tmp_path)
    yield made
    made.dispose()


def request_id() -> str:
    return str(uuid.uuid4())


def ended(runs: Runs, run: Run) -> Run:
    return list(runs.watch(run.run_id))[-1]


def test_what_a_run_does_is_its_starters(engine: sa.Engine) -> None:
    seen: list[str] = []
    runs = Runs(engine, ScriptedPipeline(lambda _: seen.append(caller_uri())))
    caller = Caller("spiffe://kinlink.test/operator/drift", Role.OPERATOR, "drift")
    told = CURRENT.set(Call("StartRun", "a-request", caller=caller))
    try:
        run = runs.start(request_id(), "2015-01-01", 0, 0)
    finally:
        CURRENT.reset(told)
    ended(runs, run)
    assert seen == [caller.uri]


def test_a_run_succeeds_with_its_result_and_commits_once(engine: sa.Engine) -> None:
    pipeline = ScriptedPipeline(quick)
    runs = Runs(engine, pipeline)
    asked = request_id()
    run = ended(runs, runs.start(asked, "2015-01-01", 0, 0))
    assert (run.state, run.snapshot, run.year) == (RunState.SUCCEEDED, 7, 2014)
    assert (run.coverage, run.tables, pipeline.committed) == ([ROW], [OUTCOME], 1)
    assert run.ended_at is not None
    assert runs.start(asked, "2015-01-01", 2014, 12) == run
    assert runs.get("") == run
    assert pipeline.asked == [(date(2015, 1, 1), 2014, 12)]


@pytest.mark.parametrize(
    "other", [("2016-01-01", 2014, 6), ("2015-01-01", 2013, 6), ("2015-01-01", 2014, 7), ("2015-01-01", 2014, 0)]
)
def test_a_request_id_with_another_date_year_or_month_is_refused(
    engine: sa.Engine, other: tuple[str, int, int]
) -> None:
    pipeline = ScriptedPipeline(quick)
    runs = Runs(engine, pipeline)
    asked = request_id()
    run = ended(runs, runs.start(asked, "2015-01-01", 2014, 6))
    assert (run.through_month, pipeline.asked) == (6, [(date(2015, 1, 1), 2014, 6)])
    with pytest.raises(ServiceError) as error:
        runs.start(asked, *other)
    assert error.value.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("request_id", "reference_date", "year", "month", "field"),
    [
        ("", "2015-01-01", 0, 0, "request_id"),
        (f"urn:uuid:{uuid.uuid4()}", "2015-01-01", 0, 0, "request_id"),  # longer than its column
        (f"{'-' * 2_000_000}{uuid.uuid4()}", "2015-01-01", 0, 0, "request_id"),
        (str(uuid.uuid4()), "2015-01-02", 0, 0, "reference_date"),
        (str(uuid.uuid4()), "2015-02-30", 0, 0, "reference_date"),
        (str(uuid.uuid4()), "20150101", 0, 0, "reference_date"),
        (str(uuid.uuid4()), "2015-01-01", 14, 0, "year"),
        (str(uuid.uuid4()), "2015-01-01", 2014, 13, "through_month"),
        (str(uuid.uuid4()), "2015-01-01", 0, 6, "year"),  # which year's June?
    ],
)
def test_start_refuses(
    engine: sa.Engine, request_id: str, reference_date: str, year: int, month: int, field: str
) -> None:
    with pytest.raises(ServiceError) as error:
        Runs(engine, ScriptedPipeline()).start(request_id, reference_date, year, month)
    assert [violation.field for violation in error.value.violations] == [field]


EARLY: dict[str, tuple[BaseException, RunState, str]] = {
    "the pseudonymizer is away": (
        client_errors.UnavailableError("it is away", "UNREACHABLE"),
        RunState.INTERRUPTED,
        "PSEUDONYMIZER_UNAVAILABLE",
    ),
    "over budget": (client_errors.LimitError("budget", "BUDGET"), RunState.INTERRUPTED, "PSEUDONYMIZER_LIMIT"),
    "the own certificate has expired": (
        client_errors.CertificateExpiredError("expired", "CERTIFICATE_EXPIRED"),
        RunState.INTERRUPTED,
        "PSEUDONYMIZER_REFUSED",
    ),
    "the catalogue is contradictory": (
        PreconditionError("service x differs", "CATALOGUE_CONTRADICTORY"),
        RunState.FAILED,
        "CATALOGUE_CONTRADICTORY",
    ),
    "a panic of polars": (Panic("6101800010"), RunState.FAILED, "INTERNAL"),
    "a fault of ours": (ZeroDivisionError("6101800010"), RunState.FAILED, "INTERNAL"),
}


@pytest.mark.parametrize("name", sorted(EARLY))
def test_a_run_that_ends_early_says_why(engine: sa.Engine, name: str) -> None:
    error, state, reason = EARLY[name]
    pipeline = ScriptedPipeline(failing(error), quick)
    runs = Runs(engine, pipeline)
    asked = request_id()
    run = ended(runs, runs.start(asked, "2015-01-01", 0, 0))
    assert (run.state, run.reason, run.stage, run.done, run.total) == (state, reason, Stage.CONVERSION, 3, 10)
    assert "6101800010" not in run.message
    assert (run.ended_at is None) == (state == RunState.INTERRUPTED)
    again = ended(runs, runs.start(asked, "2015-01-01", 0, 0))
    if state == RunState.INTERRUPTED:
        assert (again.run_id, again.state, again.reason) == (run.run_id, RunState.SUCCEEDED, "")
    else:
        assert again == run
    assert pipeline.committed == (state == RunState.INTERRUPTED)


def test_a_commit_that_fails_leaves_no_success(engine: sa.Engine) -> None:
    class Refusing(ScriptedPipeline):
        def __call__(self, reference_date: date, year: int, through_month: int, report: Report) -> Result:
            def commit(_: sa.Connection) -> None:
                raise PreconditionError("no", "NO_RELEASE")

            return Result(1, [], [], commit)

    runs = Runs(engine, Refusing())
    run = ended(runs, runs.start(request_id(), "2015-01-01", 0, 0))
    assert (run.state, run.reason) == (RunState.FAILED, "NO_RELEASE")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_run_whose_end_could_not_be_written_does_not_stand_in_the_way(engine: sa.Engine) -> None:
    full = sa.text("CREATE TRIGGER full BEFORE UPDATE ON runs BEGIN SELECT RAISE(ABORT, 'full'); END")

    def fill(_: Report) -> None:
        with engine.begin() as connection:
            connection.execute(full)

    runs = Runs(engine, ScriptedPipeline(fill, quick))
    asked = request_id()
    runs.start(asked, "2015-01-01", 0, 0)
    assert runs._background._worker is not None
    runs._background._worker.join(10)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER full"))
    assert ended(runs, runs.start(asked, "2015-01-01", 0, 0)).state == RunState.SUCCEEDED


def test_one_run_at_a_time_and_closing_interrupts_it(engine: sa.Engine) -> None:
    working, go_on = threading.Event(), threading.Event()

    def until_told(report: Report) -> None:
        report(Stage.CONVERSION, 1, 2)
        working.set()
        go_on.wait(30)
        report(Stage.CONVERSION, 2, 2)

    runs = Runs(engine, ScriptedPipeline(until_told))
    first = runs.start(request_id(), "2015-01-01", 0, 0)
    assert working.wait(30)
    with pytest.raises(ServiceError) as error:
        runs.start(request_id(), "2015-01-01", 0, 0)
    assert (error.value.reason, error.value.metadata) == ("RUN_IN_PROGRESS", {"run_id": first.run_id})
    assert runs.start(first.request_id, "2015-01-01", 0, 0).run_id == first.run_id
    runs._background._stopping.set()
    go_on.set()
    runs.close()
    run = runs.get(first.run_id)
    assert (run.state, run.reason) == (RunState.INTERRUPTED, "SERVICE_STOPPED")
    with pytest.raises(ServiceError) as error:
        runs.start(request_id(), "2015-01-01", 0, 0)
    assert error.value.reason == "SERVICE_STOPPING"


def test_a_restart_interrupts_what_ran_and_the_request_resumes_it(engine: sa.Engine) -> None:
    asked = request_id()
    with engine.begin() as connection:
        run_id = rows.start(connection, asked, date(2015, 1, 1), 2014, 12)
    runs = Runs(engine, ScriptedPipeline(quick))
    runs.open()
    run = runs.get(run_id)
    assert (run.state, run.reason) == (RunState.INTERRUPTED, "SERVICE_RESTARTED")
    assert ended(runs, runs.start(asked, "2015-01-01", 0, 0)).state == RunState.SUCCEEDED


def test_watching_ends_when_nobody_watches(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        run_id = rows.start(connection, request_id(), date(2015, 1, 1), 2014, 12)
    answers = iter([True, False])
    seen = list(Runs(engine, ScriptedPipeline()).watch(run_id, lambda: next(answers)))
    assert [run.state for run in seen] == [RunState.RUNNING]


def test_an_unknown_run_is_not_found(engine: sa.Engine) -> None:
    runs = Runs(engine, ScriptedPipeline())
    for ask in (lambda: runs.get("x"), lambda: runs.get(""), lambda: next(runs.watch("x"))):
        with pytest.raises(ServiceError) as error:
            ask()
        assert error.value.reason == "RUN_UNKNOWN"
