"""From tables and facts to a pattern: what is shown, with its proof, against all that earlier releases showed.

It does not know values to be shown, nor revisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from linker.disclosure import basis as bases
from linker.disclosure.basis import Basis
from linker.disclosure.changes import demanded, differences, known_cells
from linker.disclosure.combinations import combined
from linker.disclosure.facts import FactFrame
from linker.disclosure.needs import Needs, ProtectionPolicy
from linker.disclosure.pattern import Pattern
from linker.disclosure.policy import TablePolicy
from linker.disclosure.registered_system import (
    RegisteredSystem,
    department_insiders,
    own_needs,
    registered_system,
    renumbered,
    restricted,
    strictest,
    whole_policy,
)
from linker.disclosure.search import Progress
from linker.disclosure.suppression import extend, protect
from linker.disclosure.system import Flags, Integers, LinkedSystem
from linker.disclosure.unions import united, united_again
from linker.disclosure.views import View, remainders, views
from linker.tables.registered_table import RegisteredTable, Unit

_ROUNDS = 8  # times that a pattern is looked at for what hidden parts tell together


class Reason(Enum):
    """Why a number is hidden. Internal: nobody is told."""

    PRIMARY = "it is unsafe by itself"
    CHANGE = "its change is"
    SECONDARY = "another number would follow from it"


@dataclass(frozen=True, slots=True, eq=False)
class Protected:
    """The pattern of a release. `own`: cells that are unsafe by themselves; `unsafe`: also those whose change is."""

    registered: RegisteredSystem
    pattern: Pattern
    own: Flags
    unsafe: Flags

    def cells(self, table_id: str, column: str) -> tuple[tuple[str, ...], dict[tuple[str, ...], int]]:
        """Return the axes of a shown table's column, and codes → cell."""
        view = next(
            each for each in self.registered.views if each.shown and (each.table_id, each.column) == (table_id, column)
        )
        names = tuple(axis.name for axis in view.axes)
        return names, dict(zip(view.codes(), self.registered.cells(view).tolist(), strict=True))

    def unproven(self) -> str:
        """Return table and cell group of the first demand that is not proven, and whether there are more."""
        pattern = self.pattern
        labels = dict.fromkeys(
            self.registered.system.labels[each.cell] for each in [*pattern.failures, *pattern.unchecked]
        )
        return next(iter(labels), "nothing") + (" and more" if len(labels) > 1 else "")

    def reason(self, cells: Sequence[int]) -> Reason | None:
        """Return why a number that is made of these cells is hidden; None when it is shown. Internal."""
        hidden = [cell for cell in cells if self.pattern.hidden[cell]]
        if not hidden:
            return None
        if self.own[hidden].any():
            return Reason.PRIMARY
        return Reason.CHANGE if self.unsafe[hidden].any() else Reason.SECONDARY


def protected(
    tables: Sequence[RegisteredTable],
    facts: Sequence[FactFrame],
    policies: Mapping[str, TablePolicy],
    past: Sequence[bytes],
    *,
    year: int,
    through_month: int,
    progress: Progress,
) -> Protected:
    """Protect tables that are all due. `past`: bases, oldest first; the facts of one at a time are in memory.

    Raises:
        ContributionError: facts do not fit the registry.
    """
    outlines = [bases.outline(each) for each in past]
    shown = views(tables, facts, through_month)
    used = {name: policies[name] for name in sorted({view.policy for view in shown})}
    earlier = [
        view for basis in reversed(outlines) for view in basis.views if _is_told(view, basis.year, year, through_month)
    ]
    registered = registered_system(shown, [*remainders(shown), *earlier], facts, used)
    rules = {name: policy.protection for name, policy in used.items()}
    of_period = frozenset(axis.name for table in tables for axis in table.axes if axis.of_period)
    own = own_needs(registered, rules)
    compared, demands = [], []
    for number, content in enumerate(past):
        compared += (now := differences(registered, facts, bases.read(content), year, of_period))
        demands += [demanded(registered, difference, rules) for difference in now]
        progress("differences", number + 1, len(past))
    size = len(registered.system)
    single = strictest([own, *(each.needs for each in demands)], size)
    whole, must = combined(registered, facts, _shares(tables), compared, single, rules)
    whole, must = united(whole, facts, compared, must, rules)
    kept = np.logical_or.reduce([np.zeros(size, bool), *(each.kept for each in demands)])
    staying = restricted(strictest([each.staying for each in demands], size), ~kept)
    wishes = _Wishes(
        staying, kept, _hidden_before(registered, outlines), any(each.department_insiders for each in used.values())
    )
    whole, pattern = _found(whole, must, rules, wishes, progress)
    for _ in range(_ROUNDS if pattern.proven else 0):
        joint, must = united_again(whole, facts, compared, must, pattern, rules)
        if len(joint.system) == len(whole.system):
            break
        whole, pattern = _found(joint, must, rules, wishes, progress, pattern)
        if not pattern.proven:
            break
    return Protected(whole, pattern, own.primary, single.primary)


