"""Who keeps every release of a table and solves for all at once; and what it must not find: few families' changes.

Written apart from the gate: contributions are added up in plain Python, and unknowns are the leaves of each month.

1. The attacker knows what each release publishes. A carried number is older news: it says nothing of its month.
2. One that supposes stillness also knows of every leaf in which months nothing happened there. That is more
   than anybody could know; the gate does not promise to stand it.
3. Counts cannot be below 0; amounts can be anything, up to a hundred times all that is spent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.optimize import linprog
from scipy.sparse.csgraph import connected_components

from linker.disclosure.facts import FactFrame
from linker.disclosure.release import CellStatus, ReleasedTable

Codes = tuple[str, ...]
TOTAL = "all"
_EXACT = 1e-7
_FAR = 1e5  # an amount is at most a hundred times what the whole town spends


@dataclass(frozen=True)
class Change:
    """A cell's change between two months, made by a few families."""

    before: int
    after: int
    cell: Codes
    value: int
    largest: int


def moved(before: FactFrame, after: FactFrame, column: str) -> dict[Codes, list[int]]:
    """Return leaf → what each family changed there, without nothing; and the same for every total."""
    added: dict[int, dict[Codes, int]] = defaultdict(lambda: defaultdict(int))
    for facts, ids, sign in zip((before, after), identities(before, after), (-1, 1), strict=True):
        for contributor, *place, amount in facts.frame.select("contributor", *facts.axes, column).iter_rows():
            added[ids[contributor]][tuple(place)] += sign * amount
    found: dict[Codes, list[int]] = defaultdict(list)
    for leaves in added.values():
        cells: dict[Codes, int] = defaultdict(int)
        for leaf, amount in leaves.items():
            if amount:
                for cell in product(*((code, TOTAL) for code in leaf)):
                    cells[cell] += amount
        for cell, amount in cells.items():
            if amount:
                found[cell].append(amount)
    return found


def identities(before: FactFrame, after: FactFrame) -> tuple[dict[int, int], dict[int, int]]:
    """Return for each month which families are the same: those who share a person, directly or through others."""
    parent: dict[int, int] = {}

    def root(person: int) -> int:
        while parent.setdefault(person, person) != person:
            person = parent[person]
        return person

    found = []
    for facts in (before, after):
        families: dict[int, list[int]] = defaultdict(list)
        for person, family in facts.members.select("person", "contributor").iter_rows():
            families[family].append(person)
        for persons in families.values():
            for person in persons:
                parent[root(person)] = root(persons[0])
        found.append({family: persons[0] for family, persons in families.items()})
    one, other = ({family: root(person) for family, person in each.items()} for each in found)
    return one, other


def changes(facts: Sequence[FactFrame], column: str, threshold: int) -> Iterator[Change]:
    """Return the changes of cells, between any two months, that 1 to threshold - 1 families made."""
    for before, after in combinations(range(len(facts)), 2):
        for cell, amounts in sorted(moved(facts[before], facts[after], column).items()):
            if len(amounts) < threshold:
                yield Change(before, after, cell, sum(amounts), max(map(abs, amounts)))


class StackedAttacker:
    """Solves for the leaves of all months."""

    def __init__(
        self, facts: Sequence[FactFrame], tables: Sequence[ReleasedTable | None], column: str, *, supposes: bool
    ) -> None:
        """Write down what the tables publish; None: the table stood in this month. `supposes`: stillness."""
        self._axes = [axis.categories for axis in next(filter(None, tables)).axes]
        self._leaves = list(product(*self._axes))
        self.counted = column in facts[0].counted
        count = len(self._leaves)
        self._place = [
            dict(zip(self._leaves, range(n * count, (n + 1) * count), strict=True)) for n in range(len(facts))
        ]
        for month in range(1, len(facts)) if supposes else ():
            self._keep(facts, month, column)
        used = {
            number: place for place, number in enumerate(sorted({n for each in self._place for n in each.values()}))
        }
        self._place = [{leaf: used[number] for leaf, number in each.items()} for each in self._place]
        self._size = len(used)
        known = [
            (self.row(month, cell.categories), cell.value)
            for month, table in enumerate(tables)
            if table is not None
            for cell in table.cells
            if cell.status is CellStatus.PUBLISHED and cell.value is not None
        ]
        self._rows = sp.csr_matrix(np.array([row for row, _ in known]))
        self._values = np.array([value for _, value in known], float)
        count = len(known)
        links = sp.bmat([[None, self._rows], [self._rows.T, None]])
        _, labels = connected_components(links, directed=False)
        self._row_parts, self._parts = labels[:count], labels[count:]

    def _keep(self, facts: Sequence[FactFrame], month: int, column: str) -> None:
        """Let leaves in which nothing happened be what they were in the month before."""
        changed = moved(facts[month - 1], facts[month], column)
        for leaf in self._leaves:
            if leaf not in changed:
                self._place[month][leaf] = self._place[month - 1][leaf]

    def row(self, month: int, cell: Codes) -> np.ndarray:
        """Return which leaves a cell sums."""
        row = np.zeros(self._size)
        codes = [axis if code == TOTAL else (code,) for code, axis in zip(cell, self._axes, strict=True)]
        for leaf in product(*codes):
            row[self._place[month][leaf]] += 1
        return row

    def recovers(self, changes: Iterable[Change]) -> list[Change]:
        """Return the changes that follow from what is known by arithmetic alone."""
        wanted = list(changes)
        found = np.ones(len(wanted), bool)
        targets = sp.csc_matrix(np.array([self._goal(each) for each in wanted]).reshape(len(wanted), self._size))
        for part in np.unique(self._parts):
            mine = np.flatnonzero(self._parts == part)
            rows = self._rows[np.flatnonzero(self._row_parts == part)][:, mine].toarray()
            open_ = scipy.linalg.null_space(rows, rcond=1e-10) if len(rows) else np.eye(len(mine))
            found &= np.abs(targets[:, mine] @ open_).max(axis=1, initial=0) < _EXACT
        return [each for each, known in zip(wanted, found, strict=True) if known]

    def range(self, change: Change) -> tuple[float, float]:
        """Return the lowest and highest change that the attacker cannot exclude, by two linear programs.

        Months that nothing links with those of the change are left out: they say nothing of it.
        """
        goal = self._goal(change)
        parts = np.unique(self._parts[np.flatnonzero(goal)])
        mine, rows = np.flatnonzero(np.isin(self._parts, parts)), np.flatnonzero(np.isin(self._row_parts, parts))
        unit = 1.0 if self.counted else float(np.abs(self._values).max()) / 1000  # programs work on handy numbers
        told = {"A_eq": self._rows[rows][:, mine], "b_eq": self._values[rows] / unit} if len(rows) else {}
        bounds = (0.0, None) if self.counted else (-_FAR, _FAR)
        ends = []
        for sign in (1.0, -1.0):
            answer = linprog(sign * goal[mine], bounds=bounds, **told)
            if answer.status not in {0, 3}:
                raise AssertionError("an unfinished program is no proof")
            ends.append(sign * unit * answer.fun if answer.status == 0 else -sign * np.inf)
        return ends[0], ends[1]

    def _goal(self, change: Change) -> np.ndarray:
        goal: np.ndarray = self.row(change.after, change.cell) - self.row(change.before, change.cell)
        return goal
