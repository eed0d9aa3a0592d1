"""Snapshots switch all tables at once; a pin keeps what it reads; nothing unnamed comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from linker.store import releases
from linker.store.durable import InUseError, exclusive
from linker.store.snapshots import Snapshots
from linker.store.state import METADATA
from linker.store.tables import SCHEMAS, facts
from servicekit import database
from tests import postgres
from tests.unit import linker_fixtures as given

ALIASES, POSTINGS = facts("aliases"), facts("postings")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with postgres.cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Snapshots]:
    url = None
    if request.param == "postgresql":
        url = request.getfixturevalue("cluster")
        postgres.empty(url)
    made = given.store(tmp_path, url=url)
    yield made
    made.engine.dispose()


def rows(number: int, delivery: str = "d") -> pl.LazyFrame:
    data = {"former_id": [number], "current_id": [number], "source": ["folkeregister"], "delivery_id": [delivery]}
    return pl.LazyFrame(data, schema=SCHEMAS[ALIASES])


def change(store: Snapshots, number: int) -> None:
    with store.change("test") as made:
        made.write(ALIASES, append=rows(number))
        with made.commit():
            pass


def ids(store: Snapshots) -> list[int]:
    with store.pin() as pinned:
        return sorted(pinned.scan(ALIASES).collect()["former_id"])


def test_a_change_is_nothing_until_its_commit(store: Snapshots) -> None:
    change(store, 1)
    with store.change("test") as made:
        made.write(ALIASES, append=rows(2))
        assert sorted(made.scan(ALIASES).collect()["former_id"]) == [1, 2]
        assert ids(store) == [1]
    assert ids(store) == [1]
    change(store, 3)
    assert ids(store) == [1, 3]


def test_a_change_whose_transaction_fails_is_nothing(store: Snapshots) -> None:
    with store.change("test") as made:
        made.write(ALIASES, append=rows(1))
        with pytest.raises(ZeroDivisionError), made.commit():
            raise ZeroDivisionError
    assert (ids(store), store.current().number) == ([], 0)


def test_a_pin_reads_its_snapshot_through_later_changes_and_purges(store: Snapshots) -> None:
    change(store, 1)
    with store.pin() as pinned:
        with store.change("test") as made:
            made.write(ALIASES, remove=[("folkeregister", "d")], append=rows(2, "e"))
            with made.commit():
                pass
        assert store.purge() == 0
        assert pinned.scan(ALIASES).collect()["former_id"].to_list() == [1]
        assert ids(store) == [2]
    assert store.purge() >= 1
    assert ids(store) == [2]


def test_tables_that_a_change_does_not_write_stay_as_they_were(store: Snapshots) -> None:
    change(store, 1)
    before = store.current().versions
    with store.change("test") as made:
        made.write(POSTINGS, append=pl.LazyFrame(schema=SCHEMAS[POSTINGS]))
        with made.commit():
            pass
    assert before.items() <= store.current().versions.items()
    assert store.current().number == 2


def test_opening_deletes_files_that_no_snapshot_names(store: Snapshots, tmp_path: Path) -> None:
    change(store, 1)

    def files() -> set[Path]:
        return {path for path in (tmp_path / "store").rglob("*") if path.is_file()}

    named = files()
    with store.change("test") as made:
        made.write(ALIASES, append=rows(2))
        made.write(POSTINGS, append=pl.LazyFrame(schema=SCHEMAS[POSTINGS]))
    log = tmp_path / "store" / ALIASES / "_delta_log"
    (log / f"{9:020}.json").write_bytes(b"")  # what a power cut leaves of an entry that was never synced
    (tmp_path / "store" / ALIASES / "left-over.parquet").write_bytes(b"torn")
    # what a kill leaves of files and entries before delta-rs gives them their names
    (tmp_path / "store" / ALIASES / "source=x/half.parquet#1").parent.mkdir()
    (tmp_path / "store" / ALIASES / "source=x/half.parquet#1").write_bytes(b"torn")
    (log / f"{0:020}.json#1").write_bytes(b"torn")
    assert files() > named
    Snapshots(store.engine, given.DeltaTables(tmp_path / "store")).open()
    assert files() == named
    change(store, 3)
    assert ids(store) == [1, 3]


def test_the_log_stays_readable_past_its_checkpoints(store: Snapshots, tmp_path: Path) -> None:
    for number in range(22):  # delta-rs writes a checkpoint each twenty versions
        change(store, number)
    with store.change("test") as made:
        made.write(ALIASES, append=rows(1000))
    assert list((tmp_path / "store" / ALIASES / "_delta_log").glob("*.checkpoint.parquet"))
    change(store, 22)
    assert ids(store) == list(range(23))


def test_migrations_make_just_the_tables_of_the_code(store: Snapshots) -> None:
    assert releases.RELEASES.metadata is METADATA
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_name": _ours})
        assert compare_metadata(context, METADATA) == []


def _ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "table" or name in METADATA.tables


def test_a_second_process_is_kept_out_of_the_folder(tmp_path: Path) -> None:
    with exclusive(tmp_path), pytest.raises(InUseError, match="another linker"), exclusive(tmp_path):
        pass
    with exclusive(tmp_path):
        pass


def test_reading_takes_no_write_lock(tmp_path: Path) -> None:
    store = given.store(tmp_path)
    with store.engine.begin() as writing:
        writing.execute(sa.text("CREATE TABLE other (x INTEGER)"))
        assert store.current().number == 0
    with database.read(store.engine) as reading:
        assert reading.execute(sa.text("SELECT count(*) FROM other")).scalar() == 0
