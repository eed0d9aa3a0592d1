"""Classifications: the leaves of one axis, and the sums of them that tables show.

1. A sum is a named set of leaves; several hierarchies may stand on the same leaves, such as counties and
   size groups of the same districts.
2. Every sum is one relation with its leaves. Relations between sums follow from these.

It does not know values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp


class ClassificationError(ValueError):
    """A classification contradicts itself; names axis and code."""


@dataclass(frozen=True, slots=True)
class Classification:
    """One axis of a table: its leaves, and its sums (subtotals and total) with the leaves of each."""

    name: str
    leaves: tuple[str, ...]
    sums: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        """Check.

        Raises:
            ClassificationError: a code stands twice, or a sum names no leaf or an unknown one.
        """
        if len(set(self.codes)) != len(self.codes) or not self.leaves:
            raise ClassificationError(f"axis {self.name}: every code stands once, and there is a leaf")
        for code, members in self.sums.items():
            if not members or not set(members) <= set(self.leaves):
                raise ClassificationError(f"axis {self.name}: {code} must sum leaves of the axis")

    @property
    def codes(self) -> tuple[str, ...]:
        """Leaves, then sums."""
        return (*self.leaves, *self.sums)

    def members(self) -> list[tuple[int, ...]]:
        """Return for every code the numbers of its leaves, ascending."""
        number = {leaf: place for place, leaf in enumerate(self.leaves)}
        sums = (tuple(sorted({number[leaf] for leaf in members})) for members in self.sums.values())
        return [*((place,) for place in range(len(self.leaves))), *sums]

    def membership(self) -> sp.csr_matrix:
        """Return leaves × codes, 1 where the code holds the leaf."""
        columns = self.members()
        rows = np.concatenate([np.array(column) for column in columns])
        places = np.repeat(np.arange(len(columns)), [len(column) for column in columns])
        return sp.csr_matrix((np.ones(len(rows)), (rows, places)), (len(self.leaves), len(columns)))

    def relations(self) -> sp.csr_matrix:
        """Return sums × codes: 1 for each leaf of the sum, -1 for the sum itself."""
        leaves = self.membership()[:, len(self.leaves) :].T
        return sp.hstack([leaves, -sp.identity(len(self.sums))]).tocsr()


def product(parts: list[sp.csr_matrix]) -> sp.csr_matrix:
    """Return the Kronecker product: cells of a table are numbered by their codes, the last axis running fastest."""
    result = sp.csr_matrix(np.ones((1, 1)))
    for part in parts:
        result = sp.kron(result, part, format="csr")
    return result


def grid_equations(axes: tuple[Classification, ...]) -> sp.csr_matrix:
    """Return relations × cells of the full table: along every axis, each sum less its leaves, for all else fixed."""
    blocks = []
    for place, axis in enumerate(axes):
        if axis.sums:
            identities = [sp.identity(len(other.codes), format="csr") for other in axes]
            blocks.append(product([*identities[:place], axis.relations(), *identities[place + 1 :]]))
    cells = int(np.prod([len(axis.codes) for axis in axes]))
    return sp.vstack(blocks).tocsr() if blocks else sp.csr_matrix((0, cells))
