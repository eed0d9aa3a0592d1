"""What follows from shown numbers together: parts of a sum, and months that no table sums. By hand."""

from __future__ import annotations

from collections.abc import Mapping

from linker.disclosure.facts import FactFrame
from linker.disclosure.release import PastRelease, Release
from linker.tables.registered_table import PeriodType
from tests.unit import gate_fixtures as g

AXES = ["group", "department"]
DEPARTMENTS = ["SOF", "BIF", "BUF", "SUF"]
TO_DATE, BY_QUARTER = (
    g.table(name, [g.axis("group", ["target", "others"]), g.axis("department", DEPARTMENTS)], g.AMOUNT, period=period)
    for name, period in (("to_date", PeriodType.YEAR_TO_DATE), ("quarter", PeriodType.QUARTER))
)
Row = tuple[int, str, str, int, int]


def town(months: range, empty: Mapping[int, tuple[str, ...]], *more: Row) -> FactFrame:
    """Return 16 families that spend everywhere, but `empty`: departments where the target group does not, by month."""
    rows: list[Row] = [
        (family, group, department, month, 300_000 + 1_000 * family + month)
        for family, group in enumerate(["target"] * 8 + ["others"] * 8)
        for month in months
        for department in DEPARTMENTS
        if group == "others" or department not in empty.get(month, ())
    ]
    return g.facts("spending", AXES, ["amount_ore"], [*rows, *more], flow=True)


def left(release: Release, table_id: str, departments: list[str]) -> int | None:
    """Return what the target group's total less these departments is; None where one of the numbers is hidden."""
    found = g.shown(release, table_id, "amount")
    parts = [found["target", name] for name in ("all", *departments)]
    return (
        None
        if None in parts or g.cells(release, table_id, "amount")["target", "all"].revision
        else (parts[0] - sum(parts[1:]))
    )


def test_one_familys_spending_in_two_departments_does_not_follow_from_the_total() -> None:
    empty = {1: ("BIF", "BUF")}
    facts = town(range(1, 2), empty, (0, "target", "BIF", 1, 310_000), (0, "target", "BUF", 1, 410_000))
    release = g.protect(TO_DATE, facts, policy=g.POLICY, through_month=1)
    assert release.tables
    assert left(release, "to_date", ["SOF", "SUF"]) is None


def test_many_families_spending_in_two_unsafe_departments_may_follow() -> None:
    """Each department has three families, the two together six: nobody is known by the sum."""
    empty = {1: ("BIF", "BUF")}
    few = [(family, "target", "BIF" if family < 3 else "BUF", 1, 200_000) for family in range(6)]
    release = g.protect(TO_DATE, town(range(1, 2), empty, *few), policy=g.POLICY, through_month=1)
    assert left(release, "to_date", ["SOF", "SUF"]) == 6 * 200_000


def test_one_familys_change_in_two_departments_does_not_follow_from_the_total() -> None:
    first = g.protect(TO_DATE, town(range(1, 2), {}), policy=g.POLICY, through_month=1)
    more = [(family, "target", "SOF", 1, 1_000_000) for family in range(8)]
    changed = town(range(1, 2), {}, *more, (0, "target", "BIF", 1, 310_000), (0, "target", "BUF", 1, 410_000))
    second = g.protect(TO_DATE, changed, policy=g.POLICY, through_month=1, history=[g.past(first)])
    assert second.tables
    now = g.cells(second, "to_date", "amount")
    shown = [not now["target", name].revision for name in ("all", "SOF", "SUF")]
    assert not all(shown)


def test_first_quarter_does_not_follow_from_half_a_year_and_the_second_quarter() -> None:
    """No earlier release showed it, and no table sums it: one family spent in it."""
    empty = dict.fromkeys((1, 2, 3), ("BIF",))
    facts = town(range(1, 7), empty, (0, "target", "BIF", 2, 412_345))
    release = g.protect([TO_DATE, BY_QUARTER], facts, policy=g.POLICY, through_month=6)
    found = [g.shown(release, name, "amount")["target", "BIF"] for name in ("to_date", "quarter")]
    assert release.tables
    assert None in found


def test_two_months_do_not_follow_from_an_earlier_release_and_a_quarter() -> None:
    """May showed January to May; June shows January to June, and the second quarter: so April and May follow."""
    empty = dict.fromkeys((4, 5), ("BIF",))
    one = (0, "target", "BIF", 4, 412_345)
    may = g.protect([TO_DATE], town(range(1, 6), empty, one), policy=g.POLICY, through_month=5)
    june = g.protect(
        [TO_DATE, BY_QUARTER],
        town(range(1, 7), empty, one),
        policy=g.POLICY,
        through_month=6,
        history=[g.past(may)],
    )
    earlier = g.shown(may, "to_date", "amount")["target", "BIF"]
    found = [g.shown(june, name, "amount")["target", "BIF"] for name in ("to_date", "quarter")]
    assert june.tables
    assert None in [earlier, *found]


def test_run_of_fewer_months_than_were_released_is_no_matter_of_the_later_ones() -> None:
    """After the whole year, and September, June again: the same facts stand, others are released."""
    empty = dict.fromkeys((7, 8, 9), ("BIF",))
    facts = town(range(1, 13), empty, (0, "target", "BIF", 8, 412_345))
    history: list[PastRelease] = []
    for month in (12, 3, 6, 9):
        history.append(
            g.past(g.protect([TO_DATE, BY_QUARTER], facts, policy=g.POLICY, through_month=month, history=history))
        )
    again = g.protect([TO_DATE, BY_QUARTER], facts, policy=g.POLICY, through_month=6, history=history)
    assert all(each.outcome.startswith("unchanged: ") for each in again.outcomes)
    late = town(range(1, 13), empty, *((family, "others", "SUF", 6, 77_000) for family in range(8, 16)))
    later = g.protect([TO_DATE, BY_QUARTER], late, policy=g.POLICY, through_month=6, history=history)
    assert all(each.outcome.startswith("released: ") for each in later.outcomes)
