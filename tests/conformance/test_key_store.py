"""The key store over each database: one suite, SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, event, select, text

from kinlink import ristretto255
from kinlink.pseudonyms import Kind
from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore import tables
from pseudonymizer.keystore.store import KeyStore
from pseudonymizer.lifecycle import KeyState, Transition
from servicekit import database
from servicekit.errors import PreconditionError
from tests.unit import key_fixtures as given
from tests.unit.key_fixtures import FIRST, POLICY, SECOND, Replica

_THREADS, _MESSAGES = 4, 12


@pytest.fixture
def connect(url: str) -> Iterator[Callable[[], Engine]]:
    """Return what opens the same empty database again, as another process does."""
    made: list[Engine] = []

    def open_again() -> Engine:
        made.append(database.engine(url))
        database.migrate(made[-1], "pseudonymizer")
        return made[-1]

    yield open_again
    for engine in made:
        engine.dispose()


@pytest.fixture
def replicas(connect: Callable[[], Engine], tmp_path: Path) -> Iterator[tuple[Replica, Replica]]:
    with ristretto255.new_pool() as pool:
        yield Replica(connect(), pool, tmp_path), Replica(connect(), pool, tmp_path)


def test_replicas_that_start_together_make_each_key_once(connect: Callable[[], Engine], tmp_path: Path) -> None:
    engines, together = [connect() for _ in range(4)], Barrier(4)
    given.keystore(engines[0], POLICY, tmp_path)  # makes the key-encryption key
    with engines[0].begin() as connection:
        for table in (tables.keys, tables.head):
            connection.execute(table.delete())

    def start(engine: Engine) -> KeyStore:
        together.wait()
        return given.keystore(engine, POLICY, tmp_path)

    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(start, engines))
    assert {store.current()[1].generation for store in stores} == {1}
    assert len({store.current()[0] for store in stores}) == 1


def test_replicas_that_rotate_together_make_one_rotation(replicas: tuple[Replica, Replica]) -> None:
    together = Barrier(2)

    def rotate(replica: Replica) -> str:
        together.wait()
        try:
            given.rotate(replica.keys, FIRST)
        except PreconditionError as error:
            return error.reason
        return "ok"

    with ThreadPoolExecutor(2) as pool:
        results = sorted(pool.map(rotate, replicas))
    assert "ok" in results
    versions = [v for v in replicas[0].keys.current()[0] if v.line == (FIRST.domain, FIRST.kind)]
    assert [version.state for version in versions][:2] == [KeyState.RETIRING, KeyState.ACTIVE]
    assert [version.state for version in versions][2:] in ([], [KeyState.PENDING])


def test_a_store_that_changes_while_it_is_read_is_not_taken_for_one_that_others_changed(
    replicas: tuple[Replica, Replica], connect: Callable[[], Engine], tmp_path: Path
) -> None:
    engine, changed = connect(), list[KeyName]()
    reader = given.keystore(engine, POLICY, tmp_path)

    def change_first(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "keystore_head.mac" in statement and not changed:  # the rows are read, the seal over them is not
            changed.append(given.rotate(replicas[0].keys, FIRST))

    given.rotate(replicas[0].keys, KeyName(FIRST.domain, Kind.ADDRESS, 1))
    event.listen(engine, "before_cursor_execute", change_first)
    keyset = reader.at(3)
    assert changed == [SECOND]
    assert reader.refused == ""
    assert keyset.generation in (3, 5)
    assert reader.at(5).usable(SECOND) is not None


def test_nothing_is_answered_under_a_key_once_the_log_says_that_it_is_destroyed(
    replicas: tuple[Replica, Replica],
) -> None:
    one, two = replicas
    given.rotate(one.keys, FIRST)
    together = Barrier(_THREADS + 1)

    def convert(number: int) -> int:
        together.wait()
        answered = 0
        for _ in range(_MESSAGES):
            with suppress(PreconditionError):
                (one, two)[number % 2].convert(FIRST)
                answered += 1
        return answered

    with ThreadPoolExecutor(_THREADS) as pool:
        under_way = [pool.submit(convert, number) for number in range(_THREADS)]
        together.wait()
        given.apply(two.keys, Transition.DESTROY, FIRST, accept_loss=True)
        answered = sum(future.result() for future in under_way)
    entries = one.audit.entries(limit=10_000)
    destroyed = next(i for i, e in enumerate(entries) if e["rpc"] == "key.destroy")
    converted = [i for i, e in enumerate(entries) if e["rpc"].endswith("/Convert") and e["outcome"] == "ok"]
    assert len(converted) == answered < _THREADS * _MESSAGES
    assert all(index < destroyed for index in converted)


def test_a_destroyed_key_leaves_the_database(replicas: tuple[Replica, Replica], connect: Callable[[], Engine]) -> None:
    one, two = replicas
    engine = connect()
    with engine.connect() as connection:
        row = connection.execute(
            select(tables.keys).where(tables.keys.c.domain == FIRST.domain, tables.keys.c.kind == "cpr")
        ).mappings()
        before = dict(row.one())
    given.rotate(one.keys, FIRST)
    given.apply(one.keys, Transition.DESTROY, FIRST, accept_loss=True)
    with engine.connect() as connection:
        found = connection.execute(
            select(tables.keys.c.sealed, tables.keys.c.wrapped_key).where(tables.keys.c.state == "destroyed")
        ).one()
        assert tuple(found) == (None, None)
        if engine.dialect.name == "postgresql":
            connection.execute(text("CHECKPOINT"))
            path = connection.execute(text("SELECT pg_relation_filepath('pseudonymisation_keys')")).scalar_one()
            whole = connection.execute(text("SELECT pg_read_binary_file(:path)"), {"path": path}).scalar_one()
            assert before["check_value"] in bytes(whole)
            assert before["sealed"] not in bytes(whole)
    assert two.keys.current()[1].usable(SECOND) is not None
    assert two.keys.current()[1].usable(FIRST) is None
