"""One system: all cells that are shown together, what they sum, and every equation between them.

1. A cell is a region (of one measure); tables that show the same region show the same cell, once.
2. The equations say all that margins give away: any relation between cells follows from them. Where tables
   overlap without one holding the other, the finest common atoms stand in the system as cells that are never shown.
3. Amounts are whole øre (or any smallest unit); counts are contributors.

It does not know what is unsafe, nor what is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]


class NotAdditiveError(ValueError):
    """A sum is not the sum of its parts; names a cell, never a value."""


@dataclass(frozen=True, slots=True, eq=False)
class LinkedSystem:
    """Cells and equations. Arrays have one entry a cell, in a fixed order that does not depend on the order of rows.

    `tables`: for each table, the cell of every combination of its codes, the last axis running fastest.
    `labels`: table and codes, for messages to who runs it. `values`: the true amount or count. `contributors`:
    how many contribute something else than 0. `absolute`, `largest`, `second`: sum and two largest of the absolute
    contributions. `sole`: the contributor of a cell that has just one, or just one with a row of 0, else -1.
    `counted`: the cell is a count.
    `nonnegative`: everybody knows that no contribution is below 0. `shown`: some table shows it.
    `equations`: csr, equations × cells, `equations @ values == 0`. `atoms`: csc, atoms × cells, how often the cell
    counts the atom: 1 or nothing, but for combinations of several measures (`relations`); every atom is a cell of its
    own as well. `owners`, `given`: contributors, ascending, and what each gives to the atoms, owners × atoms; of lone
    contributors at least, so far as they are known.
    """

    tables: Mapping[str, Integers]
    labels: tuple[str, ...]
    values: Integers
    contributors: Integers
    absolute: Integers
    largest: Integers
    second: Integers
    sole: Integers
    counted: Flags
    nonnegative: Flags
    shown: Flags
    equations: sp.csr_matrix
    atoms: sp.csc_matrix
    owners: Integers
    given: sp.csr_matrix

    def __post_init__(self) -> None:
        """Check.

        Raises:
            NotAdditiveError: values do not satisfy an equation.
        """
        broken = np.flatnonzero(self.residuals(self.values))
        if len(broken):
            cells = self.equations[broken[0]].indices
            raise NotAdditiveError(f"{len(broken)} sums do not add up; the first is of {self.labels[max(cells)]}")

    def __len__(self) -> int:
        """Return the number of cells."""
        return len(self.values)

    def atom_cells(self) -> Integers:
        """Return the cell that is each atom: the first one, where a sum of a single atom comes after it."""
        single = np.flatnonzero(np.diff(self.atoms.indptr) == 1)[::-1]
        single = single[self.atoms.data[self.atoms.indptr[single]] == 1]
        cells = np.zeros(self.atoms.shape[0], np.int64)
        cells[self.atoms.indices[self.atoms.indptr[single]]] = single
        return cells

    def residuals(self, values: Integers) -> Integers:
        """Return what each equation leaves, in exact arithmetic."""
        residuals: Integers = self.equations.astype(np.int64) @ values
        return residuals


def joined(systems: Sequence[LinkedSystem]) -> LinkedSystem:
    """Return the systems side by side, without equations between them; for measures that no table divides.

    Tables of different measures have different names.
    """
    apart = {"tables", "labels", "equations", "atoms", "owners", "given"}
    arrays = {
        field.name: np.concatenate([getattr(system, field.name) for system in systems])
        for field in fields(LinkedSystem)
        if field.name not in apart
    }
    owners = np.unique(np.concatenate([system.owners for system in systems]))
    starts = np.cumsum([0, *(len(system) for system in systems)])
    return LinkedSystem(
        tables={
            name: cells + start
            for system, start in zip(systems, starts, strict=False)
            for name, cells in system.tables.items()
        },
        labels=tuple(label for system in systems for label in system.labels),
        equations=sp.block_diag([system.equations for system in systems], format="csr"),
        atoms=sp.block_diag([system.atoms for system in systems], format="csc"),
        owners=owners,
        given=sp.hstack([summed_by(system.owners, system.given, owners) for system in systems], format="csr"),
        **arrays,
    )


def summed_by(names: Integers, given: sp.csr_matrix, owners: Integers) -> sp.csr_matrix:
    """Return the rows of `given`, which have these names, added up by owner; what has another name is left out."""
    found = np.flatnonzero(np.isin(names, owners))
    places = np.searchsorted(owners, names[found])
    which = sp.csr_matrix((np.ones(len(found), np.int64), (places, found)), (len(owners), len(names)))
    return (which @ given).tocsr()


def distinct(equations: sp.csr_matrix) -> sp.csr_matrix:
    """Return the equations without empty and repeated ones, entries sorted, in their first order."""
    equations.sum_duplicates()
    equations.eliminate_zeros()
    equations.sort_indices()
    seen: dict[tuple[bytes, bytes], int] = {}
    for row, (start, end) in enumerate(zip(equations.indptr, equations.indptr[1:], strict=False)):
        if end > start:
            seen.setdefault((equations.indices[start:end].tobytes(), equations.data[start:end].tobytes()), row)
    return equations[sorted(seen.values())]
