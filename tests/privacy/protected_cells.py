"""Which numbers of released tables must stay uncertain, and how far: counted from the facts, number by number.

The slow, obvious second implementation. It knows the registry, the facts and the policy's numbers, and nothing of how
the gate works. A count is protected where 1 to threshold - 1 contributors make it; an amount also where one or two of
them are nearly all of it. Of two releases, the *change* of a number is protected where 1 to threshold - 1
contributors, or one or two of them, make the difference. Contributors of two releases are the same when they
share a member.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import polars as pl

from linker.disclosure.facts import FactFrame
from linker.disclosure.needs import ProtectionPolicy
from linker.tables.registered_table import PeriodType, RegisteredTable, Unit
from tests.privacy.public_knowledge import Column, Term, months, term

Contributions = dict[object, int]
ELSEWHERE = "elsewhere"  # the other leaves of an axis that no table shows


@dataclass(frozen=True, slots=True)
class Secret:
    """A number, a sum of terms, that must be possible up to `value + up` and down to `value - down`."""

    terms: tuple[tuple[Term, int], ...]
    value: int
    up: int
    down: int


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """The facts behind one release, and the tables that it shows, with their periods."""

    facts: Sequence[FactFrame]
    tables: Sequence[tuple[RegisteredTable, str]]
    year: int

    def frame(self, column: str) -> FactFrame:
        """Return the facts that hold a column."""
        return next(frame for frame in self.facts if column in frame.columns)

    def columns(self) -> dict[str, Column]:
        """Return what everybody knows of the columns: their axes and leaves are the registry's."""
        leaves: dict[str, Sequence[str]] = {}
        for table, _ in self.tables:
            leaves |= {name: [*kept, ELSEWHERE] for name, kept in table.within.items() if name not in leaves}
        leaves |= {axis.name: axis.categories for table, _ in self.tables for axis in table.axes}
        used: dict[str, set[str]] = {}
        for table, _ in self.tables:
            for column in table.columns:
                used.setdefault(column, set()).update(axis.name for axis in table.axes)
                used[column].update(table.within)
        found = {}
        for name, axes in used.items():
            frame = self.frame(name)
            known: dict[str, Sequence[str]] = {axis: leaves[axis] for axis in sorted(axes) if axis in frame.axes}
            if frame.flow:
                known["month"] = sorted(months(str(self.year)))
            found[name] = Column(known, name in frame.counted, name in frame.nonnegative)
        return found

    def terms(self) -> list[Term]:
        """Return every number behind every table, numerators and denominators alike, once."""
        columns = self.columns()
        found = (number for table, period in self.tables for number in numbers(columns, table, period))
        return list(dict.fromkeys(found))

    def value(self, number: Term) -> int:
        """Return what is true."""
        return sum(self.contributions(number).values())

    def contributions(self, number: Term) -> Contributions:
        """Return what each contributor contributes, net; those of 0 contribute nothing."""
        column, where = number
        rows = self.frame(column).frame
        for axis, leaves in where:
            name = pl.format("{}-{}", pl.lit(self.year), pl.col("month").cast(pl.String).str.zfill(2))
            rows = rows.filter((name if axis == "month" else pl.col(axis)).is_in(sorted(leaves)))
        sums = rows.group_by("contributor").agg(pl.col(column).sum()).filter(pl.col(column) != 0)
        return dict(sums.iter_rows())


def few_or_dominated(sums: Contributions, policy: ProtectionPolicy, *, counted: bool) -> bool:
    """Say whether the rules forbid to show what these contributors sum to."""
    sizes = sorted((abs(amount) for amount in sums.values()), reverse=True)
    if len(sizes) < policy.threshold:
        return bool(sizes)
    if counted:
        return False
    whole = sum(sizes)
    if policy.p_percent is not None and (whole - sizes[0] - sizes[1]) * 100 < sizes[0] * policy.p_percent:
        return True
    return any(sum(sizes[:count]) * 100 > whole * percent for count, percent in policy.dominance)


