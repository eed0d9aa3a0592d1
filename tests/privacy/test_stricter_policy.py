"""Is a number that a stricter policy would not have shown shown again, because an older one once did?"""

from __future__ import annotations

from typing import Any

import pytest

from linker.disclosure.facts import FactFrame
from linker.disclosure.policy import Policy
from linker.disclosure.release import CellStatus, Release
from tests.unit import gate_fixtures as g

TABLE = g.table("t", [g.axis("place", ["north", "south", "west", "east"])], g.FAMILIES)


def families(south: int, west: int) -> FactFrame:
    return g.families(["place"], {("north",): 30, ("south",): south, ("west",): west, ("east",): 40})


def again(policy: Policy, first: Release) -> Release:
    """Release what few changed."""
    return g.protect(TABLE, families(7, 13), history=[g.past(first)], policy=policy)


def carried(release: Release) -> dict[tuple[str, ...], Any]:
    return {cell.categories: cell.value for cell in g.cells(release).values() if cell.status is CellStatus.CARRIED}


def hidden(release: Release) -> set[tuple[str, ...]]:
    return {cell.categories for cell in g.cells(release).values() if cell.status is CellStatus.SUPPRESSED}


@pytest.mark.parametrize("numbers", [{"threshold": 10}, {"interval_percent": 6}, {"dominance": ((1, 50),)}])
def test_what_an_older_looser_policy_showed_is_not_carried(numbers: dict[str, Any]) -> None:
    policy = g.with_rules(p_percent=None, interval_minimum=100, **{"dominance": (), **numbers})
    first = g.protect(TABLE, families(6, 12))
    assert g.shown(first)["south",] == 6
    later = again(policy, first)
    assert ("south",) in hidden(later)
    assert carried(later) == {}
    third = g.protect(TABLE, families(7, 14), history=[g.past(first), g.past(later)], policy=policy)
    assert not third.tables or 6 not in g.shown(third).values()  # nor later on


@pytest.mark.parametrize("numbers", [{}, {"threshold": 4}, {"interval_percent": 4}])
def test_the_control_under_the_same_policy_or_a_looser_one_it_is(numbers: dict[str, Any]) -> None:
    first = g.protect(TABLE, families(6, 12))
    policy = g.with_rules(p_percent=None, interval_minimum=100, **{"dominance": (), **numbers})
    later = g.protect(
        [TABLE, g.table("other", [g.axis("place", ["north", "south", "west", "east"])], g.FAMILIES)],
        families(7, 40),
        history=[g.past(first)],
        policy=policy,
    )
    assert carried(later)["south",] == 6