def _is_told(view: View, then: int, year: int, through_month: int) -> bool:
    """Say whether facts of now tell something of what an earlier release showed: of a stock, or of months till now."""
    return not view.months or (then == year and view.months[-1] <= through_month)


@dataclass(frozen=True, slots=True, eq=False)
class _Wishes:
    """What a pattern should do where it can be proven: keep hidden (`staying`) and shown (`kept`) what did not change.

    `before`: hidden by the newest release, and preferred. `insiders`: whether departments' own people are attackers.
    """

    staying: Needs
    kept: Flags
    before: Flags
    insiders: bool


def _found(
    registered: RegisteredSystem,
    must: Needs,
    rules: Mapping[str, ProtectionPolicy],
    wishes: _Wishes,
    progress: Progress,
    start: Pattern | None = None,
) -> tuple[RegisteredSystem, Pattern]:
    """Return the system, its lone contributors numbered, and a pattern that leaves alone what did not change.

    With a pattern of fewer virtual cells to start from, that pattern and what these need. Where it cannot be proven,
    another that does less of what is wished: first the columns that fail may hide what was shown; then all may show and
    hide anything.
    """
    system = renumbered(registered.system)
    registered = replace(registered, system=system)
    size, policy = len(system), whole_policy(list(rules.values()))
    insiders = department_insiders(registered) if wishes.insiders else ()
    staying = Needs(*(_longer(getattr(wishes.staying, name), size) for name in ("primary", "up", "down")))
    kept, prefer = _longer(wishes.kept, size), _longer(wishes.before, size)
    stable = _possible(strictest([must, staying], size), system)
    if start is not None:
        pattern = extend(system, policy, stable, start, insiders=insiders, keep=kept, progress=progress)
        if pattern.proven:
            return registered, pattern
    pattern = protect(system, policy, stable, insiders=insiders, prefer=prefer, keep=kept, progress=progress)
    if pattern.proven or not (staying.primary.any() or kept.any()):
        return registered, pattern
    failing = _columns(registered)[[each.cell for each in [*pattern.failures, *pattern.unchecked]]]
    kept = kept & ~np.isin(_columns(registered), failing)
    pattern = protect(system, policy, stable, insiders=insiders, prefer=prefer, keep=kept, progress=progress)
    if not pattern.proven:
        must = _possible(must, system)
        pattern = protect(system, policy, must, insiders=insiders, prefer=prefer, progress=progress)
    return registered, pattern


def _columns(registered: RegisteredSystem) -> Integers:
    """Return a number for the column of each cell of a table; 0 for what none has."""
    columns = sorted({column for column, _, _ in registered.places})
    numbers = np.zeros(len(registered.system), np.int64)
    for (column, _, _), cell in registered.places.items():
        numbers[cell] = 1 + columns.index(column)
    return numbers


def _longer(array: np.ndarray, size: int) -> np.ndarray:
    """Return an array with zeros for the virtual cells."""
    return np.concatenate([array, np.zeros(size - len(array), array.dtype)])


def _shares(tables: Sequence[RegisteredTable]) -> set[tuple[str, str]]:
    """Return denominator and numerator of every share."""
    measures = [measure for table in tables for measure in table.measures if measure.unit is Unit.SHARE]
    return {(measure.denominator, measure.column) for measure in measures if measure.denominator}


def _possible(must: Needs, system: LinkedSystem) -> Needs:
    """Return the needs, but none below 0 where everybody knows that nothing is."""
    return replace(must, down=np.where(system.nonnegative, np.minimum(must.down, system.values), must.down))


def _hidden_before(registered: RegisteredSystem, past: Sequence[Basis]) -> Flags:
    """Return the cells that the newest release with such cells did not show, so that patterns change little."""
    hidden = np.zeros(len(registered.system), bool)
    for basis in past:
        for place, (up, down) in known_cells(basis).items():
            cell = registered.places.get(place)
            if cell is not None:
                hidden[cell] = up > 0 or down > 0
    return hidden
