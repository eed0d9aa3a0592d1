"""Releases on each database: revisions, one after another, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa

from linker.disclosure.release import PastRelease, Release
from linker.store.releases import RELEASE_BASES, RELEASED_TABLES, RELEASES, Releases, TamperedReleaseError
from linker.store.state import METADATA
from servicekit import database
from servicekit.errors import ConflictError
from tests import releases as made
from tests.releases import TABLE_ID

TABLES = (RELEASE_BASES, RELEASED_TABLES, RELEASES)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    opened = database.engine(url)
    database.migrate(opened, "linker")
    yield opened
    opened.dispose()


@pytest.fixture
def releases(engine: sa.Engine) -> Releases:
    return Releases(engine)


def stored(releases: Releases, *wanted: Release) -> tuple[Release, ...]:
    for each in wanted:
        releases.store(each)
    return wanted


def first_and_second(releases: Releases) -> tuple[Release, Release]:
    """Store two revisions of one table and period."""
    first = made.release(made.table())
    second = made.release(made.revised(), follows=first.release_id, basis=b"what was known then")
    stored(releases, first, second)
    return first, second


def test_stored_release_is_found_as_it_was(releases: Releases) -> None:
    (release,) = stored(releases, made.release(made.table()))
    found = releases.find(TABLE_ID, "2014")
    assert found is not None
    assert found.table == release.tables[0]
    assert found.released_at.tzinfo is not None
    assert releases.find(TABLE_ID, "2013") is None
    assert releases.find("coverage") is None


def test_newest_revision_is_found_and_an_earlier_one_by_its_release(releases: Releases) -> None:
    first, second = first_and_second(releases)
    newest = releases.find(TABLE_ID)
    assert newest is not None
    assert newest.table == second.tables[0]
    for release in (first, second):
        for period in ("", "2014"):
            found = releases.find(TABLE_ID, period, release.release_id)
            assert found is not None
            assert found.table == release.tables[0]
    assert releases.find(TABLE_ID, "2013", first.release_id) is None
    assert releases.find("coverage", "", first.release_id) is None
    assert releases.find(TABLE_ID, "", "0" * 32) is None


def test_newest_period_is_found_whichever_was_released_last(releases: Releases) -> None:
    follows = ""
    for period in ("2014M01-11", "2014M01-12", "2014M01-02"):
        release = made.release(made.table(period=period), follows=follows)
        stored(releases, release)
        follows = release.release_id
    found = releases.find(TABLE_ID)
    assert found is not None
    assert found.table.period == "2014M01-12"
    periods = [each.period for each in releases.revisions()[TABLE_ID]]
    assert periods == ["2014M01-12", "2014M01-11", "2014M01-02"]


def test_revisions_are_listed_newest_first(releases: Releases) -> None:
    first, second = first_and_second(releases)
    newest, former = releases.revisions()[TABLE_ID]
    assert (newest.revision, newest.release_id) == (2, second.release_id)
    assert (former.revision, former.release_id) == (1, first.release_id)
    assert (newest.reference_date, former.reference_date) == (date(2015, 2, 1), date(2015, 1, 1))


def test_history_is_every_release_with_its_basis_oldest_first(releases: Releases) -> None:
    first, second = first_and_second(releases)
    other = made.table(table_id="a_table", period="2013", reference_date=date(2014, 1, 1))
    third = made.release(other, made.table(period="2013"), follows=second.release_id, basis=b"")
    stored(releases, third)
    expected = [
        PastRelease(each.release_id, each.reference_date, each.tables, each.basis) for each in (first, second, third)
    ]
    assert list(releases.history()) == expected


def test_release_that_does_not_follow_the_newest_is_refused_and_what_is_there_stays(releases: Releases) -> None:
    first, second = first_and_second(releases)
    unrelated = made.table(table_id="another_table")
    for follows in ("", first.release_id, "0" * 32):
        with pytest.raises(ConflictError) as caught:
            releases.store(made.release(unrelated, follows=follows))
        assert caught.value.reason == "RELEASE_OVERTAKEN"
    assert [each.release_id for each in releases.history()] == [first.release_id, second.release_id]


def test_revision_that_exists_is_refused(releases: Releases) -> None:
    first, _ = first_and_second(releases)
    again = made.release(made.revised(), follows=releases.history()[-1].release_id, basis=b"another")
    with pytest.raises(ConflictError):
        releases.store(again)
    found = releases.find(TABLE_ID, "", first.release_id)
    assert found is not None
    assert len(releases.history()) == 2


def test_of_two_runs_that_end_together_one_is_stored(releases: Releases) -> None:
    """Different tables, so that only the order of releases is in their way."""
    (first,) = stored(releases, made.release(made.table()))
    both = [made.release(made.table(table_id=name), follows=first.release_id) for name in ("one", "two")]
    start = Barrier(2)

    def store(release: Release) -> str:
        start.wait()
        try:
            releases.store(release)
        except ConflictError as error:
            return error.reason
        return release.release_id

    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(store, both))
    assert sorted(each == "RELEASE_OVERTAKEN" for each in ended) == [False, True]
    assert [each.release_id for each in releases.history()[1:]] == [e for e in ended if e != "RELEASE_OVERTAKEN"]


def test_release_without_new_tables_leaves_no_row(releases: Releases) -> None:
    release = made.release(made.table())
    releases.store(Release("", "2014", date(2015, 1, 1), "", (), (), (), release.record, b""))
    assert releases.history() == []


def test_release_is_rolled_back_with_the_transaction_it_is_part_of(engine: sa.Engine) -> None:
    releases = Releases(engine)
    with engine.connect() as connection:
        releases.store(made.release(made.table()), connection)
        connection.rollback()
    assert count(engine) == 0
    assert releases.history() == []


DIES = """
import os, sys
from linker.store.releases import RELEASE_BASES, Releases
from servicekit import database
from tests import releases as made
import sqlalchemy as sa

