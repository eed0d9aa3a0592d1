"""Primary rules: which cells may not be shown as they stand.

1. Threshold: 1 to threshold - 1 contributors with a non-zero contribution. Nobody at
   all is safe unless the policy says that zeros are disclosive.
2. Dominance, for columns in øre: one contributor has more than dominance_percent of
   the sum of absolute contributions.
3. A share is safe when numerator, denominator and complement (denominator minus
   numerator) are; a mean when numerator and denominator are. A rounded mean times a
   known number is the sum within half a unit for each contributor, so a mean is judged
   as its sum.

It does not know what follows from several cells together (`linked`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from linker.disclosure.cells import Cells
from linker.disclosure.policy import Policy
from linker.tables.registry import Measure, RegisteredTable, Unit


@dataclass(frozen=True, slots=True)
class JudgedCell:
    """One measure of one cell: its numbers, and whether they may be shown.

    `denominator` is None for counts and amounts. Internal: never leaves the gate.
    """

    categories: tuple[str, ...]
    measure: Measure
    numerator: int
    denominator: int | None
    safe: bool


def judge(
    table: RegisteredTable, cells: Cells, policy: Policy, denominators: Sequence[int] | None = None
) -> list[JudgedCell]:
    """Judge every measure of every cell, in cell order, measures in registered order.

    `denominators` holds families per cell where the table divides by its families frame.
    Rows in any order and any numbering of contributors give the same list.

    Guarantee: a cell marked safe is the sum of no contributor or of at least `threshold`; if
    it is money, none of them is above the dominance share of the absolute sum.
    """
    facts = {measure.name: _facts(cells, measure, table, policy) for measure in table.measures}
    judged = []
    for number, categories in enumerate(cells.categories()):
        for measure in table.measures:
            numerator, denominator, safe = facts[measure.name].get(number, (0, 0, not policy.zeros_are_disclosive))
            if measure.denominator is None:
                judged.append(JudgedCell(categories, measure, numerator, None, safe))
            elif denominators is None:
                judged.append(JudgedCell(categories, measure, numerator, denominator, safe))
            else:
                families = denominators[number]
                safe = safe and _enough(families, policy)
                judged.append(JudgedCell(categories, measure, numerator, families, safe))
    return judged


def violates(table: RegisteredTable, cells: Cells, policy: Policy) -> bool:
    """Say whether any cell that has contributions is unsafe, its denominator families aside."""
    return not all(safe for measure in table.measures for *_, safe in _facts(cells, measure, table, policy).values())


def _enough(contributors: int, policy: Policy) -> bool:
    return contributors >= policy.threshold or (contributors == 0 and not policy.zeros_are_disclosive)


def _facts(cells: Cells, measure: Measure, table: RegisteredTable, policy: Policy) -> dict[int, tuple[int, int, bool]]:
    """Return numerator, denominator and safety of each cell that has contributions."""
    numerator = pl.col(measure.column)
    parts = [numerator]
    divisor: pl.Expr = pl.lit(0, pl.Int64)
    if measure.denominator is not None and not table.denominator_axes:
        divisor = pl.col(measure.denominator)
        parts.append(divisor)
        if measure.unit is Unit.SHARE:
            parts.append(divisor - numerator)
    money = measure.column.endswith("_ore")
    safe = pl.all_horizontal(rule for part in parts for rule in _rules(part, policy, money=money))
    frame = cells.frame.group_by("cell").agg(numerator.sum().alias("n"), divisor.sum().alias("d"), safe.alias("safe"))
    return {cell: (n, d, ok) for cell, n, d, ok in frame.iter_rows()}


def _rules(part: pl.Expr, policy: Policy, *, money: bool) -> list[pl.Expr]:
    contributors = (part != 0).sum()
    threshold = contributors >= policy.threshold
    if not policy.zeros_are_disclosive:
        threshold = threshold | (contributors == 0)
    if not money:
        return [threshold]
    return [threshold, part.abs().max() * 100 <= part.abs().sum() * policy.dominance_percent]
