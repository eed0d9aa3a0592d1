"""A table of cells as a system to protect: cells of all combinations of the axes' codes, sums, lone contributors.

Nothing tells who contributes: a lone contributor is taken to be the same one wherever the counts say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp

from linker.cell_policy import TableForm
from linker.disclosure.attackers import Attacker, insiders
from linker.disclosure.classification import Classification, grid_equations, product
from linker.disclosure.system import Flags, Integers, LinkedSystem, summed_by


def as_system(
    form: TableForm, axes: tuple[Classification, ...], places: Sequence[int], numbers: Mapping[str, Integers]
) -> LinkedSystem:
    """Return the system of a table: cells in the order of the axes' codes, the last axis fastest.

    `places` says which cell each row is; `numbers` holds a number a row for values, contributors, and largest and
    second where they are known.
    """
    atoms = product([axis.membership() for axis in axes]).tocsc()
    size = atoms.shape[1]
    listed = np.zeros(size, bool)
    listed[list(places)] = True
    full = {name: np.zeros(size, np.int64) for name in ("values", "contributors", "largest", "second")}
    for name, column in numbers.items():
        full[name][list(places)] = column
    leaves = _leaves(atoms)
    sums = atoms.T.astype(np.int64) @ full["values"][leaves]
    values = np.where(listed, full["values"], sums)
    populated = np.flatnonzero((full["contributors"][leaves] > 0) | (values[leaves] != 0))
    shown = listed.copy()
    shown[leaves] = True
    sole = _sole(atoms, full["contributors"], leaves)
    owners = np.unique(sole[leaves[populated]])
    owners = owners[owners >= 0]
    return LinkedSystem(
        tables={"cells": np.arange(size)},
        labels=_labels(axes),
        values=values,
        contributors=full["contributors"],
        absolute=np.abs(values),
        largest=full["largest"],
        second=full["second"],
        sole=sole,
        counted=np.full(size, form.counted),
        nonnegative=np.full(size, form.nonnegative),
        shown=shown,
        equations=grid_equations(axes),
        atoms=atoms[populated].tocsc(),
        owners=owners,
        given=summed_by(
            sole[leaves[populated]], sp.diags(values[leaves[populated]], dtype=np.int64, format="csr"), owners
        ),
    )


def inner_cells(axes: Sequence[Classification]) -> Flags:
    """Return which cells are leaves on every axis."""
    inner = np.ones(1, bool)
    for axis in axes:
        inner = np.kron(inner, np.arange(len(axis.codes)) < len(axis.leaves))
    return inner


def _leaves(atoms: sp.csc_matrix) -> Integers:
    """Return the cell that is each atom: the first, as a sum of one leaf comes after it."""
    single = np.flatnonzero(np.diff(atoms.indptr) == 1)[::-1]
    leaves = np.zeros(atoms.shape[0], np.int64)
    leaves[atoms.indices[atoms.indptr[single]]] = single
    return leaves


def _labels(axes: Sequence[Classification]) -> tuple[str, ...]:
    labels = [""]
    for axis in axes:
        labels = [f"{label}, {code}" if label else code for label in labels for code in axis.codes]
    return tuple(labels)


def _sole(atoms: sp.csc_matrix, contributors: Integers, leaves: Integers) -> Integers:
    """Return a number for the lone contributor of each cell that has one; leaves within one such cell share it."""
    number = np.where(contributors[leaves] == 1, np.arange(len(leaves)), -1)
    lone = np.flatnonzero(contributors == 1)
    within = {int(cell): atoms.indices[atoms.indptr[cell] : atoms.indptr[cell + 1]] for cell in lone}
    populated = {cell: rows[contributors[leaves[rows]] > 0] for cell, rows in within.items()}
    for _ in range(len(leaves)):
        before = number.copy()
        for rows in populated.values():
            if len(rows):
                number[rows] = number[rows].min()
        if np.array_equal(before, number):
            break
    sole = np.full(len(contributors), -1, np.int64)
    for cell, rows in populated.items():
        sole[cell] = number[rows[0]] if len(rows) else -1
    return sole


def insiders_of(form: TableForm, axes: tuple[Classification, ...], system: LinkedSystem) -> tuple[Attacker, ...]:
    """Return an attacker for each leaf of the axis that the policy names, who knows all cells of it."""
    if form.insiders_of is None:
        return ()
    known: dict[str, Flags] = {}
    for axis in axes:
        if axis.name == form.insiders_of:
            for place, leaf in enumerate(axis.leaves):
                ones = [
                    sp.csr_matrix((np.arange(len(each.codes)) == place) if each is axis else np.ones(len(each.codes)))
                    for each in axes
                ]
                known[leaf] = product(ones).toarray()[0] > 0
    return insiders(system, known)