engine = database.engine(sys.argv[1])

@sa.event.listens_for(engine, sys.argv[2])
def die(*arguments, **_):
    said = [each for each in arguments if isinstance(each, str)]
    if sys.argv[2] == "commit" or any("INTO release_bases" in each for each in said):
        os._exit(9)

Releases(engine).store(made.release(made.table()))
"""


@pytest.mark.parametrize("moment", ["after_cursor_execute", "commit"])
def test_service_that_dies_while_it_stores_leaves_nothing(engine: sa.Engine, moment: str) -> None:
    """Once all rows are written but not committed, once at the commit."""
    url = engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", DIES, url, moment]
    places = {"PYTHONPATH": f"{ROOT}/services:{ROOT}", "PATH": "/usr/bin:/bin"}
    died = subprocess.run(command, env=places, capture_output=True, text=True, check=False)
    assert died.returncode == 9, died.stderr
    assert count(engine) == 0
    releases = Releases(engine)
    assert releases.history() == []
    stored(releases, made.release(made.table()))
    assert count(engine) == 3


def count(engine: sa.Engine) -> int:
    """Return how many rows all tables of releases have."""
    with engine.connect() as connection:
        return sum(connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in TABLES)


def test_tampered_table_is_not_served_in_any_revision(engine: sa.Engine, releases: Releases) -> None:
    first, second = first_and_second(releases)
    with engine.begin() as connection:
        content = sa.func.replace(RELEASED_TABLES.c.content, "212", "213")
        connection.execute(sa.update(RELEASED_TABLES).where(RELEASED_TABLES.c.revision == 1).values(content=content))
    assert releases.find(TABLE_ID, "", second.release_id) is not None
    with pytest.raises(TamperedReleaseError, match="revision 1"):
        releases.find(TABLE_ID, "", first.release_id)
    for read in (releases.history, releases.records):
        with pytest.raises(TamperedReleaseError):
            read()


def test_table_under_another_revision_is_not_served(engine: sa.Engine, releases: Releases) -> None:
    stored(releases, made.release(made.table()))
    with engine.begin() as connection:
        connection.execute(sa.update(RELEASED_TABLES).values(revision=2))
    with pytest.raises(TamperedReleaseError):
        releases.find(TABLE_ID)


@pytest.mark.parametrize(
    "values",
    [
        {"record": sa.func.replace(RELEASES.c.record, '"unchecked":0', '"unchecked":1')},
        {"policy_digest": "0" * 64},
    ],
    ids=["record", "policy"],
)
def test_tampered_record_is_not_shown(engine: sa.Engine, releases: Releases, values: dict[str, object]) -> None:
    first_and_second(releases)
    with engine.begin() as connection:
        connection.execute(sa.update(RELEASES).where(RELEASES.c.number == 1).values(values))
    with pytest.raises(TamperedReleaseError, match="the stored record of release"):
        releases.records()
    assert releases.find(TABLE_ID) is not None


def test_tampered_basis_is_not_compared_with(engine: sa.Engine, releases: Releases) -> None:
    first_and_second(releases)
    with engine.begin() as connection:
        connection.execute(sa.update(RELEASE_BASES).values(content=b"what was never known"))
    with pytest.raises(TamperedReleaseError, match="basis"):
        releases.history()
    assert releases.find(TABLE_ID) is not None


def test_migrated_tables_have_the_columns_that_the_code_knows(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)
    for table in TABLES:
        assert METADATA.tables[table.name] is table
        found = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
        assert found == {column.name: bool(column.nullable) for column in table.columns}


def test_records_come_with_their_releases_newest_first(releases: Releases) -> None:
    first, second = first_and_second(releases)
    newest, former = releases.records()
    assert (newest.release_id, former.release_id) == (second.release_id, first.release_id)
    assert former.tables == first.tables
    assert former.record == first.record
    assert former.policy_digest == first.policy_digest
