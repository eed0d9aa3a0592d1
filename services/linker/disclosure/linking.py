"""Tables that share contributors, linked into one system over their finest common atoms.

1. A region is a set of leaves on every axis of any of the tables; an axis that a table lacks is not restricted, unless
   the table is said to be `within` some of its leaves. Equal regions of different tables are one cell.
2. An atom is a populated combination of leaves of all axes. Where no table has it, it is a cell that is never
   shown, and the finest cells of each table sum their atoms.
3. A contributor counts in a cell if what it contributes there, net, is not 0.

It does not know what is unsafe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import scipy.sparse as sp

from linker.disclosure.classification import Classification, ClassificationError, grid_equations
from linker.disclosure.system import Integers, LinkedSystem, distinct

_SLICE = 5_000_000  # contributions to cells that are added up at once: bounds memory

Region = tuple[tuple[int, ...], ...]  # for each axis, by name, the numbers of its leaves


@dataclass(frozen=True, slots=True)
class CrossTable:
    """A table with all its margins: a name and its axes.

    `within`: leaves that the table is restricted to, of axes it has or has not; without an entry it holds all leaves.
    An axis that the table has and that stands in `within` has just these leaves. `shown`: the table is shown; else its
    cells join the system as cells that are never shown, such as those of an earlier release.
    """

    name: str
    axes: tuple[Classification, ...]
    within: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    shown: bool = True


def link(
    tables: Sequence[CrossTable], contributions: pl.DataFrame, *, counted: bool = False, nonnegative: bool = True
) -> LinkedSystem:
    """Return the system of one measure.

    `contributions`: `contributor` (integer), `amount` (integer), and for every axis that a table has or is within, a
    String column of its leaves; a row is what a contributor contributes to an atom, several rows add up. `counted`:
    amounts are counts. Cells are ordered by region; rows and tables in any order give the same system, and so do
    measures of the same rows: cell by cell, they can be related (`relations`).
    Cost: seconds for 2 million contributions to 3,000 cells; memory is bounded.

    Raises:
        ClassificationError: two tables have different leaves on an axis of one name, or a row has another leaf.
    """
    axes = _common_axes(tables, contributions)
    rows = _numbered(contributions, axes)
    atoms = rows.select(list(axes)).unique().sort(list(axes)) if axes else pl.DataFrame({"all": [0]})
    numbers = atoms.to_numpy()[:, : len(axes)]
    atom_regions = [tuple((int(leaf),) for leaf in row) for row in numbers]
    grids = {table.name: _regions(table, axes) for table in tables}
    labels: dict[Region, str] = {}
    for table in sorted(tables, key=lambda table: (not table.shown, table.name)):
        for region, codes in grids[table.name]:
            labels.setdefault(region, f"{table.name}: {', '.join(codes)}")
    shown = {region for table in tables if table.shown for region, _ in grids[table.name]}
    regions = sorted(labels.keys() | set(atom_regions))
    place = {region: number for number, region in enumerate(regions)}
    incidence = _incidence(numbers, regions)
    owners, given, present = _given(rows, atoms, list(axes))
    blocks = [_table_equations(table, grids[table.name], place) for table in tables]
    finest = {region for table in tables for region in _finest(table, axes)} - set(atom_regions)
    blocks.append(_atom_equations(sorted(finest), atom_regions, place, incidence))
    size = len(regions)
    return LinkedSystem(
        tables={name: np.array([place[region] for region, _ in grid], np.int64) for name, grid in grids.items()},
        labels=tuple(labels.get(region, "an atom that no table shows") for region in regions),
        counted=np.full(size, counted),
        nonnegative=np.full(size, nonnegative),
        shown=np.array([region in shown for region in regions], bool),
        equations=distinct(sp.vstack(blocks).tocsr()),
        atoms=incidence,
        owners=owners,
        given=given,
        **_facts(owners, given, present, incidence),
    )


def _common_axes(tables: Sequence[CrossTable], contributions: pl.DataFrame) -> dict[str, Classification]:
    leaves: dict[str, set[str]] = {}
    whole = set()
    for table in tables:
        for name, named in [*((axis.name, axis.leaves) for axis in table.axes), *table.within.items()]:
            leaves.setdefault(name, set()).update(named)
        whole |= {axis.name for axis in table.axes} - table.within.keys()
    for name in leaves.keys() - whole:
        leaves[name] |= set(contributions[name].unique())
    for table in tables:
        for axis in table.axes:
            if set(axis.leaves) != set(table.within.get(axis.name, leaves[axis.name])):
                raise ClassificationError(f"axis {axis.name}: all tables need the same leaves, or say within which")
        for name, within in table.within.items():
            if not within or not set(within) <= leaves[name]:
                raise ClassificationError(f"table {table.name}: within {name}: name at least one leaf, all of the axis")
    return {name: Classification(name, tuple(sorted(leaves[name])), {}) for name in sorted(leaves)}


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
    numbers = {name: {leaf: place for place, leaf in enumerate(axis.leaves)} for name, axis in axes.items()}
    every = {
        name: tuple(sorted(numbers[name][leaf] for leaf in set(table.within.get(name, axis.leaves))))
        for name, axis in axes.items()
    }
    result: list[tuple[dict[str, tuple[int, ...]], tuple[str, ...]]] = [(every, ())]
    for axis in table.axes:
        leaves = [tuple(sorted(numbers[axis.name][axis.leaves[leaf]] for leaf in each)) for each in axis.members()]
        result = [
            ({**region, axis.name: members}, (*codes, code))
            for region, codes in result
            for members, code in zip(leaves, axis.codes, strict=True)
        ]
    return [(tuple(region[name] for name in axes), codes) for region, codes in result]


def _finest(table: CrossTable, axes: dict[str, Classification]) -> list[Region]:
    plain = tuple(Classification(axis.name, axis.leaves, {}) for axis in table.axes)
    return [region for region, _ in _regions(CrossTable(table.name, plain, table.within), axes)]


def _incidence(atoms: np.ndarray, regions: Sequence[Region]) -> sp.csc_matrix:
    """Return atoms × regions, 1 where the region holds the atom."""
    masks: list[dict[tuple[int, ...], np.ndarray]] = []
    for axis in range(atoms.shape[1]):
        sets = {region[axis] for region in regions}
        size = 1 + max([*(leaf for leaves in sets for leaf in leaves), *atoms[:, axis].tolist()])
        masks.append({leaves: np.bincount(leaves, minlength=size).astype(bool)[atoms[:, axis]] for leaves in sets})
    columns = []
    for region in regions:
        held = np.ones(len(atoms), bool)
        for mask, leaves in zip(masks, region, strict=True):
            held &= mask[leaves]
        columns.append(np.flatnonzero(held))
    indptr = np.concatenate([[0], np.cumsum([len(column) for column in columns])])
    return sp.csc_matrix((np.ones(indptr[-1]), np.concatenate(columns), indptr), (len(atoms), len(regions)))


def _given(rows: pl.DataFrame, atoms: pl.DataFrame, axes: list[str]) -> tuple[Integers, sp.csr_matrix, sp.csr_matrix]:
    """Return contributors, what each gives to the atoms, and 1 where it has a row."""
    located = rows.join(atoms.with_row_index("atom"), on=axes) if axes else rows.with_columns(atom=pl.lit(0))
    contributors, place = np.unique(located["contributor"].to_numpy(), return_inverse=True)
    at = (place, located["atom"].to_numpy().astype(np.int64))
    shape = (len(contributors), len(atoms))
    given = sp.csr_matrix((located["amount"].to_numpy(), at), shape)
    present = sp.csr_matrix((np.ones(len(place), np.int64), at), shape)
    return contributors.astype(np.int64), given, present


def _facts(
    contributors: Integers, given: sp.csr_matrix, present: sp.csr_matrix, incidence: sp.csc_matrix
) -> dict[str, Integers]:
    """Return values, contributors, absolute, largest, second and sole of every region."""
    columns = incidence.astype(np.int64)
    work = np.cumsum(incidence.T @ present.sum(axis=0).A1) // _SLICE
    parts = []
    for part in np.unique(work):
        regions = columns[:, work == part]
        facts = _net_facts((given @ regions).tocsc(), contributors)
        empty = np.flatnonzero(facts["contributors"] == 0)
        facts["sole"][empty] = _net_facts((present @ regions[:, empty]).tocsc(), contributors)["sole"]
        parts.append(facts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _net_facts(net: sp.csc_matrix, contributors: Integers) -> dict[str, Integers]:
    """Return the facts of regions from contributors × regions of net amounts, none of them 0."""
    net.eliminate_zeros()
    counts = np.diff(net.indptr).astype(np.int64)
    some = np.flatnonzero(counts)
    starts = net.indptr[some]
    facts = {name: np.zeros(len(counts), np.int64) for name in ("values", "absolute", "largest", "second")}
    facts["contributors"] = counts
    facts["sole"] = np.full(len(counts), -1, np.int64)
    if len(some):
        sizes = np.abs(net.data)
        facts["values"][some] = np.add.reduceat(net.data, starts)
        facts["absolute"][some] = np.add.reduceat(sizes, starts)
        facts["largest"][some] = np.maximum.reduceat(sizes, starts)
        tops = np.flatnonzero(sizes == np.repeat(facts["largest"], counts))
        _, first = np.unique(np.repeat(np.arange(len(counts)), counts)[tops], return_index=True)
        sizes[tops[first]] = 0
        facts["second"][some] = np.maximum.reduceat(sizes, starts)
        alone = np.flatnonzero(counts == 1)
        facts["sole"][alone] = contributors[net.indices[net.indptr[alone]]]
    return facts


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
    cells = [place[region] for region in finest]
    to_cells = sp.csr_matrix(
        (np.ones(len(atom_cells)), (range(len(atom_cells)), atom_cells)), (len(atom_cells), len(place))
    )
    itself = sp.csr_matrix((np.ones(len(cells)), (range(len(cells)), cells)), (len(cells), len(place)))
    return incidence[:, cells].T @ to_cells - itself
