"""Once what releases were made of is erased, can a later release still be compared with what they showed?

No: so none is made. The controls release all the same, as if nothing had been shown before, and lose to subtraction.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from linker.disclosure.closing import ClosedYearError
from linker.disclosure.facts import FactFrame
from linker.disclosure.release import CellStatus, PastRelease, Release
from linker.tables.registered_table import PeriodType
from tests.unit import gate_fixtures as g

TABLE = g.table("t", [g.axis("service", ["daycare", "school", "benefit"])], g.AMOUNT)
OTHER = g.table(
    "other", [g.axis("service", ["daycare", "school", "benefit"])], g.AMOUNT, period=PeriodType.YEAR_TO_DATE
)
PLACES = g.table("t", [g.axis("place", ["north", "south", "west"])], g.FAMILIES)
ONE, CHANGE = 3, 7_000_000


def spending(changed: bool) -> FactFrame:
    """Return 40 families' spending; one of them has got more."""
    rows = [
        (family, service, 1, 1_000_000 + (CHANGE if changed and (family, service) == (ONE, "school") else 0))
        for family in range(40)
        for service in ("daycare", "school", "benefit")
    ]
    return g.facts("spending", ["service"], ["amount_ore"], rows, flow=True)


def families(south: int) -> FactFrame:
    return g.families(["place"], {("north",): 30, ("south",): south, ("west",): 20})


def erased(release: Release) -> PastRelease:
    return replace(g.past(release), basis=None)


def numbers(release: Release, measure: str) -> dict[tuple[str, ...], int]:
    """Return what a release tells of now; nothing where all of it stands."""
    if not release.tables:
        return {}
    cells = g.cells(release, measure=measure).values()
    return {cell.categories: cell.value for cell in cells if cell.status is CellStatus.PUBLISHED}  # type: ignore[misc]


def differences(first: Release, second: Release, measure: str) -> set[int]:
    """Return what subtraction finds."""
    before, after = numbers(first, measure), numbers(second, measure)
    return {after[place] - before[place] for place in before.keys() & after.keys()} - {0}


def test_one_familys_change_follows_from_two_releases_unless_they_are_compared() -> None:
    first = g.protect(TABLE, spending(changed=False))
    later = spending(changed=True)
    compared = g.protect(TABLE, later, history=[g.past(first)])
    assert differences(first, compared, "amount") == set()
    with pytest.raises(ClosedYearError, match="2014 is closed: what its releases were made of is erased"):
        g.protect(TABLE, later, history=[erased(first)])
    unaware = g.protect(TABLE, later)  # the control: the release is forgotten with its basis
    assert differences(first, unaware, "amount") == {CHANGE}


def test_one_of_several_erased_bases_closes_the_year() -> None:
    first = g.protect(TABLE, spending(changed=False))
    second = g.protect([TABLE, OTHER], spending(changed=False), history=[g.past(first)])
    assert [table.table_id for table in second.tables] == ["other"]
    for history in ([erased(first), g.past(second)], [g.past(first), erased(second)]):
        with pytest.raises(ClosedYearError):
            g.protect(TABLE, spending(changed=False), history=history)


def released(year: int, south: int, history: list[PastRelease]) -> Release:
    return g.protect(PLACES, families(south), history=history, year=year, reference_date=date(year + 1, 1, 1))


@pytest.mark.parametrize("year", [2015, 2016, 2013, 2012])
def test_families_of_a_near_year_are_not_released_either(year: int) -> None:
    first = released(2014, 9, [])
    assert differences(first, released(year, 10, [g.past(first)]), "families") == set()
    with pytest.raises(ClosedYearError, match=f"{year} is closed: what the releases of 2014 were made of is erased"):
        released(year, 10, [erased(first)])
    assert differences(first, released(year, 10, []), "families") == {1}  # the control


def test_nor_families_of_a_near_reference_date_under_a_far_year() -> None:
    """The year of a run says which spending; its reference date which families."""
    first = released(2014, 9, [])

    def again(history: list[PastRelease]) -> Release:
        return g.protect(PLACES, families(10), history=history, year=2019, reference_date=date(2015, 2, 1))

    assert differences(first, again([g.past(first)]), "families") == set()
    with pytest.raises(ClosedYearError, match=r"2019 is closed: what the releases of 2014 .* on 2015-01-01"):
        again([erased(first)])
    assert differences(first, again([]), "families") == {1}  # the control


def test_the_limit_of_it_families_of_a_year_far_from_an_erased_one_are_not_compared() -> None:
    """Who knows that nobody else came or went in three years and more learns that one did."""
    first = released(2014, 9, [])
    far = released(2019, 10, [erased(first)])
    assert differences(first, far, "families") == {1}
    assert differences(first, released(2019, 10, [g.past(first)]), "families") == set()
