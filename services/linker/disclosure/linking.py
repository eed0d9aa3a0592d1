"""Tables that share contributors, linked into one system over their finest common atoms.

1. A region is a set of leaves on every axis of any of the tables; an axis that a table lacks is not restricted.
   Equal regions of different tables are one cell.
2. An atom is a populated combination of leaves of all axes. Where no table shows it, it is a cell that is never
   shown, and the finest cells of each table sum their atoms.
3. A contributor counts in a cell if what it contributes there, net, is not 0.

It does not know what is unsafe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import scipy.sparse as sp

from linker.disclosure.classification import Classification, ClassificationError, grid_equations
from linker.disclosure.system import LinkedSystem

_SLICE = 250_000  # contributions that are counted at once: bounds memory
_SIZES = ("absolute", "largest", "second")

Region = tuple[tuple[int, ...], ...]  # for each axis, by name, the numbers of its leaves


@dataclass(frozen=True, slots=True)
class CrossTable:
    """A table that is shown with all its margins: a name and its axes."""

    name: str
    axes: tuple[Classification, ...]


def link(
    tables: Sequence[CrossTable], contributions: pl.DataFrame, *, counted: bool = False, nonnegative: bool = True
) -> LinkedSystem:
    """Return the system of one measure.

    `contributions`: `contributor` (integer), `amount` (integer), and for every axis a String column of its leaves;
    a row is what a contributor contributes to an atom, several rows add up. `counted`: amounts are 1 and a contributor
    stands in one atom. Cells are ordered by region; rows and tables in any order give the same system.

    Raises:
        ClassificationError: two tables have different leaves on an axis of one name, or a row has another leaf.
    """
    axes = _common_axes(tables)
    rows = _numbered(contributions, axes)
    atoms = rows.select(list(axes)).unique().sort(list(axes)) if axes else rows.select(pl.len()).head(1)
    atom_regions = [tuple((leaf,) for leaf in row) for row in atoms.iter_rows()]
    grids = {table.name: _regions(table, axes) for table in tables}
    shown: dict[Region, str] = {}
    for table in sorted(tables, key=lambda table: table.name):
        for region, codes in grids[table.name]:
            shown.setdefault(region, f"{table.name}: {', '.join(codes)}")
    regions = sorted(shown.keys() | set(atom_regions))
    place = {region: number for number, region in enumerate(regions)}
    incidence = _incidence(atoms.to_numpy(), regions)
    facts = _facts(rows, atoms, list(axes), incidence)
    blocks = [_table_equations(table, grids[table.name], place) for table in tables]
    finest = {region for table in tables for region in _finest(table, axes)} - set(atom_regions)
    blocks.append(_atom_equations(sorted(finest), atom_regions, place, incidence))
    size = len(regions)
    return LinkedSystem(
        tables={name: np.array([place[region] for region, _ in grid], np.int64) for name, grid in grids.items()},
        labels=tuple(shown.get(region, "an atom that no table shows") for region in regions),
        counted=np.full(size, counted),
        nonnegative=np.full(size, nonnegative),
        shown=np.array([region in shown for region in regions], bool),
        equations=distinct(sp.vstack(blocks).tocsr()),
        atoms=incidence,
        **facts,
    )


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


def _common_axes(tables: Sequence[CrossTable]) -> dict[str, Classification]:
    found: dict[str, Classification] = {}
    for table in tables:
        for axis in table.axes:
            if set(found.setdefault(axis.name, axis).leaves) != set(axis.leaves):
                raise ClassificationError(f"axis {axis.name}: all tables need the same leaves")
    return {name: Classification(name, tuple(sorted(found[name].leaves)), {}) for name in sorted(found)}


def _numbered(contributions: pl.DataFrame, axes: dict[str, Classification]) -> pl.DataFrame:
    """Return contributions with leaves as numbers, one row a contributor and atom."""
    leaves = []
    for name, axis in axes.items():
        unknown = set(contributions[name].unique()) - set(axis.leaves)
        if unknown:
            raise ClassificationError(f"axis {name}: a row has a leaf that no table has")
        leaves.append(
            pl.col(name).replace_strict({leaf: n for n, leaf in enumerate(axis.leaves)}, return_dtype=pl.Int64)
        )
    numbered = contributions.select(*leaves, pl.col("contributor").cast(pl.Int64), pl.col("amount").cast(pl.Int64))
    return numbered.group_by(*axes, "contributor").agg(pl.col("amount").sum())


def _regions(table: CrossTable, axes: dict[str, Classification]) -> list[tuple[Region, tuple[str, ...]]]:
    """Return region and codes of every cell, in the order of the table's grid."""
    every = {name: tuple(range(len(axis.leaves))) for name, axis in axes.items()}
    result: list[tuple[dict[str, tuple[int, ...]], tuple[str, ...]]] = [(every, ())]
    for axis in table.axes:
        number = {leaf: place for place, leaf in enumerate(axes[axis.name].leaves)}
        leaves = [tuple(sorted(number[axis.leaves[leaf]] for leaf in members)) for members in axis.members()]
        result = [
            ({**region, axis.name: members}, (*codes, code))
            for region, codes in result
            for members, code in zip(leaves, axis.codes, strict=True)
        ]
    return [(tuple(region[name] for name in axes), codes) for region, codes in result]


