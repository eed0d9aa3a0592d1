"""Does a run make the tables of its months, and compare them with what was released before?

The town: 90 families of an adult and a child, 30 of them in the target group; spending in three departments each
month. Persons are numbers as they stand in facts: adults 1 to 90, their children 1001 to 1090.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from structlog.testing import capture_logs

from linker import frames
from linker.disclosure import policy
from linker.disclosure.release import CellStatus, ReleasedTable
from linker.linkage import policy as linkage_policy
from linker.pipeline import LinkagePipeline
from linker.runs import Runs
from linker.store.family_tables import FamilyTables
from linker.store.memory import MemoryTables
from linker.store.releases import Releases
from linker.store.runs import Run, Stage
from linker.store.snapshots import Snapshots
from linker.store.tables import facts as stored
from linker.tables import registry
from servicekit.audit import AuditLog
from tests.unit import linker_fixtures as given
from tests.unit.family_rows import facts

D = datetime.date
LINKER = Path(policy.__file__).parent.parent
REGISTRY = registry.load(LINKER / "registry.toml")
POLICY = policy.parse((LINKER / "disclosure.toml").read_bytes())
LINKAGE = linkage_policy.load(LINKER / "linkage.toml")
FAMILIES, TARGET, CHILD = 90, 30, 1000
CATALOGUE = (
    {"service": "SOF-CHILD", "flags": ["social_child_case"]},
    {
        "service": "BIF-KONTANTHJAELP",
        "department": "BIF",
        "type": "transfer",
        "area": None,
        "flags": ["public_support"],
    },
    {"service": "BIF-SYGEDAGPENGE", "department": "BIF", "type": "transfer", "area": None},
    {"service": "BIF-RESSOURCEFORLOEB", "department": "BIF", "type": "transfer", "area": None},
    {"service": "BUF-SCHOOL", "department": "BUF", "area": "general"},
)


def town() -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the town's facts; amounts are of one order, so that nobody dominates."""
    order = random.Random(7)  # noqa: S311 - a test must repeat itself
    persons, postings, spells = [], [], []
    for adult in range(1, FAMILIES + 1):
        child = CHILD + adult
        persons.append({"person_id": adult, "address_id": adult, "civil_status": "U"})
        persons.append({"person_id": child, "address_id": adult, "mother_id": adult, "age_anchor": D(2006, 1, 1)})
        services = ["BUF-SCHOOL"]
        if adult <= TARGET:
            services += ["SOF-CHILD", "BIF-KONTANTHJAELP"]
            spells.append({"person_id": child, "service": "SOF-CHILD", "start": D(2013, 1, 1)})
            spell = {"service": "BIF-KONTANTHJAELP", "category": "aktivitetsparat", "start": D(2012, 1, 1)}
            spells.append({"person_id": adult, "department": "BIF", **spell})
        elif adult % 2:
            services.append("SOF-CHILD")
        for month in range(1, 13):
            for service in services:
                first, amount = D(2014, month, 1), order.randrange(300_000, 900_000)
                row = {"service": service, "event_month": first, "booked_month": first, "amount_ore": amount}
                postings.append({"person_id": adult, **row})
    return {"persons": persons, "postings": postings, "spells": spells, "catalogue": list(CATALOGUE), "aliases": []}


