"""What contributors add to regions, and what regions are made of: for changes and combinations, which nothing joins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import scipy.sparse as sp

from linker.disclosure.facts import CONTRIBUTOR
from linker.disclosure.system import LinkedSystem
from linker.disclosure.views import Region


def contributions_to(regions: Sequence[Region], rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Return `region` (its place in the sequence), `contributor` and the columns: net, without those where all are 0.

    `rows`: contributor, a String column for every axis that a region restricts, and the columns.
    Cost: a join of rows with the regions that each lies in.
    """
    axes = sorted({name for region in regions for name, _ in region})
    atoms = rows.select(axes).unique() if axes else pl.DataFrame({"all": [0]})
    leaves = {name: atoms[name].to_numpy() for name in axes}
    masks = {part: np.isin(leaves[part[0]], part[1]) for region in regions for part in region}
    holding = [
        np.flatnonzero(np.logical_and.reduce([np.ones(len(atoms), bool), *(masks[part] for part in region)]))
        for region in regions
    ]
    within = pl.DataFrame(
        {
            "atom": np.concatenate([np.zeros(0, np.int64), *holding]),
            "region": np.repeat(np.arange(len(regions)), [len(each) for each in holding]),
        },
        schema={"atom": pl.UInt32(), "region": pl.Int64()},
    )
    numbered = atoms.with_row_index("atom")
    located = rows.join(numbered, on=axes) if axes else rows.with_columns(pl.lit(0, pl.UInt32).alias("atom"))
    return (
        located.join(within, on="atom")
        .group_by("region", CONTRIBUTOR)
        .agg(pl.col(columns).sum())
        .filter(pl.any_horizontal(pl.col(columns) != 0))
    )


def contributions_together(unions: Sequence[Sequence[Region]], rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """Return `region` (the place of a union), `contributor` and the column: net over regions with nothing in common.

    `rows` as in `contributions_to`.
    """
    regions = list(dict.fromkeys(region for union in unions for region in union))
    number = {region: place for place, region in enumerate(regions)}
    pairs = [(number[region], place) for place, union in enumerate(unions) for region in union]
    parts = pl.DataFrame(pairs, schema={"region": pl.Int64(), "union": pl.Int64()}, orient="row")
    return (
        contributions_to(regions, rows, [column])
        .join(parts, on="region")
        .group_by(pl.col("union").alias("region"), CONTRIBUTOR)
        .agg(pl.col(column).sum())
        .filter(pl.col(column) != 0)
    )


def unlinked(nets: pl.DataFrame, column: str, size: int, *, counted: bool) -> LinkedSystem:
    """Return regions as cells of a system without equations, to which the rules of single cells can be put.

    `nets`: from `contributions_to`, of `size` regions. Nothing is taken to be above 0.
    """
    amount, absolute = pl.col(column), pl.col(column).abs()
    facts = (
        nets.filter(amount != 0)
        .group_by("region")
        .agg(
            amount.sum().alias("values"),
            pl.len().cast(pl.Int64).alias("contributors"),
            absolute.sum().alias("absolute"),
            absolute.max().alias("largest"),
            absolute.top_k(2).sort(descending=True).get(1, null_on_oob=True).fill_null(0).alias("second"),
        )
    )
    numbers = {name: np.zeros(size, np.int64) for name in ("values", "contributors", "absolute", "largest", "second")}
    for name, array in numbers.items():
        array[facts["region"].to_numpy()] = facts[name].to_numpy()
    return LinkedSystem(
        tables={},
        labels=("",) * size,
        **numbers,
        sole=np.full(size, -1, np.int64),
        counted=np.full(size, counted),
        nonnegative=np.zeros(size, bool),
        shown=np.ones(size, bool),
        equations=sp.csr_matrix((0, size)),
        atoms=sp.csc_matrix((0, size)),
        owners=np.zeros(0, np.int64),
        given=sp.csr_matrix((0, 0), dtype=np.int64),
    )
