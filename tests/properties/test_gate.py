"""What holds for all facts that go through the gate: random tables of families and amounts, twice over."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from linker.disclosure.facts import FactFrame
from linker.disclosure.release import CellStatus, Release
from tests.unit import gate_fixtures as g

A, B = g.axis("a", ["a1", "a2", "a3"], subtotals={"a12": ("a1", "a2")}), g.axis("b", ["b1", "b2"])
TABLES = [g.table("families", [A, B], g.FAMILIES), g.table("spending", [A], g.AMOUNT, g.MEAN)]
Row = tuple[int, str, str, int]


@dataclass(frozen=True)
class Facts:
    """Families: person, leaves, øre."""

    rows: tuple[Row, ...]

    def frames(self, order: Sequence[int] | None = None) -> list[FactFrame]:
        """Return the facts; `order` of rows, which numbers the families too."""
        places = range(len(self.rows)) if order is None else order
        rows = [(number, self.rows[place]) for number, place in enumerate(places)]
        members = {number: (row[0],) for number, row in rows}
        return [
            g.facts("families", ["a", "b"], ["families"], [(n, r[1], r[2], 1) for n, r in rows], members=members),
            g.facts(
                "spending", ["a"], ["amount_ore"], [(n, r[1], 1, r[3]) for n, r in rows], members=members, flow=True
            ),
        ]


def town(seed: int) -> Facts:
    """Return some families."""
    draw = random.Random(seed)  # noqa: S311 - a test repeats itself
    count = draw.randrange(10, 80)
    rows = [(n, draw.choice(A.categories), draw.choice(B.categories), draw.randrange(1, 10**6)) for n in range(count)]
    return Facts(tuple(rows))


def later(facts: Facts, seed: int) -> Facts:
    """Return the facts with some families gone, corrected or new."""
    draw = random.Random(seed)  # noqa: S311 - a test repeats itself
    kept = [row for row in facts.rows if draw.random() > 0.1]
    moved = [(*row[:3], draw.randrange(1, 10**6)) if draw.random() < 0.1 else row for row in kept]
    return Facts((*moved, *((1000 + row[0], *row[1:]) for row in town(seed).rows[: draw.randrange(9)])))


def tables(release: Release) -> list[Any]:
    """Return what a release shows."""
    return [(table.table_id, table.revision, table.cells) for table in release.tables]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_order_and_numbers_do_not_matter_in_one_release_nor_in_the_next(seed: int) -> None:
    first, second = town(seed), later(town(seed), seed + 1)
    draw = random.Random(seed)  # noqa: S311 - a test repeats itself
    orders = [draw.sample(range(len(each.rows)), len(each.rows)) for each in (first, second)]
    plain, shuffled = g.protect(TABLES, *first.frames()), g.protect(TABLES, *first.frames(orders[0]))
    assert tables(plain) == tables(shuffled)
    assert plain.release_id == shuffled.release_id
    if plain.tables:
        after = g.protect(TABLES, *second.frames(), history=[g.past(plain)])
        again = g.protect(TABLES, *second.frames(orders[1]), history=[g.past(shuffled)])
        assert tables(after) == tables(again)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6))
def test_higher_threshold_never_has_fewer_unsafe_cells(seed: int, threshold: int) -> None:
    low, high = (
        g.protect(TABLES, *town(seed).frames(), policy=g.with_rules(threshold=each, p_percent=None, dominance=()))
        for each in (threshold, threshold + 3)
    )
    for table_id in low.record.tables.keys() & high.record.tables.keys():
        assert low.record.tables[table_id].primary <= high.record.tables[table_id].primary


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_numbers_are_true_and_few_families_are_never_shown(seed: int) -> None:
    facts = town(seed)
    release = g.protect(TABLES, *facts.frames())
    for table in release.tables:
        for cell in table.cells:
            a = {"all": A.categories, **A.subtotals}.get(cell.categories[0], cell.categories[:1])
            b = B.categories if cell.categories[1:] in {(), ("all",)} else cell.categories[1:]
            rows = [row for row in facts.rows if row[1] in a and row[2] in b]
            amount = sum(row[3] for row in rows)
            true = {"families": len(rows), "amount": amount, "mean": round(amount / len(rows)) if rows else None}
            if cell.status is CellStatus.PUBLISHED:
                assert abs((cell.value or 0) - (true[cell.measure] or 0)) <= (cell.measure == "mean")
                assert not 0 < len(rows) < g.rules().threshold


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_current_number_is_no_few_families_change_from_an_earlier_one(seed: int) -> None:
    first, second = town(seed), later(town(seed), seed + 1)
    release = g.protect(TABLES, *first.frames())
    if not release.tables:
        return
    after = g.protect(TABLES, *second.frames(), history=[g.past(release)])
    for table in after.tables:
        if table.table_id != "families" or not any(each.table_id == "families" for each in release.tables):
            continue
        old, new = g.cells(release, "families"), g.cells(after, "families")
        for categories, cell in new.items():
            if cell.status is old[categories].status is CellStatus.PUBLISHED:
                a = {"all": A.categories, **A.subtotals}.get(categories[0], categories[:1])
                b = B.categories if categories[1] == "all" else categories[1:]
                was, now = ({row[0] for row in each.rows if row[1] in a and row[2] in b} for each in (first, second))
                assert not 0 < len(was ^ now) < g.rules().threshold


def test_stricter_policy_between_releases_does_not_give_the_earlier_number_away() -> None:
    facts = town(3)
    release = g.protect(TABLES, *facts.frames(), policy=g.with_rules(threshold=2, p_percent=None, dominance=()))
    fewer = replace(facts, rows=facts.rows[2:])
    after = g.protect(TABLES, *fewer.frames(), history=[g.past(release)])
    assert (after.record.failures, after.record.unchecked) == (0, 0)
