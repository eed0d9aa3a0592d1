"""Writes the extracts of priced spells (dubu, voksen, institution, elev) and of benefits (ky)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from examples.municipality.formats import Writer, danish, english, last_day, shuffled, with_duplicates, write_csv
from examples.municipality.ledger import GOOD, MISSING
from examples.municipality.people import NONE, People
from examples.municipality.profiles import codes

_BARNETS_LOV = np.datetime64("2024-01-01", "D")


def _code_of(name: str, prefix: str = "") -> dict[str, str]:
    """Service -> the code that the extract has for it (the first of several)."""
    found: dict[str, str] = {}
    for code, row in codes(name).items():
        if code.startswith(prefix):
            found.setdefault(row["service"], code)
    return found


def dubu(spells: pl.DataFrame, people: People, writer: Writer, folder: Path, rng: np.random.Generator) -> None:
    """Child cases; a few of unborn children, and a few after Barnets lov."""
    rows = spells.filter(pl.col("extract") == "dubu").select("person", "service", "start", "end", "unit_ore", "dirt")
    few = max(3, len(rows) // 150)
    children = np.flatnonzero((people.birth > np.datetime64("2012-01-01", "D")) & (people.municipality == 101))
    unborn = rows[rng.choice(len(rows), few, replace=False)].with_columns(
        person=pl.lit(NONE, pl.Int64), dirt=pl.lit(MISSING, rows.schema["dirt"]), service=pl.lit("SOF-UNDERSOEGELSE")
    )
    later = rows[rng.choice(len(rows), few, replace=False)].with_columns(
        pl.Series("person", rng.choice(children, few)),
        pl.Series("start", _BARNETS_LOV + rng.integers(0, 400, few).astype("timedelta64[D]")),
        end=pl.lit(None, pl.Date),
        dirt=pl.lit(GOOD, rows.schema["dirt"]),
    )
    rows = shuffled(pl.concat([rows, unborn, later]), rng)
    sel, bl = _code_of("dubu_paragraf", "SEL"), _code_of("dubu_paragraf", "BL")
    supplier = np.array(["Center for Børn og Familier", "Familiehuset Søbred", "Privat leverandør A/S", "Plejeløftet"])
    lines = rows.select(
        pl.format("S-{}", pl.int_range(pl.len()).cast(pl.String).str.zfill(7)).alias("SagsID"),
        writer.written(rows, "hyphen", rng).alias("BarnCPR"),
        pl.when(pl.col("service") == "SOF-UNDERSOEGELSE")
        .then(pl.lit("Undersøgelse"))
        .otherwise(pl.lit("Indsats"))
        .alias("Sagstype"),
        pl.when(pl.col("start") >= pl.lit(_BARNETS_LOV))
        .then(pl.col("service").replace_strict(bl))
        .otherwise(pl.col("service").replace_strict(sel))
        .alias("Paragraf"),
        pl.col("start").dt.strftime("%Y-%m-%d").alias("Start"),
        pl.when(pl.col("end").is_null() & pl.Series(rng.random(len(rows)) < 0.5))
        .then(pl.lit("9999-12-31"))
        .otherwise(last_day("end", "%Y-%m-%d"))
        .alias("Slut"),
        pl.Series("Leverandør", rng.choice(supplier, len(rows))),
        english(pl.col("unit_ore")).alias("PrisPrUge"),
    )
    write_csv(with_duplicates(lines, rng), folder / "dubu_sager.csv", separator=",", bom=True)


def voksen(spells: pl.DataFrame, writer: Writer, folder: Path, rng: np.random.Generator) -> None:
    """Adult social services, two-digit years."""
    rows = shuffled(spells.filter(pl.col("extract") == "voksen"), rng)
    lines = rows.select(
        writer.written(rows, "hyphen", rng).alias("Cpr"),
        pl.col("service").replace_strict(_code_of("voksen_indsats")).alias("Indsats"),
        pl.col("start").dt.strftime("%d.%m.%y").alias("Fra"),
        last_day("end", "%d.%m.%y").alias("Til"),
        danish(pl.col("unit_ore"), thousands=True).alias("Takst"),
    )
    path = folder / "voksen_social.csv"
    write_csv(with_duplicates(lines, rng), path, encoding="iso-8859-1", line_end="\r\n")


def institution(spells: pl.DataFrame, people: People, writer: Writer, folder: Path, rng: np.random.Generator) -> None:
    """Day care in two files, by where the child lives; the southern one is mojibake."""
    rows = shuffled(spells.filter(pl.col("extract") == "institution"), rng)
    names = np.array(["Solsikken", "Mælkebøtten", "Regnbuen", "Børnehuset Søen", "Skovtrolden", "Kastanjehuset"])
    part_time = pl.Series(rng.random(len(rows)) < 0.1) & (pl.col("service") == "BUF-BOERNEHAVE")
    lines = rows.select(
        (pl.lit("'") + writer.written(rows, "digits", rng)).replace("'", "").alias("Barn"),
        pl.Series("Institution", rng.choice(names, len(rows))),
        pl.when(part_time)
        .then(pl.lit("Børnehave deltid"))
        .otherwise(pl.col("service").replace_strict(_code_of("institution_modul")))
        .alias("Modul"),
        pl.col("start").dt.strftime("%d-%m-%Y").alias("Fra"),
        last_day("end", "%d-%m-%Y").alias("Til"),
        danish((pl.col("unit_ore") * pl.Series(rng.choice([0.0, 0.1, 0.3], len(rows)))).round(0).cast(pl.Int64)).alias(
            "Fripladstilskud"
        ),
        danish(pl.col("unit_ore")).alias("Netto"),
    )
    person = rows["person"].to_numpy()
    home = np.where(person == NONE, rng.integers(0, 2, len(rows)), people.household[np.maximum(person, 0)])
    north = pl.Series(home % 2 == 0)
    for name, part in (("nord", lines.filter(north)), ("syd", lines.filter(~north))):
        path = folder / f"institution_{name}.csv"
        write_csv(with_duplicates(part, rng), path, line_end="\r\n", mojibake=name == "syd")


def elev(spells: pl.DataFrame, people: People, writer: Writer, folder: Path, rng: np.random.Generator) -> None:
    """Pupils of the municipality's schools in 2014."""
    rows = shuffled(spells.filter(pl.col("extract") == "elev"), rng)
    schools = np.array(["Søndre Skole", "Østervangsskolen", "Havneskolen", "Nørre Fælled Skole", "Bakkeskolen"])
    born = people.birth[rows["person"].to_numpy()].astype("M8[Y]").astype(np.int64) + 1970
    lines = rows.select(
        writer.written(rows, "hyphen", rng).alias("cpr"),
        pl.Series("skole", rng.choice(schools, len(rows))),
        pl.Series("klassetrin", np.clip(2014 - born - 6, 0, 9)),
        pl.col("service").replace_strict(_code_of("elev_specialundervisning")).alias("specialundervisning"),
        danish(pl.col("unit_ore")).alias("takst"),
    )
    write_csv(with_duplicates(lines, rng), folder / "elev_2014.csv", encoding="iso-8859-1")


def ky(benefits: pl.DataFrame, writer: Writer, folder: Path, rng: np.random.Generator) -> pl.DataFrame:
    """Benefits: one row gives a spell, and a posting of the gross amount and of the refund.

    Return the lines before any is repeated, with `row`: the row of the book.
    """
    rows = shuffled(benefits, rng)
    lines = rows.select(
        writer.written(rows, "digits", rng).alias("PERSONNR"),
        pl.col("service").replace_strict(_code_of("ky_ydelse")).alias("YDELSESKODE"),
        pl.col("visitation").alias("VISITATION"),
        pl.col("start").dt.strftime("%Y%m%d").alias("FRADATO"),
        last_day("end", "%Y%m%d").alias("TILDATO"),
        pl.col("gross_ore").alias("BRUTTO"),
        pl.col("refund_ore").alias("REFUSION"),
    )
    write_csv(with_duplicates(lines, rng), folder / "ydelser_ky.csv")
    return lines.with_columns(rows["row"])
