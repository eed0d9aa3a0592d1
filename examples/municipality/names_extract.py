"""Writes the population register's names and addresses: one line a person with a record, as of the day it was drawn.

Roads' names are cut after 20 characters, house numbers and floors keep their zeros, and some lines have passed a system
that does not know the Danish letters.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from examples.municipality.formats import write_csv
from examples.municipality.names import Names, addresses
from examples.municipality.numbers import Numbers
from examples.municipality.people import People
from examples.municipality.register_extract import address

ROAD_CHARACTERS = 20
_LOST_LETTERS = 0.005


def address_keys(household: np.ndarray, municipality: np.ndarray, road: np.ndarray) -> pl.Series:
    """Return the register's 18-character address keys."""
    return pl.Series("address", address(household, np.char.zfill(municipality.astype("U4"), 4), road))


def write(people: People, numbers: Numbers, names: Names, folder: Path, rng: np.random.Generator) -> None:
    """Write `navne_adresser.csv`."""
    keys = address_keys(people.household, people.municipality, people.road)
    who = np.flatnonzero(people.has_record)
    who = who[np.argsort(numbers.current[who])]
    lines = pl.DataFrame(
        {
            "PNR": numbers.current[who],
            "FORNAVNE": names.given[who],
            "MELLEMNAVN": names.middle[who],
            "EFTERNAVN": names.family[who],
            "FOED_DT": pl.Series(people.birth[who].astype("M8[D]")).dt.strftime("%Y%m%d"),
            "BESKYTTET": np.where(people.protected[who], "1", ""),
        }
    ).hstack(addresses(keys.gather(who)))
    lost = pl.lit(pl.Series(rng.random(len(lines)) < _LOST_LETTERS))
    text = ["FORNAVNE", "MELLEMNAVN", "EFTERNAVN"]
    written = lines.select(
        "PNR",
        *(
            pl.when(lost).then(pl.col(name).str.replace_all("[æøåÆØÅ]", "?")).otherwise(name).alias(name)
            for name in text
        ),
        "FOED_DT",
        pl.col("street").str.slice(0, ROAD_CHARACTERS).alias("VEJNAVN"),
        pl.col("house_number").str.replace(r"^(\d+)", "000$1").str.replace(r"^0+(\d{3})", "$1").alias("HUSNR"),
        pl.col("floor_door").str.to_uppercase().str.replace(r"^(\d) ", "0$1 ").alias("ETAGE_DOER"),
        pl.col("postcode").alias("POSTNR"),
        "BESKYTTET",
    )
    write_csv(written, folder / "navne_adresser.csv", encoding="iso-8859-1", line_end="\r\n")
