from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from linker.disclosure.release import Release
from linker.store.releases import RELEASED_TABLES, RELEASES, Releases, TamperedReleaseError
from linker.store.state import METADATA
from servicekit import database
from servicekit.errors import ConflictError
from tests import postgres
from tests.unit import gate_fixtures as g
from tests.unit import linker_fixtures


@pytest.fixture(scope="module")
def postgresql() -> Iterator[sa.Engine]:
    with postgres.cluster() as url:
        made = database.engine(url)
        database.migrate(made, "linker")
        yield made
        made.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> sa.Engine:
    if request.param == "sqlite":
        return linker_fixtures.database(tmp_path)
    made: sa.Engine = request.getfixturevalue("postgresql")
    with made.begin() as connection:
        for table in (RELEASED_TABLES, RELEASES):
            connection.execute(sa.delete(table))
    return made


def released(year: int = 2014) -> Release:
    return g.protect(g.published_cross_tab(), period=str(year), reference_date=date(year + 1, 1, 1))


def test_stored_release_is_found_as_it_was(engine: sa.Engine) -> None:
    releases = Releases(engine)
    release = released()
    releases.store(release)
    found = releases.find("services_by_departments", "2014")
    assert found is not None
    assert found.table == release.tables[0]
    assert found.released_at.tzinfo is not None
    assert list(releases.live()) == list(release.tables)
    assert releases.find("services_by_departments", "2013") is None
    assert releases.find("coverage") is None


def test_newest_release_is_found_when_no_period_is_named(engine: sa.Engine) -> None:
    releases = Releases(engine)
    for year in (2013, 2015, 2014):
        releases.store(released(year))
    found = releases.find("services_by_departments")
    assert found is not None
    assert found.table.period == "2015"
    assert releases.periods() == {"services_by_departments": ["2015", "2014", "2013"]}


def test_second_live_release_is_refused_and_the_first_stays(engine: sa.Engine) -> None:
    releases = Releases(engine)
    releases.store(released())
    definition = g.REGISTRY["services_by_departments"]
    other = g.protect(g.counts(definition, {("≤5", "4"): 20}))
    with pytest.raises(ConflictError):
        releases.store(other)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(RELEASES)) == 1
    assert list(releases.live()) == list(released().tables)


def test_release_without_new_tables_leaves_no_row(engine: sa.Engine) -> None:
    releases = Releases(engine)
    releases.store(released())
    releases.store(g.protect(g.published_cross_tab(), history=releases.live()))
    assert len(releases.live()) == 1


def test_release_is_rolled_back_with_the_transaction_it_is_part_of(engine: sa.Engine) -> None:
    releases = Releases(engine)
    with engine.connect() as connection:
        releases.store(released(), connection)
        connection.rollback()
    assert releases.live() == []


def test_tampered_table_is_not_served(engine: sa.Engine) -> None:
    releases = Releases(engine)
    releases.store(released())
    with engine.begin() as connection:
        content = sa.func.replace(RELEASED_TABLES.c.content, "612", "613")
        connection.execute(sa.update(RELEASED_TABLES).values(content=content))
    with pytest.raises(TamperedReleaseError):
        releases.find("services_by_departments")


def test_migrated_tables_have_the_columns_that_the_code_knows(engine: sa.Engine) -> None:
    inspector = sa.inspect(engine)
    for table in (RELEASES, RELEASED_TABLES):
        assert METADATA.tables[table.name] is table
        found = {column["name"]: column["nullable"] for column in inspector.get_columns(table.name)}
        assert found == {column.name: bool(column.nullable) for column in table.columns}


def test_records_give_counts_of_each_live_table_and_no_cell(engine: sa.Engine) -> None:
    releases = Releases(engine)
    release = released()
    releases.store(release)
    releases.store(released(2013))
    newest, former = releases.records()
    assert [newest.live.table.period, former.live.table.period] == ["2013", "2014"]  # by when it was released
    assert former.live.table == release.tables[0]
    assert former.policy_digest == release.policy_digest
    assert former.outcome == release.outcomes[0].outcome
    assert (former.cells, former.withheld) == (len(release.tables[0].cells), 0)
    assert former.unsafe_at_finest == release.audit["services_by_departments"]["unsafe_at_finest"]
