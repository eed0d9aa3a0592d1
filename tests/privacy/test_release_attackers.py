"""Do the attackers find leaks that are there? Patterns made with less care than the gate's lose to them.

No gate has made these tables. Every leak is known beforehand.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pytest

from linker.disclosure.classification import Classification
from linker.disclosure.elimination import eliminate
from linker.disclosure.linking import CrossTable, link
from linker.disclosure.needs import needs
from linker.disclosure.release import ReleasedTable
from linker.tables.registered_table import RegisteredTable
from tests.privacy import towns as t
from tests.privacy.protected_cells import Run, Secret, changes, secrets
from tests.privacy.public_knowledge import Term, World, region, worlds
from tests.privacy.release_attackers import (
    BoundsAttacker,
    DifferencingAttacker,
    Outcome,
    SubtractionAttacker,
    department_insiders,
    lone_contributors,
)

KINDS, PLACES = ("k1", "k2", "k3"), ("p1", "p2", "p3", "p4")
KIND, PLACE = t.axis("kind", KINDS, first=("k1", "k2")), t.axis("place", PLACES)


def town(cells: dict[tuple[str, str], Sequence[int]], *tables: RegisteredTable) -> Run:
    """Return a run of one amount a family, by kind and place; each is also a family."""
    rows = [
        (number, *place, amount)
        for number, (place, amount) in enumerate(
            [(place, amount) for place, amounts in cells.items() for amount in amounts]
        )
    ]
    members = t.frame([(number, number) for number, *_ in rows], {"person": int, "contributor": int})
    axes = ("kind", "place")
    found = [
        t.facts_of("families", [(*row[:3], 1) for row in rows], axes, ("families",), members),
        t.facts_of("spending", [(*row[:3], 1, row[3]) for row in rows], axes, ("amount_ore",), members, flow=True),
    ]
    return t.run_of(found, tables)


def told(run: Run, hidden: Collection[Term]) -> World:
    """Return what everybody knows when these numbers are hidden and nothing else is."""
    return world(run, t.shown(run, t.hiding(run, hidden)))


def world(run: Run, tables: Sequence[ReleasedTable]) -> World:
    columns = t.public_columns(run)
    registry = {table.table_id: table for table, _ in run.tables}
    [found] = worlds([tables], columns, registry, t.common_sense(columns))
    return found


def primary(found: Sequence[Secret]) -> set[Term]:
    return {secret.terms[0][0] for secret in found if len(secret.terms) == 1}


AMOUNTS = t.table("amounts", (KIND, PLACE), t.AMOUNT)
COUNTS = t.table("counts", (KIND, PLACE), t.FAMILIES)
BIG = 100_000_000
GRID = {(kind, place): [BIG + 7 * n for n in range(8)] for kind in KINDS for place in PLACES}
FEW = {**GRID, ("k1", "p1"): [5_000_000, 7_000_000]}


def test_primary_cell_is_recovered_exactly_by_subtraction_when_nothing_else_is_hidden() -> None:
    run = town(FEW, AMOUNTS, COUNTS)
    found = secrets(run, t.PROTECTION)
    assert len(found) == 2
    for attacker in (SubtractionAttacker(), BoundsAttacker()):
        outcome = attacker.attack(told(run, primary(found)), found)
        assert (outcome.attacked, len(outcome.exact)) == (2, 2)


def test_primary_only_pattern_of_a_municipality_loses_cells_to_both_attackers() -> None:
    run = t.run_of(t.facts(t.municipality(1)), t.REGISTRY)
    found = secrets(run, t.PROTECTION)
    known = told(run, primary(found))
    subtracted, bounded = SubtractionAttacker().attack(known, found), BoundsAttacker().attack(known, found)
    assert subtracted.attacked == bounded.attacked > 80
    assert len(subtracted.exact) > 10
    assert len(bounded.exact) >= len(subtracted.exact)
    assert bounded.won() > 50


def test_cells_that_elimination_alone_hides_are_not_exact_but_within_the_interval() -> None:
    counts = {(kind, place): [1] * size for (kind, place), size in zip(GRID, SIZES, strict=True)}
    run = town(counts, COUNTS)
    found = secrets(run, t.PROTECTION)
    hidden = _eliminated(run)
    known = told(run, hidden)
    assert primary(found) < hidden
    outcome = BoundsAttacker().attack(known, found)
    assert SubtractionAttacker().attack(known, found).exact == []
    assert len(outcome.within) > 0


SIZES = (3, 2, 9, 30, 4, 40, 30, 30, 30, 30, 3, 30)


def _eliminated(run: Run) -> set[Term]:
    """Return what Gaussian elimination hides in the table of counts."""
    axes = [
        Classification(axis.name, axis.categories, {**axis.subtotals, "all": axis.categories}) for axis in (KIND, PLACE)
    ]
    contributions = run.facts[0].frame.rename({"families": "amount"})
    system = link([CrossTable("counts", tuple(axes))], contributions, counted=True)
    found = needs(system, t.PROTECTION["standard"])
    flags = eliminate(system, found.primary, may_hide=system.contributors > 0, lone=False)
    codes = [(a, b) for a in axes[0].codes for b in axes[1].codes]
    leaves = {code: axis.sums.get(code, (code,)) for axis in axes for code in axis.codes if code != "all"}
    hidden = set()
    for (kind, place), cell in zip(codes, system.tables["counts"], strict=True):
        if flags[cell]:
            parts = {"kind": leaves.get(kind, KINDS), "place": leaves.get(place, PLACES)}
            hidden.add(("families", region(parts)))
    return hidden


def test_means_that_stay_shown_give_hidden_sums_back() -> None:
    means = t.table("means", (KIND, PLACE), t.MEAN)
    run = town(FEW, AMOUNTS, COUNTS, means)
    found = [secret for secret in secrets(run, t.PROTECTION) if secret.terms[0][0][0] == "amount_ore"]
    everything = {number for number in run.terms() if number[0] == "amount_ore"}

    def hides(table: RegisteredTable, cell: tuple[str, ...], measure: object) -> bool:
        return table.table_id == "amounts"

    outcome = BoundsAttacker().attack(world(run, t.shown(run, hides)), found)
    assert (outcome.attacked, outcome.won()) == (1, 1)
    assert BoundsAttacker().attack(told(run, everything), found).won() == 0


def test_cell_that_everybody_knows_to_be_empty_hides_nothing() -> None:
    cells = {**FEW, ("k1", "p2"): [], ("k2", "p2"): []}
    run = town(cells, AMOUNTS)
    found = secrets(run, t.PROTECTION)
    block = {
        ("amount_ore", region({"kind": [kind], "place": [place], "month": MONTHS}))
        for kind in KINDS[:2]
        for place in PLACES[:2]
    }
    columns = run.columns()
    registry = {"amounts": AMOUNTS}
    tables = t.shown(run, t.hiding(run, block))
    [naive] = worlds([tables], columns, registry)
    assert BoundsAttacker().attack(naive, found).won() == 0
    empty = tuple(region({"kind": [kind], "place": ["p2"]}) for kind in KINDS[:2])
    knowing = {"amount_ore": t.replace(columns["amount_ore"], impossible=empty)}
    [known] = worlds([tables], knowing, registry)
    assert SubtractionAttacker().attack(known, found).exact == found
    assert BoundsAttacker().attack(known, found).exact == found


MONTHS = [f"2014-{month:02}" for month in range(1, 13)]


def test_releases_protected_one_by_one_tell_what_one_family_changed() -> None:
    before = town(GRID, AMOUNTS)
    after = town({**GRID, ("k1", "p1"): [*GRID["k1", "p1"][:7], GRID["k1", "p1"][7] + 3_000_000]}, AMOUNTS)
    found = changes(before, after, t.PROTECTION)
    assert len(found) == 6  # the cell, and the margins over it
    assert {secret.value for secret in found} == {3_000_000}
    outcome = DifferencingAttacker([told(before, ()), told(after, ())]).attack({(0, 1): found})
    assert len(outcome.exact) == 6


@pytest.fixture
def squared() -> tuple[Run, World]:
    """A square of four hidden cells; k1/p1 has one family, k2/p2 two."""
    run = town({**GRID, ("k1", "p1"): [BIG], ("k2", "p2"): [BIG, 2 * BIG], ("k1", "p2"): [9 * BIG] * 9}, AMOUNTS)
    hidden = {
        ("amount_ore", region({"kind": [kind], "place": [place], "month": MONTHS}))
        for kind in KINDS[:2]
        for place in PLACES[:2]
    }
    return run, told(run, hidden)


def test_lone_contributor_wins_the_cells_that_only_its_own_hides(squared: tuple[Run, World]) -> None:
    run, known = squared
    found = secrets(run, t.PROTECTION)
    assert len(found) == 2
    assert BoundsAttacker().attack(known, found).won() == 0
    [attacker] = lone_contributors(run)
    outcome = attacker.attack(known, found)
    assert (outcome.attacked, len(outcome.exact)) == (1, 1)


def test_insider_wins_the_cells_that_only_its_column_hides() -> None:
    departments = t.axis("department", ("SOF", "BUF", "BIF"))
    rows = [
        (number, kind, department, 1, BIG)
        for number, (kind, department) in enumerate(
            (kind, department)
            for kind in KINDS
            for department in departments.categories
            for _ in range(2 if (kind, department) == ("k1", "BUF") else 8)
        )
    ]
    members = t.frame([(number, number) for number, *_ in rows], {"person": int, "contributor": int})
    found = t.facts_of("spending", rows, ("kind", "department"), ("amount_ore",), members, flow=True)
    run = t.run_of([found], [t.table("amounts", (KIND, departments), t.AMOUNT)])
    hidden = {
        ("amount_ore", region({"kind": [kind], "department": [department], "month": MONTHS}))
        for kind in KINDS[:2]
        for department in ("SOF", "BUF")
    }
    known, protected = told(run, hidden), secrets(run, t.PROTECTION)
    assert BoundsAttacker().attack(known, protected).won() == 0
    won = {attacker.name: attacker.attack(known, protected) for attacker in department_insiders(run)}
    assert {name: (outcome.attacked, outcome.won()) for name, outcome in won.items()} == {
        "insider of BIF": (1, 0),
        "insider of BUF": (0, 0),
        "insider of SOF": (1, 1),
    }


def test_outcome_says_what_was_won() -> None:
    assert str(Outcome("bounds", 3)) == "bounds: of 3 protected cells 0 exactly, 0 within the interval"
