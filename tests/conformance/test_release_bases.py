"""Erased bases on each database: gone from every answer at once, and from the files; whatever is killed on the way."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from linker.disclosure.closing import Retention
from linker.disclosure.release import Release
from linker.store.releases import RELEASE_BASES, RELEASES, Releases
from linker.store.state import now
from linker.year_closing import erase_due
from servicekit import database
from servicekit.audit import AuditLog
from servicekit.errors import ConflictError
from tests import releases as made
from tests.database_files import contents

KEPT = Retention(100, 200)
SECRETS = [random.Random(size).randbytes(size) for size in (90, 5_000, 60_000)]  # noqa: S311 - a test repeats itself
"""Bases of sizes that databases store in different ways."""


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    opened = database.engine(url)
    database.migrate(opened, "linker")
    yield opened
    opened.dispose()


def store(engine: sa.Engine, *years: int) -> list[Release]:
    """Store a release of each year, the first secrets their bases; return them."""
    found: list[Release] = []
    for secret, year in zip(SECRETS, years, strict=False):
        table = made.table(
            table_id=f"t{len(found)}", period=f"{year}M01-{len(found) + 1:02}", reference_date=date(year, 1, 1)
        )
        follows = found[-1].release_id if found else ""
        found.append(made.release(table, follows=follows, basis=secret))
        Releases(engine).store(found[-1])
    return found


def age(engine: sa.Engine, days: float, *releases: Release) -> None:
    """Let releases have been made so many days ago."""
    with engine.begin() as connection:
        named = sa.update(RELEASES).where(RELEASES.c.release_id.in_([each.release_id for each in releases]))
        connection.execute(named.values(created_at=now() - timedelta(days=days)))


def erase(engine: sa.Engine) -> int:
    return erase_due(engine, Releases(engine), KEPT, AuditLog(engine))


def in_files(engine: sa.Engine) -> list[bool]:
    """Say of each secret whether the database's files hold it; the log of PostgreSQL aside."""
    found = contents(engine)
    return [any(secret[30:80] in each for each in found) for secret in SECRETS]


def test_bases_of_a_year_go_together_and_are_in_no_file_any_more(engine: sa.Engine) -> None:
    first, second, other = store(engine, 2010, 2010, 2018)
    age(engine, 201, first, other)
    age(engine, 10, second)
    with engine.begin() as connection:
        connection.execute(sa.update(RELEASES).where(RELEASES.c.period.startswith("2018")).values(created_at=now()))
    assert in_files(engine) == [True, True, True]
    assert erase(engine) == 2
    assert in_files(engine) == [False, False, True]
    releases = Releases(engine)
    assert [each.basis for each in releases.history()] == [None, None, SECRETS[2]]
    assert [(each.year, each.kept, each.erased) for each in releases.years()] == [
        (2010, 0, {date(2010, 1, 1)}),
        (2018, 1, set()),
    ]
    assert [each.tables for each in releases.history()] == [each.tables for each in (first, second, other)]
    [entry] = AuditLog(engine).entries()
    assert (entry["rpc"], entry["outcome"], entry["subject"], entry["count"]) == ("bases erased", "ok", "2010", 2)
    assert erase(engine) == 0
    assert len(AuditLog(engine).entries()) == 1


def test_the_control_rows_that_are_only_deleted_stay_in_the_files(engine: sa.Engine) -> None:
    store(engine, 2010, 2010, 2010)
    with engine.begin() as connection:
        connection.execute(sa.delete(RELEASE_BASES))
    assert any(in_files(engine))


def test_nothing_goes_before_its_time_and_later_releases_do_not_lengthen_it(engine: sa.Engine) -> None:
    first, second, third = store(engine, 2010, 2010, 2010)
    age(engine, 199, first)
    age(engine, 150, second)
    assert erase(engine) == 0
    age(engine, 200.1, first)
    assert erase(engine) == 3
    assert third.release_id == Releases(engine).records()[0].release_id


