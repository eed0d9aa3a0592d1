"""The gate from release to release, on facts made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

import pytest

from linker.disclosure import basis
from linker.disclosure.facts import FactFrame
from linker.disclosure.release import CellStatus, Release
from linker.tables.registered_table import PeriodType
from tests.unit import gate_fixtures as g

ROWS, COLUMNS = g.axis("row", ["x", "y", "z"]), g.axis("column", ["p", "q"])
TABLE = g.table("t", [ROWS, COLUMNS], g.FAMILIES)
SIZES = {("x", "p"): 10, ("x", "q"): 8, ("y", "p"): 17, ("y", "q"): 19, ("z", "p"): 20, ("z", "q"): 11}
START = [(leaf, n) for leaf, size in SIZES.items() for n in range(size)]
Families = Mapping[tuple[int, ...], tuple[str, str]]  # persons → leaf


def town(
    added: Mapping[tuple[str, str], int] = {}, removed: Sequence[int] = ()
) -> dict[tuple[int, ...], tuple[str, str]]:
    """Return families of two persons each; `added` in leaves, `removed` by number."""
    places = [leaf for leaf, _ in START] + [leaf for leaf, size in added.items() for _ in range(size)]
    return {(2 * n, 2 * n + 1): leaf for n, leaf in enumerate(places) if n not in removed}


def frame(families: Families, first: int = 0) -> FactFrame:
    """Return a row a family, numbered from `first`."""
    rows = [(first + n, *leaf, 1) for n, leaf in enumerate(families.values())]
    members = {first + n: persons for n, persons in enumerate(families)}
    return g.facts("families", ["row", "column"], ["families"], rows, members=members)


def statuses(release: Release) -> dict[tuple[str, ...], CellStatus]:
    """Return the status of every cell."""
    return {categories: cell.status for categories, cell in g.cells(release).items()}


FIRST = g.protect(TABLE, frame(town()))
HISTORY = [g.past(FIRST)]


def test_outcome_says_how_much_of_a_table_is_shown() -> None:
    assert g.outcome(FIRST) == "released: 12 of 12 numbers shown"
    again = g.protect(TABLE, frame(town({("x", "p"): 2, ("y", "q"): 6})), history=HISTORY)
    assert g.outcome(again) == "released: 8 of 12 numbers shown, 4 carried"


def test_unchanged_table_stands() -> None:
    again = g.protect(TABLE, frame(town(), first=500), history=HISTORY)
    assert again.tables == ()
    assert g.outcome(again) == "unchanged: it says the same as revision 1, which stays in service"


@pytest.mark.parametrize(("count", "carried"), [(1, True), (4, True), (5, False), (9, False)])
def test_change_of_fewer_families_than_the_threshold_is_carried(count: int, carried: bool) -> None:
    later = g.protect(TABLE, frame(town({("x", "p"): count, ("y", "q"): 6, ("z", "q"): 7})), history=HISTORY)
    cell = g.cells(later)["x", "p"]
    assert (cell.status is CellStatus.CARRIED) == carried
    assert cell.value == (10 if carried else 10 + count)
    assert cell.revision == (1 if carried else 0)
    assert g.released(later).revision == 2


def test_what_is_carried_tells_nothing_with_what_is_shown() -> None:
    later = g.protect(TABLE, frame(town({("x", "p"): 1, ("y", "q"): 6, ("z", "q"): 7})), history=HISTORY)
    hidden = {cell for cell, status in statuses(later).items() if status is not CellStatus.PUBLISHED}
    for cell in hidden - {("all", "all")}:  # nothing hidden stands alone in its row or column
        row, column = cell
        assert len([each for each in hidden if each[0] == row or each[1] == column]) > 1


def test_families_that_come_and_go_are_changes_of_both() -> None:
    """Three leave and three come: the number is the same, six families changed it."""
    later = g.protect(TABLE, frame(town({("x", "p"): 3, ("y", "q"): 9}, removed=[0, 1, 2])), history=HISTORY)
    assert g.cells(later)["x", "p"].status is CellStatus.PUBLISHED
    assert g.cells(later)["x", "p"].value == 10


def test_family_that_splits_is_one() -> None:
    """Six families become twelve in another leaf; and five that are linked by one person are one family."""
    whole = town()
    split = {persons: leaf for persons, leaf in whole.items() if persons[0] > 4}
    joined = {(0, 2, 4): ("x", "p"), (1,): ("x", "q"), (3,): ("x", "q"), (5,): ("x", "q")}  # of three families
    more = town({("z", "p"): 9, ("z", "q"): 8, ("y", "p"): 9, ("y", "q"): 8})
    added = {persons: leaf for persons, leaf in more.items() if persons not in whole}
    later = g.protect(TABLE, frame({**joined, **split, **added}), history=HISTORY)
    assert g.cells(later)["x", "q"].status is CellStatus.CARRIED  # 3 families more, of one component


def test_renumbered_families_have_not_changed() -> None:
    shuffled = dict(reversed(list(town().items())))
    assert g.protect(TABLE, frame(shuffled, first=9000), history=HISTORY).tables == ()


def test_person_with_a_new_number_keeps_the_family_by_its_other_numbers() -> None:
    renamed = {((9000 + persons[0], *persons) if persons[0] < 8 else persons): leaf for persons, leaf in town().items()}
    assert g.protect(TABLE, frame(renamed), history=HISTORY).tables == ()


def test_all_earlier_releases_are_compared() -> None:
    """Four families in February and four in March are eight since January, but four since February."""
    grown = {("x", "p"): 6, ("y", "q"): 6, ("z", "p"): 6}
    second = g.protect(TABLE, frame(town(grown)), history=HISTORY)
    assert g.cells(second)["x", "p"].value == 16
    third = g.protect(TABLE, frame(town({**grown, ("x", "q"): 4})), history=[*HISTORY, g.past(second)])
    assert not third.tables or g.cells(third)["x", "q"].value == 8
    back = g.protect(TABLE, frame(town({**grown, ("x", "q"): 2}, removed=range(8))), history=[*HISTORY, g.past(second)])
    assert g.cells(back)["x", "q"].status is not CellStatus.PUBLISHED


def test_cell_stays_carried_until_enough_families_changed_it() -> None:
    history = list(HISTORY)
    seen = []
    for extra in (2, 4, 6):
        others = {("y", "p"): 3 * extra, ("y", "q"): 3 * extra, ("z", "p"): 3 * extra, ("z", "q"): 3 * extra}
        release = g.protect(TABLE, frame({**town(others), **newcomers(extra)}), history=history)
        history.append(g.past(release))
        cell = g.cells(release)["x", "p"]
        seen.append((cell.status, cell.value, cell.revision))
    assert seen == [
        (CellStatus.CARRIED, 10, 1),
        (CellStatus.CARRIED, 10, 1),
        (CellStatus.PUBLISHED, 16, 0),
    ]


def newcomers(count: int) -> dict[tuple[int, ...], tuple[str, str]]:
    """Return new families in one leaf."""
    return {(100_000 + n,): ("x", "p") for n in range(count)}


def test_what_was_hidden_and_has_not_changed_stays_hidden() -> None:
    """With ("y", "p") now, its column's total from before would tell the few families in the column."""
    few = {persons: leaf for persons, leaf in town().items() if leaf != ("x", "q") or persons[0] < 26}
    first = g.protect(TABLE, frame(few))
    hidden = {cell for cell, status in statuses(first).items() if status is CellStatus.SUPPRESSED}
    assert ("x", "q") in hidden
    unchanged = [cell for cell in hidden if cell[0] != "z" and "all" not in cell and cell != ("x", "q")]
    assert unchanged
    more = {**few, (9001,): ("z", "p"), (9002,): ("z", "q")}
    later = g.protect(TABLE, frame(more), history=[g.past(first)])
    assert not later.tables or all(statuses(later)[cell] is CellStatus.SUPPRESSED for cell in unchanged)


