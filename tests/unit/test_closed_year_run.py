"""What a run does about years that close: bases go, a closed year is refused before any work, its tables stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from linker.disclosure.closing import Retention
from linker.store.releases import RELEASES
from linker.store.state import now
from servicekit.audit import AuditLog
from tests.unit.test_pipeline import Linker, town


@pytest.fixture
def linker(tmp_path: Path) -> Iterator[Linker]:
    made = Linker(tmp_path)
    made.holds(town())
    yield made
    made.store.engine.dispose()


def age(linker: Linker, days: float) -> None:
    with linker.store.engine.begin() as connection:
        connection.execute(sa.update(RELEASES).values(created_at=now() - timedelta(days=days)))


def events(linker: Linker) -> list[str]:
    return [entry["rpc"] for entry in AuditLog(linker.store.engine).entries()]


def test_a_year_is_released_until_it_closes_and_its_tables_stay(linker: Linker) -> None:
    linker.run(2)
    age(linker, 730)
    assert linker.run(3).state.value == "succeeded"
    shown = linker.table("spending_to_date", "2014M01-03")
    age(linker, 731.1)
    linker.stages.clear()
    run = linker.run(4)
    assert (run.state.value, run.reason) == ("failed", "YEAR_CLOSED")
    assert run.message.startswith("2014 is closed since ")
    assert run.message.endswith("its released tables stay in service as they are")
    assert linker.stages == []  # refused before any work
    assert linker.table("spending_to_date", "2014M01-03") == shown
    assert all(each.basis for each in linker.releases.history())


def test_a_run_erases_what_is_due_and_a_longer_time_does_not_open_the_year_again(linker: Linker) -> None:
    linker.run(2)
    age(linker, 1827.1)
    run = linker.run(3)
    assert (run.state.value, run.reason) == ("failed", "YEAR_CLOSED")
    assert run.message.startswith("2014 is closed: what its releases were made of is erased")
    [past] = linker.releases.history()
    assert past.basis is None
    assert events(linker) == ["linkage run", "bases erased"]
    patient = replace(linker.pipeline.policy, retention=Retention(30_000, 30_001))
    linker.pipeline = replace(linker.pipeline, policy=patient)
    assert linker.run(3).reason == "YEAR_CLOSED"
    assert linker.table("spending_to_date", "2014M01-02").revision == 1
