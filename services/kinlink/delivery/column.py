"""One column of a plain table, pseudonymised outside a delivery.

The same rules for a number, and the same rejects, as a delivery has. Tables come and go as
CSV (UTF-8, header) or Parquet, by their suffix; a CSV is read as text throughout, so that
its other columns come out as they went in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from kinlink import pseudonyms
from kinlink.delivery import identifiers
from kinlink.delivery.errors import ExtractError
from kinlink.delivery.validate import REJECTS
from kinlink.errors import InputError
from kinlink.types.v1.types_pb2 import KeyRef

PARQUET = ".parquet"


def read_table(path: Path, column: str, separator: str) -> pl.DataFrame:
    """Read a table. Raises ExtractError: no such file, not of its form, or without the column."""
    try:
        if path.suffix == PARQUET:
            frame = pl.read_parquet(path)
        else:
            frame = pl.read_csv(path, separator=separator, infer_schema=False)
    except OSError:
        raise ExtractError(f"The file {path} cannot be read. Check the path.", "EXTRACT_MISSING") from None
    except pl.exceptions.PolarsError:
        form = "Parquet" if path.suffix == PARQUET else f"CSV in UTF-8 separated by {separator!r}"
        raise ExtractError(f"The file {path} is not {form}.", "BAD_TABLE") from None
    if column not in frame.columns:
        raise ExtractError(f"{path.name} has no column {column}. Check --column and --separator.", "MISSING_COLUMN")
    if frame.schema[column] != pl.String:
        message = f"Column {column} of {path.name} is not text, so leading zeros are lost. Write it as text."
        raise ExtractError(message, "NOT_TEXT")
    # blank is nobody, as in a delivery
    number = identifiers.compact(pl.col(column))
    return frame.with_columns(pl.when(~identifiers.absent(number)).then(pl.col(column)).alias(column))


def column_rejects(frame: pl.DataFrame, column: str, file: str, *, synthetic: bool) -> pl.DataFrame:
    """Return the rows (REJECTS; numbered as in a file with a header) whose number is no CPR number."""
    kind = identifiers.classify(identifiers.compact(pl.col(column)), synthetic=synthetic)
    bad = pl.col(column).is_not_null() & (kind != "cpr").fill_null(value=True)
    return (
        frame.with_row_index("row", 2)
        .filter(bad)
        .select(
            file=pl.lit(file),
            row="row",
            column=pl.lit(column),
            reason=pl.lit("not_a_cpr"),
            expected=pl.lit("a CPR number, ten digits beginning with a real date"),
        )
        .match_to_schema(REJECTS)
    )


def without(frame: pl.DataFrame, rejects: pl.DataFrame) -> pl.DataFrame:
    """Return the frame without the rows that `column_rejects` names."""
    return frame.with_row_index("_row", 2).filter(~pl.col("_row").is_in(rejects["row"].implode())).drop("_row")


def pseudonymised(frame: pl.DataFrame, column: str, key: KeyRef, *, text: bool) -> pl.DataFrame:
    """Return the frame with its column of elements in text form, or as it is."""
    if not text:
        return frame
    distinct = frame[column].unique().drop_nulls()
    written = [pseudonyms.to_text(key.domain, key.version, element) for element in distinct]
    replaced = frame[column].replace_strict(distinct, pl.Series(written, dtype=pl.String), default=None)
    return frame.with_columns(replaced.alias(column))


def write_table(frame: pl.DataFrame, path: Path, separator: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write a table; Parquet with `metadata`. Raises InputError when it cannot be written."""
    try:
        if path.suffix == PARQUET:
            frame.write_parquet(path, statistics=False, metadata=dict(metadata or {}))
        else:
            frame.write_csv(path, separator=separator)
    except OSError:
        raise InputError(f"The file {path} cannot be written. Check the path.", "OUT_FILE") from None