def test_a_year_that_is_not_over_or_hardly_is_not_erased(engine: sa.Engine) -> None:
    (running,) = store(engine, now().year)
    age(engine, 1000, running)
    assert erase(engine) == 0


def test_no_release_of_an_erased_year_is_stored(engine: sa.Engine) -> None:
    """A run that began before."""
    (first,) = store(engine, 2010)
    age(engine, 201, first)
    erase(engine)
    late = made.release(made.table(period="2010Q4", revision=1), follows=first.release_id)
    with pytest.raises(ConflictError) as caught:
        Releases(engine).store(late)
    assert caught.value.reason == "RELEASE_OVERTAKEN"
    Releases(engine).store(made.release(made.table(period="2011"), follows=first.release_id))


class KilledError(BaseException):
    """The process is gone."""


def test_a_kill_at_any_step_leaves_all_or_nothing_and_the_next_look_completes_it(url: str) -> None:
    """Before each statement, and before the log's row is written; then the service starts again."""
    at, outcomes, survived = 0, set(), False
    while not survived:
        engine = database.engine(url)
        database.migrate(engine, "linker")
        with engine.begin() as connection:
            for name in ("release_bases", "released_tables", "releases"):
                connection.exec_driver_sql(f"DELETE FROM {name}")
        age(engine, 201, *store(engine, 2010, 2010))
        before = len(AuditLog(engine).entries())
        steps = 0

        def step(*_: object, at: int = at) -> None:
            nonlocal steps
            steps += 1
            if steps > at:
                raise KilledError

        sa.event.listen(engine, "before_cursor_execute", step)
        try:
            erase(engine)
            survived = True
        except KilledError:
            engine.dispose()
        sa.event.remove(engine, "before_cursor_execute", step)
        opened = database.engine(url)
        bases = [each.basis for each in Releases(opened).history()]
        assert bases in ([None, None], SECRETS[:2])
        assert len(AuditLog(opened).entries()) - before == (bases == [None, None])
        outcomes.add(bases == [None, None])
        erase(opened)
        assert [each.basis for each in Releases(opened).history()] == [None, None]
        assert len(AuditLog(opened).entries()) - before == 1
        with opened.connect() as connection:
            assert connection.scalar(sa.select(sa.func.count()).select_from(RELEASE_BASES)) == 0
        assert in_files(opened)[:2] == [False, False]
        opened.dispose()
        engine.dispose()
        at += 1
    assert outcomes == {True, False}
    assert at > 8


def test_while_somebody_reads_the_files_are_wiped_later(engine: sa.Engine) -> None:
    age(engine, 201, *store(engine, 2010, 2010))
    with database.read(engine) as reader:
        reader.execute(sa.select(RELEASE_BASES)).all()
        assert erase(engine) == 2
        assert [each.basis for each in Releases(engine).history()] == [None, None]
        assert any(in_files(engine))
    assert erase(engine) == 0
    assert in_files(engine)[:2] == [False, False]


def test_a_reader_of_other_tables_keeps_no_erased_basis_in_the_files(engine: sa.Engine) -> None:
    """It sees an old state, in which the bases are there."""
    age(engine, 201, *store(engine, 2010, 2010, 2010))
    with database.read(engine) as reader:
        reader.execute(sa.select(RELEASES)).all()
        erase(engine)
    erase(engine)
    assert in_files(engine) == [False, False, False]
    assert [each.basis for each in Releases(engine).history()] == [None, None, None]


def test_a_basis_that_was_lost_closes_its_year_and_does_not_hide_the_release(engine: sa.Engine) -> None:
    first, second = store(engine, 2010, 2010)
    with engine.begin() as connection:
        connection.execute(sa.delete(RELEASE_BASES).where(RELEASE_BASES.c.release_id == first.release_id))
    found = Releases(engine).history()
    assert [each.release_id for each in found] == [first.release_id, second.release_id]
    assert [each.basis is None for each in found] == [True, False]
    assert [(each.kept, len(each.erased)) for each in Releases(engine).years()] == [(1, 1)]
    assert replace(found[0], basis=b"").year == 2010
