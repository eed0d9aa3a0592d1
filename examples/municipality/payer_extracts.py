"""Writes each source's extract of postings once more, with columns that describe payers who have no CPR number.

1. Laid out as the ordinary extract, with columns appended. A row that is chosen has lost its number and describes its
   payer instead; every other row stands as it is, and its new columns are blank. Delivered in place of the ordinary
   extract, no amount is lost and none counts twice.
2. Rows of persons who are not in the register come on top: like some chosen row, at another price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from examples.municipality.formats import danish, with_duplicates, write_csv

PAYER_COLUMNS = {
    "record": "Løbenr",
    "name": "Navn",
    "birth_date": "Fødselsdato",
    "address": "Adresse",
    "replacement": "Erstatningsnr",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a source writes its postings. `amounts`: the columns that an outsider's price stands in."""

    file: str
    number: str
    amounts: Callable[[], dict[str, pl.Expr]]
    encoding: str = "utf-8"
    separator: str = ";"
    line_end: str = "\n"


LAYOUTS = {
    "prisme": Layout(
        "posteringer_2014_betalere.csv",
        "Registrant",
        lambda: {
            "Beløb": danish(pl.col("unit_ore") * pl.col("quantity"), thousands=True, minus_behind=True),
            "Bilagsnr": pl.int_range(pl.len()) + 2_014_900_001,
            "Tekst": pl.lit("Udbetaling"),
        },
        encoding="windows-1252",
        line_end="\r\n",
    ),
    "sundhed": Layout(
        "sundhed_2014_betalere.txt", "CPR", lambda: {"Enhedspris": danish(pl.col("unit_ore"))}, separator="|"
    ),
    "kultur": Layout(
        "kultur_fritid_betalere.csv", "Cpr", lambda: {"Beløb": danish(pl.col("unit_ore"), thousands=True)}
    ),
    "ky": Layout(
        "ydelser_ky_betalere.csv",
        "PERSONNR",
        lambda: {"BRUTTO": pl.col("gross_ore"), "REFUSION": pl.col("refund_ore")},
    ),
}


def write(source: str, lines: pl.DataFrame, rows: pl.DataFrame, extracts: Path, rng: np.random.Generator) -> None:
    """Write a source's extract with payers.

    `lines`: those of the ordinary extract, and `row`. `rows`: `row` (the line that it replaces, or is like), `outside`,
    the payer's columns, and for outsiders the amounts of the book.
    """
    layout = LAYOUTS[source]
    lines = lines.with_columns(pl.col(pl.Int64, pl.Int32, pl.UInt32).exclude("row").cast(pl.String))
    blank = pl.lit(None, pl.String).alias(layout.number)
    payers = [pl.col(name).alias(column) for name, column in PAYER_COLUMNS.items()]
    ordinary = [name for name in lines.columns if name != "row"]
    described = lines.join(rows, on="row", how="inner", maintain_order="right").with_columns(blank)
    chosen = described.filter(~pl.col("outside"))
    outside = described.filter("outside").with_columns(
        value.cast(pl.String).alias(name) for name, value in layout.amounts().items()
    )
    written = pl.concat(
        [
            lines.join(rows, on="row", how="anti").select(ordinary),
            *(part.select(*ordinary, *payers) for part in (chosen, outside)),
        ],
        how="diagonal",
    )
    write_csv(
        with_duplicates(written, rng),
        extracts / source / layout.file,
        encoding=layout.encoding,
        separator=layout.separator,
        line_end=layout.line_end,
    )
