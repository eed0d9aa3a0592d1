"""Views: what each registered table shows of one column, and the regions that its cells are.

1. A measure's numerator and its denominator are cells, each of its own column. A denominator in another frame is
   divided by those of the table's axes that its frame has.
2. A region is a set of leaves on some axes, and a set of months where the facts are a flow. Regions of tables, periods
   and releases are the same when leaves and months are.

It does not know facts, nor what is unsafe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from linker.disclosure.classification import Classification
from linker.disclosure.facts import ContributionError, FactFrame
from linker.disclosure.linking import CrossTable
from linker.tables.registered_table import Axis, RegisteredTable

Region = tuple[tuple[str, tuple[str, ...]], ...]  # restricted axes by name, each with its leaves in order


@dataclass(frozen=True, slots=True)
class View:
    """One column of a table. `months`: 1 to 12, ascending; none for a stock. `shown`: by the tables of this release."""

    table_id: str
    column: str
    axes: tuple[Classification, ...]
    within: Mapping[str, tuple[str, ...]]
    months: tuple[int, ...]
    policy: str
    shown: bool = True

    @property
    def name(self) -> str:
        """Table and column, for messages; and the months of one that no table of this release shows."""
        earlier = f" of {_named(self.months)}not shown" if not self.shown else ""
        return f"{self.table_id} ({self.column}{earlier})"

    @property
    def axis_names(self) -> set[str]:
        """The axes that it divides by or is within."""
        return {axis.name for axis in self.axes} | self.within.keys()

    def codes(self) -> list[tuple[str, ...]]:
        """Return the codes of its cells, the last axis running fastest."""
        return list(product(*(axis.codes for axis in self.axes)))

    def regions(self) -> list[Region]:
        """Return the region of each cell, in the order of `codes`; months aside."""
        choices = [
            [
                None
                if len(members) == len(axis.leaves)
                else (axis.name, tuple(sorted(axis.leaves[m] for m in members)))
                for members in axis.members()
            ]
            for axis in self.axes
        ]
        fixed = [(name, tuple(sorted(leaves))) for name, leaves in self.within.items()]
        return [tuple(sorted([*fixed, *(part for part in parts if part)])) for parts in product(*choices)]

    def cross_table(self, blocks: Mapping[int, str]) -> CrossTable:
        """Return it as the engine takes it; `blocks`: the leaf of the axis `month` that each month is in."""
        months = {"month": tuple(dict.fromkeys(blocks[month] for month in self.months))} if self.months else {}
        return CrossTable(self.name, self.axes, {**self.within, **months}, self.shown)


def _named(months: Sequence[int]) -> str:
    return f"months {', '.join(map(str, months))}, " if months else ""


def views(tables: Sequence[RegisteredTable], facts: Sequence[FactFrame], through_month: int) -> list[View]:
    """Return the views of the tables, in their order.

    Raises:
        ContributionError: no facts have a table's column, or lack one of its axes.
    """
    frames = {column: frame for frame in facts for column in frame.columns}
    found = []
    for table in tables:
        for column in table.columns:
            frame = frames.get(column)
            if frame is None:
                raise ContributionError(f"table {table.table_id}: no facts have a column {column}")
            wanted = {axis.name for axis in table.axes} | table.within.keys()
            lacking = wanted - set(frame.axes)
            if lacking and column in numerators(table):
                raise ContributionError(f"table {table.table_id}: facts {frame.name} lack the axis {min(lacking)}")
            found.append(
                View(
                    table.table_id,
                    column,
                    tuple(
                        classification(axis, margins=table.margins) for axis in table.axes if axis.name not in lacking
                    ),
                    {name: leaves for name, leaves in table.within.items() if name not in lacking},
                    table.period.months(through_month) if frame.flow else (),
                    table.policy,
                )
            )
    return found


def remainders(found: Sequence[View]) -> list[View]:
    """Return what two views tell of the months that only one of them sums: a year to date less its last quarter."""
    rests = []
    for longer, shorter in product(found, found):
        if longer.column == shorter.column and set(shorter.months) < set(longer.months):
            coarser = min(longer, shorter, key=lambda view: len(view.codes()))
            rest = tuple(month for month in longer.months if month not in shorter.months)
            rests.append(replace(coarser, months=rest, shown=False))
    return rests


def numerators(table: RegisteredTable) -> set[str]:
    """Return the columns that the table's measures sum."""
    return {measure.column for measure in table.measures}


def classification(axis: Axis, *, margins: bool) -> Classification:
    """Return an axis as the engine takes it, with its sums if they are shown."""
    sums = {**axis.subtotals, **({axis.total: axis.categories} if axis.total else {})} if margins else {}
    return Classification(axis.name, axis.categories, sums)


def blocks(found: Sequence[View]) -> dict[int, str]:
    """Return the coarsest partition of months that tells all views apart: month → leaf, for months in a view."""
    sets = sorted({view.months for view in found if view.months})
    signatures: dict[tuple[bool, ...], list[int]] = {}
    for month in sorted({month for months in sets for month in months}):
        signatures.setdefault(tuple(month in months for months in sets), []).append(month)
    return {month: "+".join(f"{each:02}" for each in block) for block in signatures.values() for month in block}
