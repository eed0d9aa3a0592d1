"""Two consumers join: one has the family table's rows, the other the ordinary tables. Do they learn a hidden amount?

The rows here are worse than any that are served: every family's spending by department in its band, with nothing
hidden. Where `joined` finds nothing, the attacker, who adds up rows by itself, must win nothing; in some towns, and
with narrow bands, it wins, and `joined` must object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations

import polars as pl
import pytest

from linker.disclosure import basis as bases
from linker.disclosure.family_table.columns import FAMILY, TOTAL, Bands
from linker.disclosure.family_table.joined import joined
from linker.disclosure.family_table.reach import Rows
from linker.disclosure.gate import known_by
from linker.disclosure.protection import Protected
from linker.disclosure.release import Release
from tests.privacy import towns as t
from tests.privacy.protected_cells import Run, Secret, changes, secrets
from tests.privacy.public_knowledge import Statement, World, months, region, worlds
from tests.privacy.release_attackers import BoundsAttacker, DifferencingAttacker

DEPARTMENTS = ("SOF", "BIF", "BUF", "SUF", "KFF")
TABLES = [each for each in t.REGISTRY if each.table_id in ("spending_per_family", "spending_to_date")]
BANDS = {
    "shipped": t.POLICY.family_table.bands_ore,
    "narrow": (1, *(round(1_000_000 * 1.05**n) for n in range(130))),
}
Limits = dict[str, list[tuple[float, float]]]


def amounts(families: Sequence[t.Family]) -> list[dict[str, int]]:
    """Return what is spent on each family: by department, and in all."""
    found = []
    for family in families:
        of_each = {code: sum(each[4] for each in family.spent if each[1] == code) for code in DEPARTMENTS}
        found.append(
            {FAMILY: family.number, TOTAL: sum(of_each.values())} | {f"{TOTAL}_{c}": n for c, n in of_each.items()}
        )
    return found


def rows(families: Sequence[t.Family], now: Sequence[t.Family], starts: tuple[int, ...]) -> Rows:
    """Return the rows of families, and what others, who may be the same, have now."""
    bands = Bands(starts)
    names = [TOTAL, *(f"{TOTAL}_{code}" for code in DEPARTMENTS)]
    coded = pl.DataFrame(amounts(families)).select(bands.label(pl.col(name)).alias(name) for name in names)
    return Rows(coded, pl.DataFrame(amounts(now)).select(FAMILY, *names), bands, 100_000)


def sums(families: Sequence[t.Family], starts: tuple[int, ...]) -> Iterator[Statement]:
    """Yield what adding up rows tells of each set of departments."""

    def limits(amount: int) -> tuple[float, float]:
        below = [start for start in starts if start <= amount]
        above = [start for start in starts if start > amount]
        return (below[-1] if below else 0, above[0] - 1 if below and above else float("inf") if below else 0)

    found = [{name: limits(n) for name, n in row.items() if name != FAMILY} for row in amounts(families)]
    for size in range(1, len(DEPARTMENTS) + 1):
        for those in combinations(DEPARTMENTS, size):
            low, high = 0.0, 0.0
            for row in found:
                inside = [row[f"{TOTAL}_{code}"] for code in those]
                outside = [row[f"{TOTAL}_{code}"] for code in DEPARTMENTS if code not in those]
                low += max(sum(each[0] for each in inside), row[TOTAL][0] - sum(each[1] for each in outside))
                high += min(sum(each[1] for each in inside), row[TOTAL][1] - sum(each[0] for each in outside))
            terms = {("amount_ore", region({"department": [code], "month": months("2014")})): 1 for code in those}
            yield Statement(terms, int(low), None if high == float("inf") else int(high))


def told(run: Run, release: Release, *more: Statement) -> World:
    columns = t.public_columns(run)
    registry = {table.table_id: table for table, _ in run.tables}
    [found] = worlds([release.tables], columns, registry, t.common_sense(columns))
    return found.told(*more)


def hidden_amounts(run: Run) -> list[Secret]:
    return [each for each in secrets(run, t.PROTECTION) if each.terms[0][0][0] == "amount_ore"]


@cache
def released(seed: int) -> tuple[list[t.Family], Run, Release]:
    families = t.municipality(seed)
    facts = t.facts(families)
    return families, t.run_of(facts, TABLES), t.protect(facts, TABLES)


def proof(release: Release) -> Protected:
    assert release.proof is not None
    return release.proof


WIN = {1: False, 2: True}
"""Towns, and whether rows in the shipped bands tell of what is hidden there: not of departments, but of areas."""


@pytest.mark.parametrize("seed", WIN)
def test_who_has_rows_and_tables_wins_only_where_it_is_objected_to(
    seed: int, record_property: Callable[[str, object], None]
) -> None:
    families, run, release = released(seed)
    unproven = joined(proof(release), rows(families, families, BANDS["shipped"]))[1]
    outcome = BoundsAttacker().attack(told(run, release, *sums(families, BANDS["shipped"])), hidden_amounts(run))
    record_property("outcome", str(outcome))
    assert outcome.attacked > 30
    assert (outcome.won() > 0, unproven != []) == (WIN[seed], WIN[seed])


def test_the_control_narrow_bands_are_objected_to_and_win() -> None:
    families, run, release = released(1)
    unproven = joined(proof(release), rows(families, families, BANDS["narrow"]))[1]
    assert unproven
    found = hidden_amounts(run)
    assert BoundsAttacker().attack(told(run, release), found).won() == 0
    assert BoundsAttacker().attack(told(run, release, *sums(families, BANDS["narrow"])), found).won() > 0


def test_rows_tell_of_the_other_departments_where_one_is_in_no_table_any_more() -> None:
    """It has been closed since, and the registry has it no longer."""
    families, _, release = released(1)
    found = rows(families, families, BANDS["narrow"])
    old = f"{TOTAL}_OLD"
    coded = found.coded.with_columns(found.bands.label(pl.lit(0)).alias(old))
    more = replace(found, coded=coded, amounts=found.amounts.with_columns(pl.lit(0).alias(old)))
    assert joined(proof(release), more)[1] == joined(proof(release), found)[1] != []


def later(seed: int, *, narrowed: bool) -> tuple[int, int]:
    """Return how many changes who has rows of the first of two releases attacks, and how many it wins."""
    families, run, first = released(seed)
    proven = joined(proof(first), rows(families, families, BANDS["shipped"]))[0]
    now = t.changed(families, seed, 0.05)
    facts = t.facts(now)
    after = t.run_of(facts, TABLES)
    second = t.protect(facts, TABLES, history=[known_by(first, proven) if narrowed else first])
    columns = t.public_columns(run)
    registry = {table.table_id: table for table, _ in run.tables}
    before, since = worlds([first.tables, second.tables], columns, registry, t.common_sense(columns))
    found = [each for each in changes(run, after, t.PROTECTION) if each.terms[0][0][0] == "amount_ore"]
    attacker = DifferencingAttacker([before.told(*sums(families, BANDS["shipped"])), since])
    outcome = attacker.attack({(0, 1): found})
    return outcome.attacked, outcome.won()


def test_what_rows_tell_is_what_later_releases_are_compared_with() -> None:
    families, _, first = released(1)
    narrowed = known_by(first, joined(proof(first), rows(families, families, BANDS["shipped"]))[0])
    before, after = bases.read(first.basis), bases.read(narrowed.basis)
    assert narrowed.tables == first.tables
    [to_date] = [view.name for view in after.views if view.table_id == "spending_to_date"]
    assert after.up[to_date].sum() < before.up[to_date].sum()
    assert ((after.up[to_date] > 0) == (before.up[to_date] > 0)).all()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 5])
def test_a_later_release_is_compared_with_what_the_rows_told_of_the_first(seed: int) -> None:
    attacked, won = later(seed, narrowed=True)
    assert attacked > 30
    assert won == 0
