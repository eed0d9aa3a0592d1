"""What holds for every release, against a slow and obvious second implementation of the rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from linker.disclosure.release import Release
from linker.disclosure.table_input import TableInput
from linker.tables.registry import RegisteredTable, Unit
from tests.unit import gate_fixtures as g

A, B = ("a1", "a2", "a3"), ("b1", "b2")
AXES = (
    g.axis("a", A, {"a2": "a2+a3", "a3": "a2+a3"}, g.dropped(A), subtotals={"a1 alone": ("a1",)}),
    g.axis("b", B, g.dropped(B)),
)
COUNT = g.table("t", AXES, g.FAMILIES, g.SHARE)
AMOUNT = g.table("t", AXES, g.AMOUNT)
MEAN = g.table("t", AXES, g.MEAN, denominator_axes=["b"])
Row = tuple[int, str, str, int, int]

ROWS = st.lists(
    st.tuples(
        st.integers(0, 25), st.sampled_from(A), st.sampled_from(B), st.sampled_from([0, 1]), st.integers(-900, 900)
    ),
    max_size=70,
)


def inputs(rows: Sequence[Row]) -> list[TableInput]:
    """Return one input of counts (one row a family) and two of amounts (one row a family and cell)."""
    families = {contributor: row for contributor, *row in rows}
    counts = [(contributor, a, b, 1, single) for contributor, (a, b, single, _) in families.items()]
    assert COUNT.columns == ("families", "single")
    cells: dict[tuple[int, str, str], int] = defaultdict(int)
    for contributor, a, _, _, amount in rows:
        cells[contributor, a, families[contributor][1]] += amount
    amounts = [(*place, amount) for place, amount in cells.items()]
    of_families = [(contributor, row[1]) for contributor, row in families.items()]
    return [g.given(COUNT, counts), g.given(AMOUNT, amounts), g.given(MEAN, amounts, of_families)]


def holds(definition: RegisteredTable, place: int, name: str, category: str) -> bool:
    axis = definition.axes[place]
    if name in axis.subtotals:
        return category in axis.subtotals[name]
    return name == axis.total or category in name.split("+")


def assert_rules_hold(table: TableInput, release: Release) -> None:
    """Compute every published number again, row by row, and the rules with it."""
    definition = table.table
    [released] = release.tables
    names = [[*axis.categories, *axis.subtotals, axis.total] for axis in released.axes]
    assert {cell.categories for cell in released.cells} == set(product(*names))
    measures = {measure.name: measure for measure in definition.measures}
    for cell in released.cells:
        measure = measures[cell.measure]
        sums: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        for row in table.contributions.iter_rows(named=True):
            if all(holds(definition, i, name, row["ab"[i]]) for i, name in enumerate(cell.categories)):
                for column in definition.columns:
                    sums[column][row["contributor"]] += row[column]
        numbers = {who: amount for who, amount in sums[measure.column].items() if amount}
        assert not 1 <= len(numbers) <= 4
        total = sum(numbers.values())
        if measure.unit is Unit.COUNT:
            assert cell.value == total
        elif measure.unit is Unit.SHARE:
            families = len(sums["families"])
            assert not 1 <= families - total <= 4
            assert cell.value == (round(total / families, 4) if families else None)
        else:
            assert all(abs(amount) * 4 <= sum(map(abs, numbers.values())) * 3 for amount in numbers.values())
        if measure.unit is Unit.AMOUNT_ORE:
            assert cell.value == total
        if measure.unit is Unit.MEAN_ORE:
            families = sum(holds(definition, 1, cell.categories[1], b) for b in table.families["b"])
            assert not 1 <= families <= 4
            assert cell.value is None if not families else abs(cell.value * families - total) * 2 <= families


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_every_published_number_is_right_and_safe(rows: list[Row]) -> None:
    for table in inputs(rows):
        release = g.protect(table)
        if release.tables:
            assert_rules_hold(table, release)


@given(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_order_of_rows_and_numbers_of_contributors_change_nothing(rows: list[Row], random: object) -> None:
    for table in inputs(rows):
        numbers = list(range(100, 140))
        random.shuffle(numbers)  # type: ignore[attr-defined]
        renumbered = pl.col("contributor").replace_strict(
            dict(enumerate(numbers[:26])), return_dtype=pl.UInt32, default=None
        )
        order = list(range(table.contributions.height))
        random.shuffle(order)  # type: ignore[attr-defined]
        other = replace(
            table,
            contributions=table.contributions[order].with_columns(renumbered),
            families=table.families.with_columns(renumbered) if table.families.height else table.families,
        )
        assert g.protect(other) == g.protect(table)


@given(ROWS, st.integers(2, 8))
@settings(max_examples=30, deadline=None)
def test_higher_threshold_never_gives_a_finer_level(rows: list[Row], threshold: int) -> None:
    for table in inputs(rows):
        ranks = []
        for each in (threshold, threshold + 1):
            release = g.protect(table, policy=replace(g.POLICY, threshold=each))
            levels = release.audit.get("t")
            ranks.append((levels["level.b"], levels["level.a"]) if levels else (9, 9))  # the order levels are tried in
        assert ranks[0] <= ranks[1]
