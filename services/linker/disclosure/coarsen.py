"""At which registered levels the tables of one release are shown.

1. Tables that share an axis are shown at one level of it, so that no difference
   between tables isolates a small group.
2. Levels are tried in an order that does not depend on data: the axis that tables name
   first is coarsened first, through all its levels, before the next one moves. The first
   combination at which every cell and margin is safe is taken.
3. Where none is, the tables that are safe at no level are refused, and the rest tried
   again; where each is safe alone but not all together, the last registered is refused.
4. A table without margins is not coarsened: its unsafe cells are withheld one by one,
   because nothing sums to them.

The level taken says that every earlier one had some unsafe cell, not which. That much
is disclosed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from linker.disclosure.cells import Cells, ContributionError, denominators, inner, with_margins
from linker.disclosure.linked import isolates
from linker.disclosure.policy import Policy
from linker.disclosure.primary import JudgedCell, judge, violates
from linker.disclosure.table_input import TableInput
from linker.tables.registry import Axis


@dataclass(frozen=True, slots=True)
class Levelled:
    """A table at levels at which it may be shown. `inner` are its cells without margins."""

    table: TableInput
    levels: Mapping[str, int]
    inner: Cells
    judged: Sequence[JudgedCell]


@dataclass(frozen=True, slots=True)
class Refused:
    """A table that may not be shown at any level, and why: words, never numbers of the data."""

    table: TableInput
    reason: str


def level_tables(tables: Sequence[TableInput], policy: Policy) -> list[Levelled | Refused]:
    """Choose levels for all tables of a release; one answer a table, in order.

    Cost: for each combination of levels tried, a group-by over the contributions of each table.

    Guarantee: the tables answered `Levelled` that have margins satisfy the primary rules in
    every cell and margin, and together the rules of `linked`.
    """
    linked = [table for table in tables if table.table.margins]
    answers: dict[str, Levelled | Refused] = {}
    for component in _components(linked):
        answers |= _search(component, policy)
    together: list[Levelled] = []
    for table in linked:
        answer = answers[table.table.table_id]
        if isinstance(answer, Levelled):
            if _isolates([*together, answer], policy):
                reason = "with the other tables of this release it would single out few families"
                answers[table.table.table_id] = Refused(table, reason)
            else:
                together.append(answer)
    shared = {name: level for answer in together for name, level in answer.levels.items()}
    for table in tables:
        if not table.table.margins:
            levels = {axis.name: shared.get(axis.name, 0) for axis in table.table.axes}
            answers[table.table.table_id] = _try(table, levels, policy)
    return [answers[table.table.table_id] for table in tables]


def _components(tables: Sequence[TableInput]) -> list[list[TableInput]]:
    """Return the tables in groups that share axes, directly or through others."""
    components: list[list[TableInput]] = []
    for table in tables:
        names = {axis.name for axis in table.table.axes}
        touched = [
            component
            for component in components
            if any(names & {axis.name for axis in other.table.axes} for other in component)
        ]
        components = [component for component in components if component not in touched]
        components.append([*(other for component in touched for other in component), table])
    order = {table.table.table_id: place for place, table in enumerate(tables)}
    return [sorted(component, key=lambda table: order[table.table.table_id]) for component in components]


def _search(component: Sequence[TableInput], policy: Policy) -> dict[str, Levelled | Refused]:
    answers: dict[str, Levelled | Refused] = {}
    tried: dict[tuple[str, tuple[int, ...]], Levelled | Refused] = {}
    remaining = list(component)
    while remaining:
        safe_somewhere: set[str] = set()
        for levels in _combinations(remaining):
            found = []
            for table in remaining:
                own = {axis.name: levels[axis.name] for axis in table.table.axes}
                key = (table.table.table_id, tuple(own.values()))
                if key not in tried:
                    tried[key] = _try(table, own, policy)
                found.append(tried[key])
            safe = [answer for answer in found if isinstance(answer, Levelled)]
            safe_somewhere |= {answer.table.table.table_id for answer in safe}
            if len(safe) == len(found) and not _isolates(safe, policy):
                return answers | {answer.table.table.table_id: answer for answer in safe}
        for answer in found:
            if answer.table.table.table_id not in safe_somewhere:
                answers[answer.table.table.table_id] = answer
        if all(table.table.table_id in safe_somewhere for table in remaining):
            reason = "with the other tables that share its axes it would single out few families"
            answers[remaining[-1].table.table_id] = Refused(remaining[-1], reason)
        remaining = [table for table in remaining if table.table.table_id not in answers]
    return answers


def _combinations(tables: Sequence[TableInput]) -> Iterable[Mapping[str, int]]:
    axes: dict[str, Axis] = {axis.name: axis for table in tables for axis in table.table.axes}
    names = list(reversed(axes))
    for levels in product(*(range(len(axes[name].levels)) for name in names)):
        yield dict(zip(names, levels, strict=True))


def _try(table: TableInput, levels: Mapping[str, int], policy: Policy) -> Levelled | Refused:
    definition = table.table
    try:
        cells = inner(table, levels)
        families = denominators(table, cells) if definition.denominator_axes else None
    except ContributionError as error:
        return Refused(table, str(error))
    if not definition.margins:
        return Levelled(table, levels, cells, judge(definition, cells, policy, families))
    if violates(definition, cells, policy):  # cheap, and the usual way to fail: margins need not be computed
        return Refused(table, _reason([axis.axis for axis in cells.axes if axis.groups]))
    judged = judge(definition, with_margins(cells), policy, families)
    for cell in judged:
        if not cell.safe:
            crossed = zip(cells.axes, cell.categories, strict=True)
            return Refused(table, _reason([axis.axis for axis, name in crossed if name != axis.total]))
    return Levelled(table, levels, cells, judged)


def _reason(axes: Sequence[Axis]) -> str:
    group = " × ".join(axis.name for axis in axes) or "the total"
    return f"a cell of {group} stays unsafe (too few, or one that dominates) at every registered level"


def _isolates(answers: Sequence[Levelled], policy: Policy) -> bool:
    return isolates([(answer.table.table, answer.inner) for answer in answers], policy)