class Linker:
    """A store, and runs on it; the pseudonymizer has nothing to convert."""

    def __init__(self, folder: Path) -> None:
        self.store: Snapshots = given.store(folder, MemoryTables())
        self.releases = Releases(self.store.engine)
        self.stages: list[tuple[Stage, int, int]] = []
        self.pipeline = LinkagePipeline(
            self.store,
            self.releases,
            FamilyTables(self.store.engine),
            AuditLog(self.store.engine),
            connect=_nobody,
            registry=REGISTRY,
            policy=POLICY,
            linkage=LINKAGE,
            purpose="familie",
            municipality=101,
        )

    def holds(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        """Replace all facts."""
        with self.store.change("test") as change:
            for name, some in rows.items():
                table = pl.LazyFrame(some, schema=frames.FACTS[name]) if name == "aliases" else facts(name, *some)
                change.write(stored(name), replace=True, append=table)
            with change.commit():
                pass

    def run(self, through_month: int, day: datetime.date | None = None) -> Run:
        """Run to the end."""

        def watched(reference_date: datetime.date, year: int, month: int, report: Callable[..., None]) -> Any:
            def told(stage: Stage, done: int, total: int) -> None:
                self.stages.append((stage, done, total))
                report(stage, done, total)

            return self.pipeline(reference_date, year, month, told)

        runs = Runs(self.store.engine, watched)
        until = day or D(2014 + through_month // 12, through_month % 12 + 1, 1)
        started = runs.start(str(uuid.uuid4()), until.isoformat(), 2014, through_month)
        return list(runs.watch(started.run_id))[-1]

    def table(self, table_id: str, period: str) -> ReleasedTable:
        """Return the newest revision."""
        found = self.releases.find(table_id, period)
        assert found is not None
        return found.table


@contextmanager
def _nobody() -> Iterator[given.LocalConverter]:
    yield given.LocalConverter()


@pytest.fixture
def linker(tmp_path: Path) -> Iterator[Linker]:
    made = Linker(tmp_path)
    yield made
    made.store.engine.dispose()


def outcomes(run: Run) -> dict[str, str]:
    assert (run.state.value, run.reason, run.message) == ("succeeded", "", "")
    return {row["table_id"]: row["outcome"].replace(":", " ").split()[0] for row in run.tables}


def values(table: ReleasedTable) -> dict[tuple[str, ...], Any]:
    """Return category → value, or the status of what is hidden."""
    return {
        cell.categories: cell.value if cell.status is CellStatus.PUBLISHED else cell.status.value
        for cell in table.cells
    }


def spent(rows: Sequence[dict[str, Any]], adults: range, service: str, months: range) -> int:
    return sum(
        row["amount_ore"]
        for row in rows
        if row["person_id"] in adults and row["service"] == service and row["event_month"].month in months
    )


def test_tables_follow_the_year_and_show_what_was_spent(linker: Linker) -> None:
    rows = town()
    linker.holds(rows)
    assert outcomes(linker.run(2)) == {"spending_to_date": "released"}
    assert outcomes(linker.run(3)) == {"spending_to_date": "released", "spending_by_quarter": "released"}
    targets = range(1, TARGET + 1)
    for period, months, table_id in (
        ("2014M01-02", range(1, 3), "spending_to_date"),
        ("2014M01-03", range(1, 4), "spending_to_date"),
        ("2014Q1", range(1, 4), "spending_by_quarter"),
    ):
        shown = values(linker.table(table_id, period))
        more = ("total_with_administration",) if table_id == "spending_by_quarter" else ()
        assert shown["target", "SOF", *more] == spent(rows["postings"], targets, "SOF-CHILD", months)
        assert shown["target", "BIF", *more] == spent(rows["postings"], targets, "BIF-KONTANTHJAELP", months)
        everybody = range(1, FAMILIES + 1)
        assert shown["all", "BUF", *more] == spent(rows["postings"], everybody, "BUF-SCHOOL", months)
    assert [len(past.tables) for past in linker.releases.history()] == [1, 2]


def test_the_whole_year_makes_every_table(linker: Linker) -> None:
    linker.holds(town())
    found = outcomes(linker.run(12))
    assert {table.table_id for table in REGISTRY} < set(found)
    characteristics = linker.table("family_characteristics", "2014")
    numbers = {(cell.categories, cell.measure): cell.value for cell in characteristics.cells}
    assert numbers[("target",), "families"] == TARGET
    assert numbers[("all",), "persons"] == 2 * FAMILIES
    record = linker.releases.records()[0].record
    assert (record.failures, record.unchecked) == (0, 0)
    assert record.seconds > 0  # it was measured, whatever it was


def test_progress_is_told_stage_by_stage(linker: Linker) -> None:
    linker.holds(town())
    linker.run(1)
    stages = [stage for stage, *_ in linker.stages]
    assert list(dict.fromkeys(stages)) == list(Stage)
    assert stages == sorted(stages, key=list(Stage).index)
    assert all(0 <= done <= total for _, done, total in linker.stages)


def test_the_same_facts_again_release_nothing(linker: Linker) -> None:
    linker.holds(town())
    linker.run(2)
    assert outcomes(linker.run(2)) == {"spending_to_date": "unchanged"}
    assert len(linker.releases.history()) == 1


def test_the_log_is_bound_to_the_tables_and_their_policy(linker: Linker) -> None:
    linker.holds(town())
    linker.run(2)
    [entry] = [each for each in AuditLog(linker.store.engine).entries() if each["rpc"] == "linkage run"]
    [stored_release] = linker.releases.records()
    digests = {f"{table.table_id}/{table.period}": table.digest for table in stored_release.tables}
    assert json.loads(entry["evidence"]) == {
        "policy_digest": POLICY.digest,
        "follows": "",
        "tables_sha256": hashlib.sha256(json.dumps(digests, separators=(",", ":")).encode()).hexdigest(),
    }
    assert entry["subject"] == f"release/{stored_release.release_id}"


def changed_school(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows after a correction to the school of 40 families that are not in the target group."""
    postings = [
        {**row, "amount_ore": row["amount_ore"] + 1000 * row["person_id"]}
        if row["service"] == "BUF-SCHOOL" and 50 < row["person_id"] <= 90
        else row
        for row in rows["postings"]
    ]
    return {**rows, "postings": postings}


TARGETS = {("target", name) for name in ("SOF", "BIF", "BUF", "all")}


def kept(linker: Linker) -> set[tuple[str, ...]]:
    """Return the cells of the second revision that do not show its numbers."""
    table = linker.table("spending_to_date", "2014M01-02")
    assert table.revision == 2
    return {cell.categories for cell in table.cells if cell.status is not CellStatus.PUBLISHED}


def test_changes_of_many_families_are_shown(linker: Linker) -> None:
    rows = town()
    linker.holds(rows)
    linker.run(2)
    linker.holds(changed_school(rows))
    assert outcomes(linker.run(2)) == {"spending_to_date": "released"}
    assert not kept(linker)


def test_a_change_of_one_family_is_not_told(linker: Linker) -> None:
    rows = town()
    linker.holds(rows)
    linker.run(2)
    before = values(linker.table("spending_to_date", "2014M01-02"))
    later = changed_school(rows)
    postings = [row for row in later["postings"] if row["person_id"] != 1]
    linker.holds({**later, "postings": postings})
    linker.run(2)
    assert kept(linker) >= TARGETS
    after = linker.table("spending_to_date", "2014M01-02")
    hidden = [cell for cell in after.cells if cell.status is not CellStatus.PUBLISHED]
    assert all(cell.value in (None, before[cell.categories]) for cell in hidden)


def renumbered(rows: dict[str, list[dict[str, Any]]], old: int, new: int) -> dict[str, list[dict[str, Any]]]:
    """Return the rows after an adult's change of number: the register and the child's row know the new one only."""
    persons = [
        {name: new if value == old and name in ("person_id", "mother_id") else value for name, value in row.items()}
        for row in rows["persons"]
    ]
    origin = {"source": "folkeregister", "delivery_id": "d2"}
    return {**rows, "persons": persons, "aliases": [*rows["aliases"], {"former_id": old, "current_id": new, **origin}]}


@pytest.mark.parametrize("child_too", [False, True])
def test_a_change_of_number_is_no_change(linker: Linker, child_too: bool) -> None:
    """Also when nobody carries the family from one release to the next by the number that they had."""
    rows = town()
    linker.holds(rows)
    linker.run(2)
    later = renumbered(changed_school(rows), 3, 5003)
    if child_too:
        later = renumbered(later, CHILD + 3, 6003)
    linker.holds(later)
    linker.run(2)
    assert not kept(linker)


def test_the_control_a_family_that_nobody_carries_is_two_changes(linker: Linker) -> None:
    """Other numbers without aliases are other people: one family has come, and one gone."""
    rows = town()
    linker.holds(rows)
    linker.run(2)
    later = renumbered(renumbered(changed_school(rows), 3, 5003), CHILD + 3, 6003)
    others = {3: 5003, CHILD + 3: 6003}
    facts_of_persons = {
        name: [{**row, "person_id": others.get(row["person_id"], row["person_id"])} for row in later[name]]
        for name in ("postings", "spells")
    }
    linker.holds({**later, **facts_of_persons, "aliases": []})
    linker.run(2)
    assert kept(linker) >= TARGETS


def test_a_department_that_is_not_registered_fails_the_run_by_name(linker: Linker) -> None:
    rows = town()
    catalogue = [{**row, "department": "XXX"} if row["service"] == "BUF-SCHOOL" else row for row in CATALOGUE]
    linker.holds({**rows, "catalogue": catalogue})
    with capture_logs():
        run = linker.run(2)
    assert (run.state.value, run.reason) == ("failed", "CODE_NOT_REGISTERED")
    assert "department" in run.message
    assert not linker.releases.history()
