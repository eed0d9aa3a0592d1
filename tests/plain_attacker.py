"""The slow, obvious second implementation of the attack: two linear programs a cell, in atoms, by scipy.

The attacker's unknowns are the atoms. It knows the sum of every cell that is shown, of every cell that it knows by
itself, which combinations of measures are nothing, and what cannot be negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from linker.disclosure.needs import Needs
from linker.disclosure.system import Flags, LinkedSystem


@dataclass(frozen=True)
class Range:
    """The lowest and highest value of a cell that an attacker cannot exclude."""

    low: float
    high: float


class PlainAttacker:
    """Knows what is shown, and the cells `known`."""

    def __init__(self, system: LinkedSystem, hidden: Flags, known: Iterable[int] = ()) -> None:
        """Write down what is known."""
        told = ~hidden
        told[list(known)] = True
        incidence = system.atoms.toarray().T
        self._incidence = incidence
        kept = np.flatnonzero(told & incidence.any(axis=1))
        nothing = system.equations.toarray() @ incidence
        nothing = nothing[nothing.any(axis=1)]
        self._sums = np.concatenate([incidence[kept], nothing])
        self._values = np.concatenate([system.values[kept].astype(float), np.zeros(len(nothing))])
        self._bounds = [(0.0 if each else None, None) for each in system.nonnegative[system.atom_cells()]]
        mixed = incidence[system.nonnegative & (incidence < 0).any(axis=1)]
        self._at_least_0 = {"A_ub": -mixed, "b_ub": np.zeros(len(mixed))} if len(mixed) else {}

    def range(self, cell: int) -> Range:
        """Return what the cell can be."""
        ends = []
        for sign in (1.0, -1.0):
            answer = linprog(
                sign * self._incidence[cell],
                A_eq=self._sums if len(self._sums) else None,
                b_eq=self._values if len(self._values) else None,
                bounds=self._bounds,
                **self._at_least_0,
            )
            assert answer.status in {0, 3}, "an unfinished program is no proof"
            ends.append(-np.inf if answer.status == 3 else answer.fun)
        return Range(ends[0], -ends[1])


def failures(
    system: LinkedSystem, needs: Needs, hidden: Flags, known: Sequence[int] = (), down: np.ndarray | None = None
) -> tuple[list[int], list[int]]:
    """Return the primary cells whose range is too narrow, and of these the ones recovered exactly."""
    attacker = PlainAttacker(system, hidden, known)
    below = needs.down if down is None else down
    narrow, exact = [], []
    for cell in np.flatnonzero(needs.primary):
        if cell in set(known):
            continue
        found, value = attacker.range(int(cell)), float(system.values[cell])
        slack = 1e-5 * max(1.0, float(needs.up[cell]))
        if found.high < value + needs.up[cell] - slack or found.low > value - below[cell] + slack:
            narrow.append(int(cell))
        if found.high - found.low < 1e-6 * max(1.0, value):
            exact.append(int(cell))
    return narrow, exact
