"""Witnesses: tables that fit all that is shown, and so widen the range of every cell that they move.

A witness speaks against an attacker only if it leaves unmoved what that attacker knows. The witnesses of a
pattern are its certificate (`certificate`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from linker.disclosure.attackers import Attacker
from linker.disclosure.needs import Needs
from linker.disclosure.system import Flags, Numbers

ENOUGH = 1 - 1e-6  # of a need: solvers work to a tolerance


@dataclass(frozen=True, slots=True, order=True)
class Demand:
    """That an attacker must find it possible that a primary cell is as far up (side 1) or down (-1) as it needs."""

    attacker: int
    cell: int
    side: int


class Witnesses:
    """Witnesses, and which demands they meet. Demands are flags: attackers × (primary cells up, then down)."""

    def __init__(self, needs: Needs, attackers: Sequence[Attacker]) -> None:
        """Start without a witness."""
        self.cells = np.flatnonzero(needs.primary)
        self.distances = np.concatenate([needs.up[self.cells], needs.down[self.cells]])
        self._attackers = attackers
        self._size = len(needs.primary)
        known = np.zeros((len(attackers), self._size), bool)
        for place, attacker in enumerate(attackers):
            known[place, attacker.known] = True
        self.required = np.tile(self.distances > 0, (len(attackers), 1)) & ~np.tile(known[:, self.cells], 2)
        self._met = np.zeros_like(self.required)
        self._tables: list[tuple[np.ndarray, Numbers]] = []
        widths = 2 * len(self.cells), len(attackers), self._size
        self._flags: list[Flags] = [np.zeros((64, width), bool) for width in widths]

    def __len__(self) -> int:
        """Return the number of witnesses."""
        return len(self._tables)

    def tables(self) -> list[Numbers]:
        """Return the differences, one entry a cell."""
        result = []
        for cells, differences in self._tables:
            table = np.zeros(self._size)
            table[cells] = differences
            result.append(table)
        return result

    def add(self, difference: Numbers) -> None:
        """Take one more."""
        moved = difference != 0
        at = difference[self.cells]
        reached = np.concatenate([at, -at]) >= self.distances * ENOUGH
        fit = [not moved[attacker.known].any() for attacker in self._attackers]
        cells = np.flatnonzero(moved)
        if len(self) == len(self._flags[0]):
            self._flags = [np.vstack([flags, np.zeros_like(flags)]) for flags in self._flags]
        for flags, row in zip(self._flags, (reached, fit, moved), strict=True):
            flags[len(self)] = row
        self._tables.append((cells, difference[cells]))
        self._met |= np.outer(fit, reached)

    def open(self, without: int | None = None) -> Flags:
        """Return the demands that no witness meets; or none of those that leave the cell `without` unmoved."""
        met = self._met if without is None else self._met_by(~self._rows(2)[:, without])
        flags: Flags = self.required & ~met
        return flags

    def drop(self, moving: Flags) -> None:
        """Forget the witnesses that move any of the cells."""
        keep = np.logical_not(self._rows(2)[:, moving].any(axis=1))
        count = int(keep.sum())
        for place in range(3):
            self._flags[place][:count] = self._rows(place)[keep]
        self._tables = [table for table, kept in zip(self._tables, keep, strict=True) if kept]
        self._met = self._met_by(np.ones(count, bool))

    def _rows(self, place: int) -> Flags:
        return self._flags[place][: len(self)]

    def _met_by(self, chosen: Flags) -> Flags:
        reached, fit = self._rows(0), self._rows(1)
        met = [reached[chosen & fits].any(axis=0) for fits in fit.T]
        return np.array(met, bool).reshape(self.required.shape)

    def demands(self, flags: Flags) -> list[Demand]:
        """Return flagged demands in order: attacker, then up before down, then cell."""
        half = len(self.cells)
        return [
            Demand(int(attacker), int(self.cells[place % half]), 1 if place < half else -1)
            for attacker, place in np.argwhere(flags)
        ]

    def distance(self, demand: Demand) -> float:
        """Return how far the demand goes."""
        return float(self.distances[self._column(demand)])

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
