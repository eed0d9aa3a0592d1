"""Witnesses: tables that fit all that is shown, and so widen the range of every cell that they move.

A witness speaks against an attacker only if it leaves unmoved what that attacker knows. The witnesses of a
pattern are its certificate (`certificate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linker.disclosure.attackers import Attacker
from linker.disclosure.needs import Needs, down
from linker.disclosure.system import Flags, LinkedSystem, Numbers

ENOUGH = 1 - 1e-6  # of a need: solvers work to a tolerance


@dataclass(frozen=True, slots=True, order=True)
class Demand:
    """That an attacker must find it possible that a primary cell is as far up (side 1) or down (-1) as it needs."""

    attacker: int
    cell: int
    side: int


class Witnesses:
    """Witnesses, and which demands they meet. Demands are flags: attackers × (primary cells up, then down)."""

    def __init__(self, system: LinkedSystem, needs: Needs, attackers: Sequence[Attacker]) -> None:
        """Start without a witness."""
        self.cells = np.flatnonzero(needs.primary)
        self._attackers = attackers
        self._size = len(needs.primary)
        self._distances = np.array(
            [np.concatenate([needs.up[self.cells], down(system, needs, each)[self.cells]]) for each in attackers], float
        )
        known = np.zeros((len(attackers), self._size), bool)
        for place, attacker in enumerate(attackers):
            known[place, attacker.known] = True
        self.required = (self._distances > 0) & ~np.tile(known[:, self.cells], 2)
        self._tables: list[tuple[np.ndarray, Numbers]] = []
        self._at = np.zeros((64, len(self.cells)))
        self._fit = np.zeros((64, len(attackers)), bool)
        self._moved = np.zeros((64, self._size), bool)
        self._met = np.zeros_like(self.required)

    def __len__(self) -> int:
        """Return the number of witnesses."""
        return len(self._tables)

    def tables(self, start: int = 0) -> list[Numbers]:
        """Return the differences from number `start` on, one entry a cell."""
        result = []
        for cells, differences in self._tables[start:]:
            table = np.zeros(self._size)
            table[cells] = differences
            result.append(table)
        return result

    def add(self, difference: Numbers) -> None:
        """Take one more."""
        count, cells = len(self), np.flatnonzero(difference)
        if count == len(self._at):
            self._at, self._fit, self._moved = (
                np.concatenate([each, np.zeros_like(each)]) for each in (self._at, self._fit, self._moved)
            )
        self._at[count] = difference[self.cells]
        self._fit[count] = [not difference[attacker.known].any() for attacker in self._attackers]
        self._moved[count] = difference != 0
        self._tables.append((cells, difference[cells]))
        reached = np.concatenate([self._at[count], -self._at[count]]) >= self._distances * ENOUGH
        self._met |= reached & self._fit[count][:, None]

    def newest(self, most: int) -> Numbers:
        """Return the newest differences, at most so many."""
        return np.array(self.tables(max(len(self) - most, 0))).reshape(-1, self._size)

    def add_useful(self, attacker: int, differences: Numbers) -> None:
        """Take those of several that meet open demands of the attacker, whose knowledge they fit; the best first."""
        at = differences[:, self.cells]
        reached = np.concatenate([at, -at], axis=1) >= self._distances[attacker] * ENOUGH
        while len(reached):
            useful = np.count_nonzero(reached & self.open()[attacker], axis=1)
            best = int(np.argmax(useful))
            if not useful[best]:
                return
            self.add(differences[best])

    def open(self, without: int | None = None) -> Flags:
        """Return the demands that no witness meets; or none of those that leave the cell `without` unmoved."""
        met = self._met if without is None else self._met_by(~self._moved[: len(self), without])
        flags: Flags = self.required & ~met
        return flags

    def drop(self, moving: Flags) -> None:
        """Forget the witnesses that move any of the cells."""
        keep = np.flatnonzero(~self._moved[: len(self), moving].any(axis=1))
        for each in (self._at, self._fit, self._moved):
            each[: len(keep)] = each[keep]
        self._tables = [self._tables[place] for place in keep]
        self._met = self._met_by(np.ones(len(keep), bool))

    def _met_by(self, chosen: Flags) -> Flags:
        met: Flags = np.zeros_like(self._met)
        for attacker, fit in enumerate(self._fit[: len(self)].T):
            at = self._at[: len(self)][chosen & fit]
            ends = np.concatenate([at.max(axis=0, initial=0.0), -at.min(axis=0, initial=0.0)])
            met[attacker] = ends >= self._distances[attacker] * ENOUGH
        return met

    def is_met_since(self, demand: Demand, start: int) -> bool:
        """Say whether one of the witnesses from number `start` on meets it."""
        column = int(np.searchsorted(self.cells, demand.cell))
        at = self._at[start : len(self), column] * demand.side
        fit = self._fit[start : len(self), demand.attacker]
        return bool((fit & (at >= self.distance(demand) * ENOUGH)).any())

    def demands(self, flags: Flags) -> list[Demand]:
        """Return flagged demands in order: attacker, then up before down, then cell."""
        attackers, places = np.nonzero(flags)
        cells, sides = self.cells[places % len(self.cells)], np.where(places < len(self.cells), 1, -1)
        return [Demand(*each) for each in zip(attackers.tolist(), cells.tolist(), sides.tolist(), strict=True)]

    def distance(self, demand: Demand) -> float:
        """Return how far the demand goes."""
        return float(self._distances[demand.attacker, self._column(demand)])

    def as_far(self, demand: Demand) -> Flags:
        """Return the demands of all attackers that the same cell goes to the same side, as far or farther."""
        flags: Flags = np.zeros_like(self.required)
        column = self._column(demand)
        flags[:, column] = self._distances[:, column] >= self.distance(demand)
        return flags

    def is_met(self, demand: Demand) -> bool:
        """Say whether a witness meets it."""
        return bool(self._met[demand.attacker, self._column(demand)])

    def meets(self, difference: Numbers, demand: Demand) -> bool:
        """Say whether a table that fits what the attacker knows meets the demand."""
        return bool(difference[demand.cell] * demand.side >= self.distance(demand) * ENOUGH)

    def waive(self, demand: Demand) -> None:
        """Require it no more, as it failed and is on record as failed."""
        self.required[demand.attacker, self._column(demand)] = False

    def _column(self, demand: Demand) -> int:
        place = int(np.searchsorted(self.cells, demand.cell))
        return place if demand.side == 1 else place + len(self.cells)


def lengthened(system: LinkedSystem, witnesses: Sequence[Numbers]) -> list[Numbers]:
    """Return witnesses of a system with fewer virtual cells, with what these are in them."""
    if not witnesses:
        return []
    first, size = len(witnesses[0]), len(system)
    longer = np.zeros((len(witnesses), size))
    longer[:, :first] = witnesses
    ends = np.maximum.reduceat(system.equations.indices, system.equations.indptr[:-1])
    for cell in range(first, size):
        definition = system.equations[[int(np.argmax(ends == cell))]]
        own = definition.indices == cell
        others = longer[:, definition.indices[~own]] @ definition.data[~own]
        longer[:, cell] = -others / float(definition.data[own][0])
    return list(longer)
