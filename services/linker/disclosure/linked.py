"""What follows from several published counts together.

1. *Atoms.* Every table of counts with margins puts each contributor in one cell, or in
   none. The atoms are the classes of contributors that all those tables treat alike.
   Every published number of families is a sum of atoms; if no atom holds 1 to
   threshold - 1 contributors, no arithmetic on such numbers isolates that few.
2. *Differences.* Any two published counts (of families, persons, children, …) must differ
   in the contributions of no contributor, or of at least threshold: "adults minus
   families" in one cell counts the families with two adults, and two overlapping groups
   differ by those who are in only one.
3. *Combinations.* Within one cell the same holds for every combination of its counts with
   small whole coefficients: adults + single providers - 2 families counts those with one
   adult who is married.

Amounts are not linked here: the gate lets only one table with margins sum a column of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import polars as pl

from linker.disclosure.cells import Cells, with_margins
from linker.disclosure.policy import Policy
from linker.tables.registry import RegisteredTable

Counts = npt.NDArray[np.int64]
_COLUMNS_FOR_REACH_2 = 6  # 5 ** 6 combinations of a cell's counts; with more, coefficients are -1, 0 and 1


def counted(table: RegisteredTable) -> tuple[str, ...]:
    """Return the table's columns that are counts, where it has margins; else none."""
    return tuple(column for column in table.columns if table.margins and not column.endswith("_ore"))


def isolates(tables: Sequence[tuple[RegisteredTable, Cells]], policy: Policy) -> bool:
    """Say whether published counts of these tables isolate 1 to threshold - 1 contributors.

    `tables` come with their inner cells; those without margins, or of amounts only, add nothing.
    Cost: quadratic in published counts, linear in distinct contributions.

    Guarantee: False means that rules 1 to 3 of this module hold. It does not mean that a
    count of persons is known to no better than a margin: intervals are not looked at.
    """
    linked = [(cells, counted(table)) for table, cells in tables if counted(table)]
    return bool(linked) and (_few_in_an_atom(linked, policy) or _few_in_arithmetic(linked, policy))


def _few_in_an_atom(linked: Sequence[tuple[Cells, tuple[str, ...]]], policy: Policy) -> bool:
    placed = [
        _counts(cells.frame, columns, place).select("contributor", "table", "cell").unique()
        for place, (cells, columns) in enumerate(linked)
    ]
    sizes = _classes(pl.concat(placed), ["table", "cell"])["len"]
    return bool((sizes < policy.threshold).any())


def _few_in_arithmetic(linked: Sequence[tuple[Cells, tuple[str, ...]]], policy: Policy) -> bool:
    counts = pl.concat(
        [_counts(with_margins(cells).frame, columns, place) for place, (cells, columns) in enumerate(linked)]
    )
    published = counts.select("table", "cell", "column").unique().sort(pl.all()).with_row_index("published")
    rows = counts.join(published, on=["table", "cell", "column"]).select("contributor", "published", "value")
    classes = _classes(rows, ["published", "value"]).with_row_index("class")
    entries = classes.explode("published", "value")
    values = np.zeros((len(published), len(classes)), dtype=np.int64)
    values[entries["published"].to_numpy(), entries["class"].to_numpy()] = entries["value"].to_numpy()
    sizes = classes["len"].to_numpy().astype(np.int64)
    if any(_is_few((values[place + 1 :] != values[place]) @ sizes, policy) for place in range(len(values) - 1)):
        return True
    groups = published.group_by("table", "cell", maintain_order=True).agg("published")["published"]
    return any(_few_in_a_combination(values[members.to_numpy()], sizes, policy) for members in groups)


def _few_in_a_combination(values: Counts, sizes: Counts, policy: Policy) -> bool:
    """Say whether a combination of one cell's counts (rows of `values`) is non-zero for few contributors."""
    profiles, which = np.unique(values, axis=1, return_inverse=True)
    contributors = np.bincount(which.ravel(), weights=sizes).astype(np.int64)
    reach = 2 if len(values) <= _COLUMNS_FOR_REACH_2 else 1
    coefficients = np.array(list(product(range(-reach, reach + 1), repeat=len(values))), dtype=np.int64)
    return _is_few((coefficients @ profiles != 0) @ contributors, policy)


def _is_few(contributors: Counts, policy: Policy) -> bool:
    return bool(((contributors > 0) & (contributors < policy.threshold)).any())


def _counts(frame: pl.DataFrame, columns: Sequence[str], place: int) -> pl.DataFrame:
    """Return the counts in long form, without zeros: contributor, table, cell, column, value."""
    return (
        frame.select("contributor", pl.lit(place).alias("table"), "cell", *columns)
        .unpivot(columns, index=["contributor", "table", "cell"], variable_name="column", value_name="value")
        .filter(pl.col("value") != 0)
    )


def _classes(frame: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Return the classes of contributors whose rows are alike, as lists, with their sizes `len`."""
    contributors = frame.sort("contributor", *columns).group_by("contributor", maintain_order=True).agg(columns)
    return contributors.group_by(columns, maintain_order=True).len()