def test_dominated_change_of_an_amount_is_carried() -> None:
    table = g.table("t", [g.axis("row", ["x", "y", "z"])], g.AMOUNT)
    rows = [(n, "xyz"[n % 3], 1, 100_000 + n) for n in range(90)]
    raised = [(n, leaf, month, amount + (20_000 if n == 0 else 10)) for n, leaf, month, amount in rows]
    policy = g.with_rules(interval_minimum=100)

    def spending(of: Sequence[tuple[int, str, int, int]]) -> FactFrame:
        return g.facts("spending", ["row"], ["amount_ore"], of, flow=True)

    first = g.protect(table, spending(rows), policy=policy)
    assert None not in g.shown(first, measure="amount").values()
    later = g.protect(table, spending(raised), policy=policy, history=[g.past(first)])
    cells = g.cells(later, measure="amount")
    assert cells["x",].status is CellStatus.CARRIED
    assert sum(cell.status is CellStatus.PUBLISHED for cell in cells.values()) == 2


TO_DATE = g.table("to_date", [g.axis("row", ["x", "y"])], g.AMOUNT, period=PeriodType.YEAR_TO_DATE)


def monthly(late: Mapping[int, int]) -> FactFrame:
    """Return spending of 40 families from January on, and of 2 of them in `late`: month → øre."""
    rows = [(n, "xy"[n % 2], 1, 100_000 + n) for n in range(40)]
    rows += [(n, "x", month, amount) for month, amount in late.items() for n in (0, 2)]
    return g.facts("spending", ["row"], ["amount_ore"], rows, flow=True)


