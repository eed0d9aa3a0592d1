"""Family tables on each database: frozen, one a year, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

from linker.store.family_tables import FAMILY_TABLES, FamilyTables
from linker.store.releases import TamperedReleaseError
from servicekit import database
from servicekit.errors import ConflictError
from tests import family_towns as f

TABLE = replace(f.table(f.town(300)), release_id="1" * 32)


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    opened = database.engine(url)
    database.migrate(opened, "linker")
    yield opened
    opened.dispose()


@pytest.fixture
def tables(engine: sa.Engine) -> FamilyTables:
    found = FamilyTables(engine)
    with engine.begin() as connection:
        found.store(TABLE, connection)
    return found


def test_stored_table_is_found_as_it_was_with_the_same_ids_each_time(tables: FamilyTables) -> None:
    first, second = tables.find("2014"), tables.find("2014")
    assert first is not None
    assert second is not None
    assert (first.table.digest, first.table.record, first.table.release_id) == (TABLE.digest, TABLE.record, "1" * 32)
    assert first.released_at.tzinfo is not None
    assert first.rows("analyse").equals(second.rows("analyse"))
    assert not set(first.rows("analyse")["row_id"]) & set(first.rows("report")["row_id"])
    assert tables.periods() == ["2014"]
    assert tables.find("2013") is None


def test_second_table_of_a_year_is_refused_and_the_first_stands(tables: FamilyTables, engine: sa.Engine) -> None:
    other = replace(f.table(f.town(310)), release_id="2" * 32)
    with engine.begin() as connection, pytest.raises(ConflictError) as caught:
        tables.store(other, connection)
    assert caught.value.reason == "FAMILY_TABLE_EXISTS"
    found = tables.find("2014")
    assert found is not None
    assert found.table.digest == TABLE.digest


def test_table_is_part_of_the_transaction(tables: FamilyTables, engine: sa.Engine) -> None:
    with engine.connect() as connection:
        tables.store(replace(TABLE, release_id="3" * 32, period="2015"), connection)
        connection.rollback()
    assert tables.periods() == ["2014"]


def test_years_have_secrets_of_their_own(tables: FamilyTables, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        tables.store(replace(TABLE, release_id="3" * 32, period="2015"), connection)
    found = [tables.find(year) for year in ("2014", "2015")]
    ids = [set(each.rows("analyse")["row_id"]) for each in found if each]
    assert not ids[0] & ids[1]
    assert tables.periods() == ["2015", "2014"]


def test_tampered_table_is_not_served(tables: FamilyTables, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        content = connection.scalar(sa.select(FAMILY_TABLES.c.content))
        assert content is not None
        connection.execute(sa.update(FAMILY_TABLES).values(content=content.replace('"hidden"', '"1"', 1)))
    with pytest.raises(TamperedReleaseError):
        tables.find("2014")


def test_secret_stands_in_no_repr(tables: FamilyTables, engine: sa.Engine) -> None:
    with engine.connect() as connection:
        secret = connection.scalar(sa.select(FAMILY_TABLES.c.secret))
    found = tables.find("2014")
    assert isinstance(secret, bytes)
    assert len(secret) == 32
    assert repr(secret) not in repr(found)
    assert secret.hex() not in repr(found)