def _finest(table: CrossTable, axes: dict[str, Classification]) -> list[Region]:
    plain = tuple(Classification(axis.name, axis.leaves, {}) for axis in table.axes)
    return [region for region, _ in _regions(CrossTable(table.name, plain), axes)]


def _incidence(atoms: np.ndarray, regions: Sequence[Region]) -> sp.csc_matrix:
    """Return atoms × regions, 1 where the region holds the atom."""
    width = atoms.shape[1]
    parts = []
    for axis in range(width):
        sets = {region[axis]: None for region in regions}
        size = 1 + max([*(leaf for leaves in sets for leaf in leaves), *atoms[:, axis].tolist()])
        masks = {leaves: np.bincount(leaves, minlength=size).astype(bool)[atoms[:, axis]] for leaves in sets}
        parts.append([masks[region[axis]] for region in regions])
    columns = [np.flatnonzero(np.logical_and.reduce(masks)) for masks in zip(*parts, strict=True)]
    sizes = [len(column) for column in columns]
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    return sp.csc_matrix((np.ones(indptr[-1]), np.concatenate(columns), indptr), (len(atoms), len(regions)))


def _facts(rows: pl.DataFrame, atoms: pl.DataFrame, axes: list[str], incidence: sp.csc_matrix) -> dict[str, np.ndarray]:
    """Return what each cell sums, counted over its contributors. Cost: group-bys over cells × contributions."""
    located = rows.join(atoms.with_row_index("atom").cast({"atom": pl.Int64}), on=axes)
    per_atom = np.bincount(located["atom"].to_numpy(), minlength=len(atoms))
    slices = np.cumsum(incidence.T @ per_atom) // _SLICE
    numbers = {name: np.zeros(incidence.shape[1], np.int64) for name in ("values", "contributors", *_SIZES)}
    numbers["sole"] = np.full(incidence.shape[1], -1, np.int64)
    for part in np.unique(slices):
        cells = np.flatnonzero(slices == part)
        members = incidence[:, cells].tocoo()
        within = pl.DataFrame({"atom": members.row.astype(np.int64), "cell": cells[members.col].astype(np.int64)})
        facts = _net_facts(within.join(located, on="atom"))
        for name, column in numbers.items():
            column[facts["cell"].to_numpy()] = facts[name].to_numpy()
    return numbers


def _net_facts(contributed: pl.DataFrame) -> pl.DataFrame:
    """Return a row a cell from rows of cell, contributor and amount."""
    size_of = pl.col("amount").abs()
    return (
        contributed.group_by("cell", "contributor")
        .agg(pl.col("amount").sum())
        .filter(pl.col("amount") != 0)
        .group_by("cell")
        .agg(
            pl.col("amount").sum().alias("values"),
            pl.len().cast(pl.Int64).alias("contributors"),
            size_of.sum().alias("absolute"),
            size_of.max().alias("largest"),
            size_of.top_k(2).sort(descending=True).get(1, null_on_oob=True).fill_null(0).alias("second"),
            pl.when(pl.len() == 1).then(pl.col("contributor").first()).otherwise(-1).alias("sole"),
        )
    )


def _table_equations(
    table: CrossTable, grid: Sequence[tuple[Region, tuple[str, ...]]], place: dict[Region, int]
) -> sp.csr_matrix:
    cells = [place[region] for region, _ in grid]
    to_cells = sp.csr_matrix((np.ones(len(cells)), (range(len(cells)), cells)), (len(cells), len(place)))
    return grid_equations(table.axes) @ to_cells


def _atom_equations(
    finest: Sequence[Region], atom_regions: Sequence[Region], place: dict[Region, int], incidence: sp.csc_matrix
) -> sp.csr_matrix:
    """Return an equation for each finest cell of a table: its atoms, less itself."""
    atom_cells = np.array([place[region] for region in atom_regions], int)
    equations = sp.lil_matrix((len(finest), len(place)))
    for row, region in enumerate(finest):
        cell = place[region]
        equations[row, atom_cells[incidence.indices[incidence.indptr[cell] : incidence.indptr[cell + 1]]]] = 1
        equations[row, cell] = -1
    return equations.tocsr()