def test_to_date_table_does_not_tell_what_few_families_got_last_month() -> None:
    first = g.protect(TO_DATE, monthly({}), through_month=1)
    second = g.protect(TO_DATE, monthly({2: 70_000}), through_month=2, history=[g.past(first)])
    cells = g.cells(second, "to_date", "amount")
    assert cells["y",].status is CellStatus.PUBLISHED
    assert cells["x",].status is CellStatus.SUPPRESSED  # another period: there is nothing to carry
    assert cells["all",].status is CellStatus.SUPPRESSED


def test_quarter_does_not_tell_months_that_a_release_before_gave() -> None:
    """January to March is shown; with April to June and January to June, nothing more may be told of it."""
    quarter = g.table("quarter", [g.axis("row", ["x", "y"])], g.AMOUNT, period=PeriodType.QUARTER)
    rows = [(n, "xy"[n % 2], month, 100_000 + n) for n in range(40) for month in (1, 4)]
    corrected = [*rows, (0, "x", 2, 30_000)]

    def spending(of: Sequence[tuple[int, str, int, int]]) -> FactFrame:
        return g.facts("spending", ["row"], ["amount_ore"], of, flow=True)

    first = g.protect([TO_DATE, quarter], spending(rows), through_month=3)
    later = g.protect([TO_DATE, quarter], spending(corrected), through_month=6, history=[g.past(first)])
    to_date, by_quarter = (g.shown(later, name, "amount") for name in ("to_date", "quarter"))
    for row in ("x", "all"):  # January to June less April to June is January to March, which one family changed
        assert to_date[row,] is None or by_quarter[row,] is None
    assert to_date["y",] is not None


def test_stock_is_compared_with_other_years() -> None:
    later = g.protect(
        TABLE,
        frame(town({("x", "p"): 2, ("y", "q"): 6, ("z", "q"): 7})),
        history=HISTORY,
        year=2015,
        reference_date=date(2016, 1, 1),
    )
    assert g.cells(later)["x", "p"].status is CellStatus.SUPPRESSED  # 2014's number is 2014's
    assert g.released(later).revision == 1


def test_axis_about_the_period_is_not_compared_with_other_years() -> None:
    table = g.table("t", [ROWS, g.axis("column", ["p", "q"], of_period=True)], g.FAMILIES)
    first = g.protect(table, frame(town()))
    moved = {persons: (leaf[0], "p" if persons[0] in {36, 38} else leaf[1]) for persons, leaf in town().items()}
    same_year = g.protect(table, frame(moved), history=[g.past(first)])
    next_year = g.protect(table, frame(moved), history=[g.past(first)], year=2015)
    assert (
        same_year.tables == ()
        or None in g.shown(same_year).values()
        or "carried" in {cell.status for cell in g.released(same_year).cells}
    )
    assert {cell.status for cell in g.released(next_year).cells} == {CellStatus.PUBLISHED}


def test_combination_that_few_families_changed_is_not_given_away() -> None:
    """Every count changed for many, but adults less families only for two."""
    counts = tuple(g.Measure(name, name, g.Unit.COUNT, name, None) for name in ("adults", "families"))
    table = g.table("t", [g.axis("row", ["x", "y"])], *counts)
    rows = [(n, "xy"[n % 2], 1 + n // 40, 1) for n in range(80)]
    new = [(100 + n, "xy"[n % 2], 2 if n < 2 else 1, 1) for n in range(20)]

    def people(of: Sequence[tuple[int, str, int, int]]) -> FactFrame:
        return g.facts("f", ["row"], ["adults", "families"], of)

    first = g.protect(table, people(rows))
    later = g.protect(table, people(rows + new), history=[g.past(first)])
    for row in ("x", "all"):
        statuses_ = {g.cells(later, measure=name)[row,].status for name in ("adults", "families")}
        assert CellStatus.CARRIED in statuses_


def test_basis_reads_back() -> None:
    read = basis.read(FIRST.basis)
    assert basis.write(read) == FIRST.basis
    assert read.year == 2014
    assert all(not up.any() for up in read.up.values())
