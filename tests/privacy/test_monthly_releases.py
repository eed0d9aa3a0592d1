"""Does the same year, released every month, tell what few families changed? Zero of N, and the controls must fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from linker.disclosure.release import CellStatus
from tests import monthly_releases as m
from tests.stacked_attacker import Change, StackedAttacker, changes
from tests.unit import gate_fixtures as g

SHARE, WORST_CARRIED = 0.01, 0.7
RULES = g.rules(m.POLICY)
COLUMNS = {"spending": "amount_ore", "families": "families"}
BY_PROGRAMS = 60  # changes whose range is found by linear programs as well; arithmetic is tried on all


def attackers(months: Sequence[m.Month], *, supposes: bool = False) -> Iterator[tuple[StackedAttacker, list[Change]]]:
    """Return, for each table, who solves all its releases, and the changes that few families made."""
    for table_id, column in COLUMNS.items():
        facts = [next(each for each in month.facts if each.name == table_id) for month in months]
        tables = [next((t for t in month.release.tables if t.table_id == table_id), None) for month in months]
        yield StackedAttacker(facts, tables, column, supposes=supposes), list(changes(facts, column, RULES.threshold))


def wide_enough(attacker: StackedAttacker, change: Change) -> bool:
    """Say whether the attacker's range leaves the change as uncertain as the policy says."""
    low, high = attacker.range(change)
    if not attacker.counted:
        need = max(
            change.largest * (RULES.p_percent or 0) / 100,
            abs(change.value) * RULES.interval_percent / 100,
            RULES.interval_minimum,
        )
        return low <= change.value - need and high >= change.value + need
    if change.value > 0:
        return low <= 0 and high >= max(RULES.threshold, change.value + 1)
    return high >= 0 and high - low >= 1


def attack(months: Sequence[m.Month]) -> tuple[int, int, int]:
    """Return how many changes were attacked, recovered exactly, and known too well."""
    attacked = recovered = narrow = 0
    for attacker, protected in attackers(months):
        attacked += len(protected)
        recovered += len(attacker.recovers(protected))
        narrow += sum(not wide_enough(attacker, each) for each in protected[:: 1 + len(protected) // BY_PROGRAMS])
    return attacked, recovered, narrow


def test_no_change_of_few_families_is_recovered_from_all_releases(capsys: pytest.CaptureFixture[str]) -> None:
    months = list(m.months(m.SMALL, count=4, share=SHARE, seed=1))
    assert all((each.release.record.failures, each.release.record.unchecked) == (0, 0) for each in months)
    attacked, recovered, narrow = attack(months)
    with capsys.disabled():
        print(f"\nstacked attacker: {recovered + narrow} of {attacked} changes", end="")  # noqa: T201
    assert attacked > 100
    assert recovered == narrow == 0


def test_control_release_by_release_gives_changes_away() -> None:
    attacked, recovered, _ = attack(list(m.months(m.SMALL, count=3, share=SHARE, seed=1, alone=True)))
    assert recovered > attacked / 10


@pytest.mark.slow
def test_year_released_every_month_stays_current_and_tells_no_change(capsys: pytest.CaptureFixture[str]) -> None:
    months = list(m.months(m.FULL, count=12, share=SHARE, seed=1))
    assert all((each.release.record.failures, each.release.record.unchecked) == (0, 0) for each in months)
    shares = [each.share(CellStatus.CARRIED) for each in months]
    assert max(shares) <= WORST_CARRIED
    for month in months:
        assert month.departments_current() == 1
    attacked, recovered, narrow = attack(months)
    with capsys.disabled():
        carried = " ".join(f"{share:.2f}" for share in shares)
        print(f"\nstacked attacker: {recovered + narrow} of {attacked} changes; carried {carried}", end="")  # noqa: T201
    assert recovered == narrow == 0
