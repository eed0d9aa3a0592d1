"""What the gate takes: a registered table and the contributions behind it.

1. A contribution is what one contributor (a family; in coverage a person or an
   unlinked row) adds to one finest cell. Its key is (contributor, axes).
2. Contributors are numbers that mean the same family in every table of a release,
   and nothing outside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from linker.tables.registry import RegisteredTable


@dataclass(frozen=True, slots=True)
class TableInput:
    """A registered table with its data.

    `contributions`: `contributor` UInt32, one String column an axis (registered
    categories, no nulls), one Int64 column for each of `table.columns`; key
    (contributor, axes), any order. `families`: `contributor` and the table's denominator
    axes; key contributor, all families of the universe, so that a mean divides by all
    of them. Without denominator axes `families` is not read.
    """

    table: RegisteredTable
    contributions: pl.DataFrame
    families: pl.DataFrame

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        """The schema that `contributions` must have."""
        return {
            "contributor": pl.UInt32(),
            **{axis.name: pl.String() for axis in self.table.axes},
            **{column: pl.Int64() for column in self.table.columns},
        }
