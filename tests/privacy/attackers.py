"""Attackers on released counts. Each knows all published cells and what classes of families exist.

A published count is the set of classes of families that it sums, and its number. Classes
are finer than anything published; an attacker wins a class, or a union of classes, with
1 to 4 families when it learns that number exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, floor

import numpy as np
from scipy.optimize import linprog

FEW = range(1, 5)


@dataclass(frozen=True)
class Published:
    """A published count: the numbers of the classes that it sums, and the sum."""

    classes: frozenset[int]
    value: int


@dataclass(frozen=True)
class World:
    """What is true: families per class, and the unions of classes that are worth knowing."""

    sizes: Sequence[int]
    secrets: Sequence[frozenset[int]]

    def few(self) -> list[frozenset[int]]:
        """Return the secrets that hold 1 to 4 families."""
        return [secret for secret in self.secrets if sum(self.sizes[each] for each in secret) in FEW]


class BoundsAttacker:
    """Bounds each secret by linear programming: numbers are not negative and add up to what is published."""

    def wins(self, world: World, published: Sequence[Published]) -> list[frozenset[int]]:
        """Return the secrets of 1 to 4 families that it learns exactly."""
        equations = np.array([[each in cell.classes for each in range(len(world.sizes))] for cell in published], float)
        values = np.array([cell.value for cell in published], float)
        return [secret for secret in world.few() if self._is_exact(secret, equations, values)]

    def _is_exact(self, secret: frozenset[int], equations: np.ndarray, values: np.ndarray) -> bool:
        objective = np.array([each in secret for each in range(equations.shape[1])], float)
        least, most = (linprog(sign * objective, A_eq=equations, b_eq=values, bounds=(0, None)) for sign in (1, -1))
        assert least.status in (0, 3)
        assert most.status in (0, 3), "an unfinished search is no proof"
        if most.status == 3:
            return False
        return ceil(least.fun - 1e-6) == floor(-most.fun + 1e-6)


class SubtractionAttacker:
    """Subtracts published counts from one another, where one group holds the other, and sums of two."""

    def wins(self, world: World, published: Sequence[Published]) -> list[frozenset[int]]:
        """Return the groups of 1 to 4 families that a subtraction gives."""
        groups = {cell.classes for cell in published}
        groups |= {one | other for one, other in combinations(groups, 2) if not one & other}
        found = {larger - smaller for larger in groups for smaller in groups if smaller < larger}
        return [group for group in found if sum(world.sizes[each] for each in group) in FEW]


def published_counts(
    cells: Iterable[tuple[Mapping[str, frozenset[str]], int]], classes: Sequence[Mapping[str, str]]
) -> list[Published]:
    """Return published counts from cells given as {attribute: categories that the cell holds} and a number."""
    return [
        Published(
            frozenset(
                number
                for number, each in enumerate(classes)
                if all(each[attribute] in names for attribute, names in cell.items())
            ),
            value,
        )
        for cell, value in cells
    ]
