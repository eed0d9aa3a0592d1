"""Can an attacker learn a hidden amount from all that is shown, exactly or within its interval?

The table of 1,144 cells (vectors/disclosure) has 156 primary cells. Attackers are plain programs that share
nothing with the engine. The controls must fail: they show what an attacker does to
patterns that are made with less care.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from linker.cell_file import CellFile
from linker.disclosure.attackers import insiders, lone_contributors
from linker.disclosure.classification import Classification
from linker.disclosure.elimination import eliminate
from linker.disclosure.linking import CrossTable, link
from linker.disclosure.needs import Needs, down, needs
from linker.disclosure.pattern import Pattern
from linker.disclosure.suppression import protect, prove
from linker.disclosure.system import Flags, LinkedSystem
from tests.disclosure import NO_RULE, TOWN_POLICY, cells_of, contributions, flags, flat, town_cells
from tests.plain_attacker import failures

RELATIVE = replace(TOWN_POLICY, interval_minimum=0)  # the interval under which the controls were measured elsewhere


class SubtractionAttacker:
    """Adds and subtracts what is shown; knows no bounds."""

    def wins(self, system: LinkedSystem, found: Needs, hidden: Flags) -> list[int]:
        """Return the primary cells that are combinations of shown ones: those that no table can move."""
        places = np.flatnonzero(hidden)
        _, sizes, space = np.linalg.svd(system.equations[:, places].toarray())
        free = space[int((sizes > 1e-9).sum()) :]
        movable = np.abs(free).max(axis=0, initial=0.0) > 1e-9
        exact = places[~movable].tolist()
        return [*(cell for cell in exact if found.primary[cell]), *np.flatnonzero(found.primary & ~hidden).tolist()]


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> CellFile:
    return town_cells(tmp_path_factory.mktemp("town"))


@pytest.fixture(scope="module")
def pattern(town: CellFile) -> Pattern:
    return protect(town.system, TOWN_POLICY)


def test_town_table_is_proven_at_little_cost(town: CellFile, pattern: Pattern) -> None:
    assert pattern.proven
    assert len(town.system) == 1144
    assert int(pattern.needs.primary.sum()) == 156
    assert int(pattern.secondary(town.system).sum()) <= 103
    inner = town.system.values * town.inner
    assert inner[~pattern.hidden].sum() >= 0.95 * inner.sum()


def test_no_attacker_recovers_one_of_156_cells_exactly_or_within_its_interval(
    town: CellFile, pattern: Pattern, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow, exact = failures(town.system, pattern.needs, pattern.hidden)
    subtracted = SubtractionAttacker().wins(town.system, pattern.needs, pattern.hidden)
    with capsys.disabled():
        print(f"\n{len(exact)} of 156 recovered exactly, {len(narrow)} within the interval")  # noqa: T201
    assert (narrow, exact, subtracted) == ([], [], [])


def test_attackers_recover_122_cells_when_only_primary_cells_are_hidden(town: CellFile, pattern: Pattern) -> None:
    narrow, exact = failures(town.system, needs(town.system, RELATIVE), pattern.needs.primary)
    assert len(exact) == 122
    assert len(narrow) >= 130
    assert len(SubtractionAttacker().wins(town.system, pattern.needs, pattern.needs.primary)) > 100


def test_attackers_narrow_35_cells_when_elimination_is_all(town: CellFile, pattern: Pattern) -> None:
    hidden = eliminate(town.system, pattern.needs.primary, may_hide=town.system.contributors > 0, lone=False)
    narrow, exact = failures(town.system, needs(town.system, RELATIVE), hidden)
    assert exact == []
    assert len(narrow) >= 35
    assert SubtractionAttacker().wins(town.system, pattern.needs, hidden) == []


def test_lone_contributors_win_unless_they_are_reckoned_with(town: CellFile, pattern: Pattern) -> None:
    """53 attackers; a pattern made without them in mind falls to some of them."""
    attackers = lone_contributors(town.system)
    assert len(attackers) == 52
    careless = prove(town.system, pattern.needs, attackers[::4], pattern.hidden)
    assert len({demand.cell for demand in careless.failures}) > 5
    careful = protect(town.system, replace(TOWN_POLICY, singletons=True))
    assert careful.proven
    assert len(careful.attackers) == 53
    for attacker in careful.attackers[1::13]:
        below = down(town.system, careful.needs, attacker)
        known = [int(cell) for cell in attacker.known]
        assert failures(town.system, careful.needs, careful.hidden, known, below) == ([], [])


def test_a_department_insider_wins_unless_it_is_reckoned_with(town: CellFile, pattern: Pattern) -> None:
    """Two of seven departments. With all, 85 % of inner spending is shown, in place of 95: the controller's choice."""
    shape = (11, 8, 13)
    department = np.indices(shape)[1].ravel()
    known = insiders(town.system, {f"p{place:02}": department == place for place in range(7)})
    careless = prove(town.system, pattern.needs, known[:1], pattern.hidden)
    assert len({demand.cell for demand in careless.failures}) > 5
    careful = protect(town.system, TOWN_POLICY, insiders=known[:2])
    assert careful.proven
    first = [int(cell) for cell in known[0].known]
    below = down(town.system, careful.needs, known[0])
    assert failures(town.system, careful.needs, careful.hidden, first, below) == ([], [])


def overlapping() -> Iterator[tuple[list[CrossTable], list[tuple[object, ...]]]]:
    """Yield two tables over the same families: districts by counties, and by size groups, each by services."""
    random = np.random.default_rng(7)
    districts, services = [f"d{place}" for place in range(8)], ["s0", "s1", "s2"]
    counties = {"k0": ("d0", "d1", "d2", "d3"), "k1": ("d4", "d5", "d6", "d7"), "Total": tuple(districts)}
    groups = {"big": ("d5", "d6"), "small": ("d0", "d1", "d2", "d3", "d4", "d7"), "Total": tuple(districts)}
    tables = [
        CrossTable(name, (Classification("district", tuple(districts), sums), flat("service", services)))
        for name, sums in (("counties", counties), ("groups", groups))
    ]
    for _ in range(6):
        spent = np.round(np.exp(random.normal(8, 1.4, 130))).astype(int) + 1
        place = [(districts[random.integers(8)], services[random.integers(3)]) for _ in spent]
        yield (
            tables,
            [(*each, family, int(amount)) for family, (each, amount) in enumerate(zip(place, spent, strict=True))],
        )


def test_overlapping_tables_leak_one_by_one_and_not_together() -> None:
    policy = replace(NO_RULE, threshold=4, p_percent=15, interval_minimum=500)
    leaks = 0
    for tables, facts in overlapping():
        frame = contributions(facts, ("district", "service"))
        both = link(tables, frame)
        found = needs(both, policy)
        told = np.zeros(len(both), bool)
        for table in tables:
            alone = link([table], frame)
            own = protect(alone, policy)
            assert own.proven
            places = cells_of(both, table)
            told |= flags(
                both, (places[codes] for codes, cell in cells_of(alone, table).items() if not own.hidden[cell])
            )
        leaks += len(failures(both, found, ~told)[0])
        together = protect(both, policy)
        assert together.proven
        assert failures(both, found, together.hidden) == ([], [])
    assert leaks > 3
