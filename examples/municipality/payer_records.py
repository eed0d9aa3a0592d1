"""Reads names and payers back as each source has them, in the columns that a linkage schema encodes.

1. The register's middle name stands before its surname. A payer's name and address are left in one text each: to take
   them apart is the schema's.
2. A replacement number begins with the birth date: it stands in where there is none.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from examples.municipality.payer_extracts import LAYOUTS


def registered(folder: Path) -> pl.DataFrame:
    """Return the register's persons: `cpr`, `record` (a running number), and the fields of schema dk-person-1."""
    lines = _read(folder / "extracts" / "folkeregister" / "navne_adresser.csv", "iso-8859-1")
    return lines.select(
        pl.col("PNR").alias("cpr"),
        pl.format("p{}", pl.int_range(pl.len())).alias("record"),
        pl.col("FORNAVNE").alias("given_name"),
        pl.concat_str("MELLEMNAVN", "EFTERNAVN", separator=" ", ignore_nulls=True).alias("family_name"),
        pl.col("FOED_DT").alias("birth_date"),
        pl.col("VEJNAVN").alias("street"),
        pl.col("HUSNR").alias("house_number"),
        pl.col("ETAGE_DOER").alias("floor_door"),
        pl.col("POSTNR").alias("postcode"),
    )


def payers(folder: Path) -> pl.DataFrame:
    """Return the payers of all postings without a number: `record`, `full_name`, `birth_date`, `address_line`."""
    parts = [
        _read(folder / "extracts" / source / layout.file, layout.encoding, layout.separator)
        .filter(pl.col("Løbenr").is_not_null())
        .unique("Løbenr", maintain_order=True)
        .select(
            pl.col("Løbenr").alias("record"),
            pl.col("Navn").alias("full_name"),
            pl.coalesce("Fødselsdato", pl.col("Erstatningsnr").str.slice(0, 6)).alias("birth_date"),
            pl.col("Adresse").alias("address_line"),
        )
        for source, layout in LAYOUTS.items()
    ]
    return pl.concat(parts)


def truth(folder: Path) -> pl.DataFrame:
    """Return `record`, `person` (the register's `record`, null for outsiders), `kind`, `amount_ore`, `given`."""
    persons = registered(folder).select("cpr", pl.col("record").alias("person"))
    known = pl.read_parquet(folder / "truth" / "payers.parquet").join(
        persons, on="cpr", how="left", maintain_order="left"
    )
    return known.select("record", "person", "kind", "source", "amount_ore", "given")


def _read(path: Path, encoding: str, separator: str = ";") -> pl.DataFrame:
    text = path.read_bytes().decode(encoding).replace("\r\n", "\n").encode()
    return pl.read_csv(text, separator=separator, infer_schema=False)