def as_secret(number: Term, sums: Contributions, policy: ProtectionPolicy, column: Column) -> Secret:
    """Return how uncertain a protected number must stay."""
    value, terms = sum(sums.values()), ((number, 1),)
    if column.counted:
        return Secret(terms, value, max(policy.threshold - value, 1), value)
    largest = max(abs(amount) for amount in sums.values())
    percent = policy.p_percent or 0
    width = max(-(-largest * percent // 100), -(-abs(value) * policy.interval_percent // 100), policy.interval_minimum)
    return Secret(terms, value, width, min(width, value) if column.nonnegative else width)


def secrets(run: Run, policies: Mapping[str, ProtectionPolicy]) -> list[Secret]:
    """Return the protected numbers of a run, the strictest where tables of several policies share one.

    Where few are in the denominator of a share and not in its numerator, they are a protected number as well.
    """
    columns, found = run.columns(), dict[tuple[tuple[Term, int], ...], Secret]()
    for table, period in run.tables:
        policy = policies[table.policy]
        for number in numbers(columns, table, period):
            sums = run.contributions(number)
            if few_or_dominated(sums, policy, counted=columns[number[0]].counted):
                _stricter(found, as_secret(number, sums, policy, columns[number[0]]))
        for whole, part in shares(columns, table, period):
            inside = run.contributions(part)
            rest = {who: n - inside.get(who, 0) for who, n in run.contributions(whole).items()}
            rest = {who: n for who, n in rest.items() if n}
            if 0 < len(rest) < policy.threshold:
                value = sum(rest.values())
                _stricter(found, Secret(((whole, 1), (part, -1)), value, max(policy.threshold - value, 1), value))
    return list(found.values())


def _stricter(found: dict[tuple[tuple[Term, int], ...], Secret], one: Secret) -> None:
    other = found.get(one.terms, one)
    found[one.terms] = Secret(one.terms, one.value, max(one.up, other.up), max(one.down, other.down))


def numbers(columns: Mapping[str, Column], table: RegisteredTable, period: str) -> list[Term]:
    """Return every number behind a table, numerators and denominators alike, once."""
    found = (term(columns, table, period, column, cell) for column in table.columns for cell in cells_of(table))
    return list(dict.fromkeys(found))


def shares(columns: Mapping[str, Column], table: RegisteredTable, period: str) -> list[tuple[Term, Term]]:
    """Return denominator and numerator of each cell of a share of counts."""
    return [
        (
            term(columns, table, period, measure.denominator, cell),
            term(columns, table, period, measure.column, cell),
        )
        for measure in table.measures
        if measure.unit is Unit.SHARE and measure.denominator and columns[measure.denominator].counted
        for cell in cells_of(table)
    ]


def cells_of(table: RegisteredTable) -> list[tuple[str, ...]]:
    """Return the categories of every cell, margins included where the table has them."""
    names = [
        [*axis.categories, *axis.subtotals, axis.total] if table.margins else axis.categories for axis in table.axes
    ]
    return list(product(*names))


def change(old: Term, new: Term, before: Run, after: Run) -> Contributions:
    """Return what the contributors of two releases changed, each with all its members of both."""
    who = same([run.frame(new[0]).members for run in (before, after)])
    sums: Contributions = {}
    for side, (run, number, sign) in enumerate(((before, old, -1), (after, new, 1))):
        for contributor, amount in run.contributions(number).items():
            identity = who.get((side, contributor), contributor)
            sums[identity] = sums.get(identity, 0) + sign * amount
    return {identity: amount for identity, amount in sums.items() if amount}


def same(members: Sequence[pl.DataFrame]) -> dict[tuple[int, object], object]:
    """Return one identity for all contributors (release, number) that are joined by persons whom they share."""
    root: dict[object, object] = {}

    def find(node: object) -> object:
        while root.setdefault(node, node) != node:
            node = root[node]
        return node

    nodes = []
    for side, frame in enumerate(members):
        for person, contributor in frame.select("person", "contributor").iter_rows():
            root[find((side, contributor))] = find(("person", person))
            nodes.append((side, contributor))
    return {node: find(node) for node in nodes}


def changes(before: Run, after: Run, policies: Mapping[str, ProtectionPolicy]) -> list[Secret]:
    """Return the protected changes of numbers that the earlier release was about, as new less old.

    They are the same numbers, whether the later release shows them or not, as they can follow from others; and the
    year to date, which grows. A changed count must be possible at no change on one side, and at the threshold on
    the other.
    """
    columns, found = before.columns() | after.columns(), dict[tuple[tuple[Term, int], ...], Secret]()
    for table, period, later in [
        *((table, period, period) for table, period in before.tables),
        *(
            (table, period, later)
            for table, period in before.tables
            for other, later in after.tables
            if table.table_id == other.table_id and table.period is PeriodType.YEAR_TO_DATE and period != later
        ),
    ]:
        policy = policies[table.policy]
        numbers_then, numbers_now = (numbers(columns, table, each) for each in (period, later))
        for old, new in zip(numbers_then, numbers_now, strict=True):
            sums = change(old, new, before, after)
            column = columns[new[0]]
            if few_or_dominated(sums, policy, counted=column.counted):
                _stricter(found, _changed(old, new, sums, policy, column))
    return list(found.values())


def _changed(old: Term, new: Term, sums: Contributions, policy: ProtectionPolicy, column: Column) -> Secret:
    value, terms = sum(sums.values()), ((new, 1), (old, -1))
    if not column.counted:
        signed = Column(column.axes, counted=False, nonnegative=False)
        return replace(as_secret(new, sums, policy, signed), terms=terms)
    beyond = max(policy.threshold - abs(value), 1)
    up, down = (beyond, max(value, 1)) if value >= 0 else (max(-value, 1), beyond)
    return Secret(terms, value, up, down)
