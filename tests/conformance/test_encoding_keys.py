"""Encoding keys over each database: SQLite and PostgreSQL, two processes on each."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier

import pytest

from pseudonymizer.lifecycle import KeyState, Transition
from servicekit import database
from servicekit.errors import PreconditionError, UnavailableError
from tests.unit import key_fixtures as given
from tests.unit.encoding_key_fixtures import FIRST, PRISME, REGISTER, SECOND, Place

_THREADS, _CALLS = 4, 8


@pytest.fixture
def places(url: str, tmp_path: Path) -> Iterator[tuple[Place, Place]]:
    engines = [database.engine(url) for _ in range(2)]
    database.migrate(engines[0], "pseudonymizer")
    first, second = (Place(engine, tmp_path) for engine in engines)
    yield first, second
    for engine in engines:
        engine.dispose()


def test_an_encoding_key_has_the_life_of_a_key(places: tuple[Place, Place]) -> None:
    one, two = places
    first = one.fetch()
    assert two.fetch(REGISTER).secret == first.secret
    one.rotate()
    second = two.fetch()
    assert (second.key, second.secret == first.secret) == (SECOND, False)
    for caller in (PRISME, REGISTER, given.LINKER):
        two.attest(caller)
    given.apply(one.store, Transition.DESTROY, FIRST)
    assert two.states() == one.states() == [KeyState.DESTROYED, KeyState.ACTIVE]
    given.apply(two.store, Transition.COMPROMISE, SECOND)
    with pytest.raises(PreconditionError):
        one.fetch()


def test_no_version_is_handed_out_once_the_log_says_that_it_retired(places: tuple[Place, Place]) -> None:
    together = Barrier(_THREADS + 1)

    def fetch(number: int) -> int:
        together.wait()
        answered = 0
        for _ in range(_CALLS):
            with suppress(UnavailableError):
                places[number % 2].fetch(REGISTER if number < 2 else PRISME)
                answered += 1
        return answered

    with ThreadPoolExecutor(_THREADS) as pool:
        waiting = [pool.submit(fetch, number) for number in range(_THREADS)]
        together.wait()
        places[0].rotate()
        answered = sum(one.result() for one in waiting)
    entries = places[0].audit.entries(limit=10_000)
    handed = [e for e in entries if e["rpc"].endswith("/GetEncodingKey") and e["outcome"] == "ok"]
    [retired] = [e["index"] for e in entries if e["rpc"] == "key.retire"]
    assert len(handed) == answered > 0
    assert all(e["key_version"] == (1 if e["index"] < retired else 2) for e in handed)
