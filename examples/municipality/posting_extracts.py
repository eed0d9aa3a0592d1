"""Writes the extracts of amounts (prisme, sundhed, kultur) and prisme's price list and catalogue.

Each writer returns its lines before any is repeated, with `row`: the row of the book behind a line, null for none.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from examples.municipality.calibration import HERE
from examples.municipality.formats import Writer, danish, shuffled, with_duplicates, write_csv
from examples.municipality.people import NONE
from examples.municipality.profiles import PROFILES, SPELL_EXTRACTS, codes

_FIRST = ("Asta", "Bo", "Clara", "Dines", "Ella", "Frode", "Gry", "Hugo", "Ida", "Jens", "Karla", "Malthe", "Sofie")
_LAST = ("Aagaard", "Bentzon", "Dyrlund", "Fjeldgaard", "Høegh", "Kløve", "Mosegaard", "Rønnow", "Skovby", "Ørbæk")


def prisme(postings: pl.DataFrame, writer: Writer, folder: Path, rng: np.random.Generator) -> pl.DataFrame:
    """The accounts of 2014, with the supplementary period."""
    rows = shuffled(postings.filter(pl.col("extract") == "prisme"), rng)
    n = len(rows)
    accounts = pl.DataFrame(
        [
            (row["service"], code, row["account_function"].replace(".", ""))
            for code, row in codes("prisme_konto").items()
        ],
        schema=["service", "key", "function"],
        orient="row",
    )
    day = pl.Series("day", rng.integers(1, 28, n))
    text = pl.Series("text", _texts(rows, writer, rng))
    cvr = pl.Series("cvr", np.where(rng.random(n) < 0.55, rng.integers(20_000_000, 39_999_999, n).astype("U8"), ""))
    rows = (
        rows.with_columns(day, text, cvr, writer.written(rows, "hyphen", rng))
        .join(accounts, on="service", how="left", maintain_order="left")
        .with_columns(pl.col("booked_month").dt.offset_by(pl.format("{}d", pl.col("day"))).alias("booked"))
        .sort("booked", maintain_order=True)
    )
    lines = rows.select(
        (pl.int_range(pl.len()) + 2_014_000_001).alias("Bilagsnr"),
        pl.col("booked").dt.strftime("%d-%m-%Y").alias("Bogføringsdato"),
        pl.col("event_month").dt.strftime("%Y%m").alias("Periode"),
        pl.format("{}{}1{}29", "function", "dranst", "key").alias("Kontostreng"),
        pl.when(pl.col("person") == NONE).then(pl.col("cvr")).otherwise(pl.col("cpr")).alias("Registrant"),
        pl.col("text").alias("Tekst"),
        danish(pl.col("unit_ore") * pl.col("quantity"), thousands=True, minus_behind=True).alias("Beløb"),
        pl.when(pl.Series(rng.random(n) < 0.3)).then(pl.lit("I25")).alias("Momskode"),
    )
    path = folder / "posteringer_2014.csv"
    write_csv(with_duplicates(lines, rng), path, encoding="windows-1252", line_end="\r\n")
    return lines.with_columns(rows["row"])


def _texts(rows: pl.DataFrame, writer: Writer, rng: np.random.Generator) -> np.ndarray:
    """Free text: some of it has a CPR number or a name in it, which nobody may read."""
    n = len(rows)
    word = np.array(["Afregning", "Faktura", "Bevilling", "Efterregulering", "Honorar – uge"])[rng.integers(0, 5, n)]
    text = np.char.add(np.char.add(word, " "), rng.integers(1, 53, n).astype("U2"))
    number = writer.numbers.current[np.maximum(rows["person"].to_numpy(), 0)]
    drawn = rng.random(n)
    name = np.char.add(np.char.add(rng.choice(_FIRST, n), " "), rng.choice(_LAST, n))
    text = np.where(drawn < 0.004, np.char.add("vedr. ", number), text)
    text = np.where((drawn >= 0.004) & (drawn < 0.02), np.char.add("vedr. ", name), text)
    return np.where(rows["note"].to_numpy().astype(str) == "fejl", np.char.add("Fejlkontering ", number), text)


def sundhed(postings: pl.DataFrame, writer: Writer, folder: Path, rng: np.random.Generator) -> pl.DataFrame:
    """Health services: number times unit price."""
    rows = shuffled(postings.filter(pl.col("extract") == "sundhed"), rng)
    code = {row["service"]: code for code, row in codes("sundhed_ydelse").items()}
    lines = rows.select(
        writer.written(rows, "digits", rng).alias("CPR"),
        pl.col("service").replace_strict(code).alias("Ydelse"),
        pl.col("event_month")
        .dt.offset_by(pl.format("{}d", pl.Series("day", rng.integers(0, 27, len(rows)))))
        .dt.strftime("%d/%m/%Y")
        .alias("Dato"),
        pl.col("quantity").alias("Antal"),
        danish(pl.col("unit_ore")).alias("Enhedspris"),
    )
    write_csv(with_duplicates(lines, rng), folder / "sundhed_2014.txt", separator="|")
    return lines.with_columns(rows["row"])


def kultur(postings: pl.DataFrame, writer: Writer, folder: Path, rng: np.random.Generator) -> pl.DataFrame:
    """Grants for culture and leisure, by season; and some of the seasons before and after."""
    rows = postings.filter(pl.col("extract") == "kultur")
    seasons = {row["event_month"]: code for code, row in codes("kultur_saeson").items()}
    other = rows.filter(pl.Series(rng.random(len(rows)) < 0.04)).unique(
        ["person", "service"], keep="first", maintain_order=True
    )
    other = other.with_columns(row=pl.lit(None, other.schema["row"]))
    before = other.with_columns(event_month=pl.date(2013, 8, 1), unit_ore=pl.col("unit_ore") + 100)
    after = other.with_columns(event_month=pl.date(2015, 1, 1), unit_ore=pl.col("unit_ore") + 200)
    rows = shuffled(pl.concat([rows, before, after]), rng)
    code = {row["service"]: code for code, row in codes("kultur_tilskud").items()}
    lines = rows.select(
        writer.written(rows, "hyphen", rng).alias("Cpr"),
        pl.col("service").replace_strict(code).alias("Tilskud"),
        pl.col("event_month").dt.strftime("%Y-%m-%d").replace_strict(seasons).alias("Sæson"),
        danish(pl.col("unit_ore"), thousands=True).alias("Beløb"),
    )
    write_csv(with_duplicates(lines, rng), folder / "kultur_fritid.csv")
    return lines.with_columns(rows["row"])


def price_list(folder: Path) -> None:
    """The yearly price list (not delivered to the linker), and the catalogue as it stands."""
    rows = [
        (
            profile.service,
            2014,
            "uge" if profile.extract in SPELL_EXTRACTS else "stk",
            round(profile.price * 100),
            basis,
        )
        for at, profile in enumerate(PROFILES)
        for basis in [("regnskab", "budget")[at % 4 == 0]]
    ]
    table = pl.DataFrame(rows, schema=["ydelseskode", "aar", "enhed", "ore", "basis"], orient="row")
    lines = table.select("ydelseskode", "aar", "enhed", danish(pl.col("ore")).alias("pris"), "basis")
    write_csv(lines, folder / "takster_2014.csv")
    shutil.copyfile(HERE / "catalogue.csv", folder / "catalogue.csv")
