"""When does a run make the family table, and what becomes of it?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from linker.disclosure.family_table import FamilyTable
from linker.disclosure.release import DisclosureRecord, Release, TableOutcome
from linker.family_table_run import FamilyTableStage
from linker.store.family_tables import FamilyTables
from servicekit.audit import AuditLog
from tests import family_towns as f
from tests.unit.family_rows import facts
from tests.unit.test_pipeline import Linker, town

NOTHING = DisclosureRecord({}, {}, 0, 0, 0, 0)


@pytest.fixture
def linker(tmp_path: Path) -> Iterator[Linker]:
    made = Linker(tmp_path)
    made.holds(town())
    yield made
    made.store.engine.dispose()


def test_whole_year_makes_the_table_once_and_says_so_in_the_log(linker: Linker) -> None:
    tables = FamilyTables(linker.store.engine)
    assert "families" not in {row["table_id"] for row in linker.run(2).tables}
    assert tables.periods() == []
    first = {row["table_id"]: row for row in linker.run(12).tables}["families"]
    assert first["outcome"].startswith("released: 90 families")
    found = tables.find("2014")
    assert found is not None
    assert found.table.release_id == first["release_id"]
    assert found.table.rows["families"].sum() == 90
    [entry] = [each for each in AuditLog(linker.store.engine).entries() if each["rpc"] == "family table release"]
    assert (entry["subject"], entry["count"]) == (f"families/2014/{first['release_id']}", 90)
    evidence = json.loads(entry["evidence"])
    assert (evidence["k"], evidence["l"]) == (5, 3)
    assert evidence["fewest_alike"] >= 5
    again = {row["table_id"]: row for row in linker.run(12).tables}["families"]
    assert again["outcome"].startswith("stands: ")
    assert again["release_id"] == first["release_id"]


def made(stage: FamilyTableStage, *outcomes: TableOutcome) -> tuple[FamilyTable | None, TableOutcome | None]:
    """Return what the stage makes of a town whose tables came to these outcomes."""
    release = Release("", "2014", date(2015, 1, 1), "", (), outcomes, (), NOTHING, b"")
    of = f.town(40)
    sources = facts("postings"), facts("spells"), facts("catalogue")
    _, table, outcome = stage.table(release, (), of.members.lazy(), sources, 2014, 12, date(2015, 1, 1))
    return table, outcome


def test_table_waits_for_the_ordinary_ones(linker: Linker) -> None:
    stage = FamilyTableStage(FamilyTables(linker.store.engine), f.REGISTRY, f.POLICY)
    table, outcome = made(stage, TableOutcome("a", "r", "released"), TableOutcome("b", "", "refused: not proven"))
    assert table is None
    assert outcome is not None
    assert outcome.outcome == "held back: b is not released; next: release the year's tables, then run again"


def test_refusal_is_the_outcome_and_names_what_to_do(linker: Linker) -> None:
    stage = FamilyTableStage(
        FamilyTables(linker.store.engine), f.REGISTRY, f.asking(k=50, k_sensitive=50, sensitive=False)
    )
    table, outcome = made(stage)
    assert table is None
    assert outcome == TableOutcome(
        "families",
        "",
        "refused: there are fewer than 50 families that can be alike; next: wait for a year with more families",
    )
    kept, said = made(replace(stage, policy=f.POLICY))
    assert kept is not None
    assert said is not None
    assert said.outcome.startswith("released: 40 families")
    assert said.release_id == kept.release_id
