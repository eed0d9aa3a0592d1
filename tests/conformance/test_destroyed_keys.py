"""That what was sealed of a destroyed key leaves the database's files, on each database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from threading import Thread

import pytest
import sqlalchemy as sa

from pseudonymizer.keystore import erasure
from pseudonymizer.keystore.tables import keys
from servicekit import database
from tests.database_files import contents

SEALED = random.Random(3).randbytes(80)  # noqa: S311 - a test repeats itself
_WAITING = sa.text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()")


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    opened = database.engine(url)
    database.migrate(opened, "pseudonymizer")
    yield opened
    opened.dispose()


def destroyed(engine: sa.Engine) -> None:
    """Let a key have been there, and be deleted."""
    texts = dict.fromkeys(("domain", "kind", "suite", "wrapping_version", "created_at", "state_since"), "x")
    row = {**texts, "version": 1, "generation": 1, "state": "active", "sealed": SEALED, "check_value": bytes(32)}
    with engine.begin() as connection:
        connection.execute(sa.insert(keys).values(row))
    assert in_files(engine)
    with engine.begin() as connection:
        erasure.begin(connection)
        connection.execute(sa.delete(keys))


def in_files(engine: sa.Engine) -> bool:
    """Say whether the database's files hold what was sealed; the log of PostgreSQL aside."""
    return any(SEALED[10:60] in each for each in contents(engine))


def test_destroyed_key_is_in_no_file(engine: sa.Engine) -> None:
    destroyed(engine)
    erasure.finish(engine)
    assert not in_files(engine)


def test_destroyed_key_leaves_the_files_when_who_reads_an_older_state_has_ended(engine: sa.Engine) -> None:
    """PostgreSQL takes along what any reader of the database may still see, whichever table it reads."""
    if engine.dialect.name == "sqlite":
        pytest.skip("a reader of an older state of SQLite reads its journal, which is emptied when it can be")
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
        reader.exec_driver_sql("SELECT count(*) FROM genesis")
        destroyed(engine)
        finishing = Thread(target=erasure.finish, args=(engine,))
        finishing.start()
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watching:
            while finishing.is_alive() and not watching.scalar(_WAITING):
                pass
    finishing.join()
    assert not in_files(engine)
