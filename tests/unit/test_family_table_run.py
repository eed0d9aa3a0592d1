"""When does a run make the family table, and what becomes of it?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linker.disclosure.family_table import FamilyTable
from linker.disclosure.family_table.columns import HIDDEN, PROPERTIES, TOTAL, Bands
from linker.disclosure.release import DisclosureRecord, Release, TableOutcome
from linker.family_table_run import FamilyTableStage
from linker.store.family_tables import FamilyTables
from servicekit.audit import AuditLog
from tests import family_towns as f
from tests.unit.family_rows import facts
from tests.unit.test_pipeline import Linker, changed_school, town

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


NARROW = Bands((1, *(round(1_000_000 * 1.02**n) for n in range(150))))


def narrow_rows(rows: dict[str, list[dict[str, Any]]]) -> FamilyTable:
    """Return a table of the town that no policy would have: each family's spending in narrow bands."""
    spent = pl.DataFrame(
        [
            {"family": row["person_id"], "department": row["service"][:3], "ore": row["amount_ore"]}
            for row in rows["postings"]
        ]
    )
    names = [TOTAL, *(f"{TOTAL}_{code}" for code in f.DEPARTMENTS)]
    wide = spent.group_by("family").agg(
        pl.col("ore").sum().alias(TOTAL),
        *(pl.col("ore").filter(department=code).sum().alias(f"{TOTAL}_{code}") for code in f.DEPARTMENTS),
    )
    shown = wide.select(
        *(pl.lit(HIDDEN).alias(name) for name in PROPERTIES),
        *(NARROW.label(pl.col(name)).alias(name) for name in names),
        pl.lit(1, pl.Int64).alias("families"),
    )
    return replace(f.table(f.town(300)), release_id="4" * 32, bands_ore=NARROW.starts_ore, rows=shown)


@pytest.mark.parametrize("beside", [True, False])
def test_release_that_hides_what_the_years_rows_tell_is_refused(tmp_path: Path, beside: bool) -> None:
    """One family of the target group has gone; with rows beside them, the totals that hide it do not."""
    linker = Linker(tmp_path)
    linker.holds(town())
    changed = changed_school(town())
    after = {**changed, "postings": [row for row in changed["postings"] if row["person_id"] != 1]}
    if beside:
        with linker.store.engine.begin() as connection:
            FamilyTables(linker.store.engine).store(narrow_rows(after), connection)
    first = linker.run(12)
    assert all(row["release_id"] for row in first.tables)
    linker.holds(after)
    found = {row["table_id"]: row for row in linker.run(12).tables}["spending_to_date"]
    table = linker.table("spending_to_date", "2014M01-12")
    assert table.revision == (1 if beside else 2)
    assert found["release_id"] == table.release_id
    told = "refused: the year's family table would tell what is hidden (spending_"
    assert found["outcome"].startswith(told) is beside
    assert not beside or "the live tables stay; next: " in found["outcome"]
    linker.store.engine.dispose()


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
