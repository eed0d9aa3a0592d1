"""What a deliverable dataset is: its name, what a row of it is, its columns.

Which there are is said in `datasets`.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from kinlink.linker.v1 import intake_service_pb2 as pb
from kinlink.pseudonyms import Kind


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a dataset.

    `kind` is set when the column holds pseudonyms; `kind_column` names the column
    that tells the kind row by row, for persons who may stand under a CPR or a
    replacement number. `values` are the allowed codes. `first_of_month` dates are
    refused on any other day.
    """

    name: str
    dtype: pl.DataType
    description: str
    description_da: str
    nullable: bool = False
    kind: Kind | None = None
    kind_column: str | None = None
    values: tuple[str, ...] = ()
    first_of_month: bool = False


@dataclass(frozen=True, slots=True)
class Dataset:
    """A deliverable dataset: its name, its wire number, what a row is, its columns.

    `encoded`: it holds encodings, and its header names a linkage schema and a key of kind encoding.
    """

    name: str
    number: pb.Dataset.ValueType
    row: str
    row_da: str
    columns: tuple[Column, ...]
    register_only: bool = False
    encoded: bool = False

    @property
    def schema(self) -> pl.Schema:
        """The polars schema, in column order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def pseudonym_columns(self) -> tuple[Column, ...]:
        """The columns that hold pseudonyms."""
        return tuple(column for column in self.columns if column.kind or column.kind_column)
