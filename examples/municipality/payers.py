"""Writes postings whose payer has no CPR number, but a name, a birth date, an address or a replacement number.

1. What is written here stands in the sources' own extracts as well, with its number; `payers.toml` says how much, and
   what is wrong with the descriptions. Whoever delivers both counts it twice.
2. Beside it are postings of persons who are not in the register: strangers, former members of registered households,
   twins of registered persons.
3. A payer is described once a source, so that all his postings there agree. Truth: who he is, by record.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from examples.municipality.calibration import HERE
from examples.municipality.descriptions import described
from examples.municipality.formats import danish, shuffled, write_csv
from examples.municipality.names import Names, addresses, given_names
from examples.municipality.names_extract import address_keys
from examples.municipality.numbers import Numbers
from examples.municipality.people import NONE, People
from examples.municipality.profiles import codes

SOURCES = {
    "prisme": ("posteringer_2014_uden_cpr.csv", "prisme_konto", "windows-1252"),
    "sundhed": ("sundhed_2014_uden_cpr.csv", "sundhed_ydelse", "utf-8"),
    "kultur": ("kultur_fritid_uden_cpr.csv", "kultur_tilskud", "utf-8"),
    "ky": ("ydelser_ky_uden_cpr.csv", "ky_ydelse", "iso-8859-1"),
}
REGISTERED, STRANGER, FORMER_MEMBER, TWIN = "registered", "stranger", "former_member", "twin"
_NEIGHBOURS = (147, 151, 153, 157, 167, 185)


def scenario() -> dict[str, Any]:
    """The content of `payers.toml`."""
    return tomllib.loads((HERE / "payers.toml").read_text(encoding="utf-8"))


def write(
    books: dict[str, pl.DataFrame],
    people: People,
    numbers: Numbers,
    names: Names,
    folder: Path,
    rng: np.random.Generator,
) -> None:
    """Write the extracts of postings without a number, and `truth/payers.parquet`."""
    rates = scenario()
    chosen = _chosen(books, rates["postings"]["share"], rng)
    accounts = chosen.select("source", "person").unique().sort("source", "person").with_row_index("account")
    outside = round(len(accounts) * rates["postings"]["outside"] / (1 - rates["postings"]["outside"]))
    chosen = chosen.join(accounts, on=["source", "person"], maintain_order="left").drop("person")
    # An outsider is paid what some payer is, at other prices.
    alike = accounts[np.sort(rng.choice(len(accounts), outside, replace=False))].rename({"account": "like"})
    outsiders = alike.select("source", "like", (pl.int_range(pl.len()) + len(accounts)).alias("account"))
    theirs = chosen.rename({"account": "like"}).join(outsiders, on=["source", "like"], maintain_order="left")
    factor = pl.Series(rng.uniform(0.7, 1.4, len(theirs)))
    theirs = theirs.with_columns((pl.col("amount_ore") * factor).round(0).cast(pl.Int64))
    rows = shuffled(pl.concat([chosen, theirs.select(chosen.columns)], how="vertical_relaxed"), rng)

    persons = pl.concat(
        [
            _registered(accounts["person"].to_numpy(), people, names),
            _outside(outside, rates["outsiders"], people, names, rng),
        ]
    )
    persons = persons.with_columns(
        pl.concat([accounts["source"], outsiders["source"]]).alias("source"),
        pl.int_range(pl.len(), dtype=pl.Int64).alias("account"),
    )
    told = described(persons, rates, rng)
    number = pl.Series(np.where(persons["person"] == NONE, "", numbers.current[persons["person"].to_numpy()]))
    who = persons.select("account", "kind", pl.when(number != "").then(number).alias("cpr"))
    rows = rows.join(told, on=["source", "account"], maintain_order="left").join(
        who, on="account", maintain_order="left"
    )
    truth = []
    for source, (name, _, encoding) in SOURCES.items():
        own = rows.filter(pl.col("source") == source).with_columns(
            pl.format("{}-{}", pl.lit(source[:2].upper()), pl.int_range(pl.len()) + 140_001).alias("record")
        )
        _write_extract(own, folder / "extracts" / source / name, encoding)
        truth.append(own.select("source", "record", "cpr", "kind", "amount_ore", "given"))
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    pl.concat(truth).write_parquet(folder / "truth" / "payers.parquet")


def _chosen(books: dict[str, pl.DataFrame], share: float, rng: np.random.Generator) -> pl.DataFrame:
    """Return a share of each source's postings that name a person: source, person, code, month, dranst, amount_ore."""
    postings, benefits = books["postings"], books["benefits"]
    both = pl.concat(
        [
            postings.select(
                pl.col("extract").alias("source"),
                "person",
                "service",
                "event_month",
                "dranst",
                (pl.col("unit_ore") * pl.col("quantity")).alias("amount_ore"),
            ),
            benefits.select(
                pl.col("extract").alias("source"),
                "person",
                "service",
                "event_month",
                pl.lit(1, pl.Int64).alias("dranst"),
                pl.col("gross_ore").alias("amount_ore"),
            ),
        ]
    ).filter((pl.col("person") != NONE) & (pl.col("amount_ore") != 0))
    parts = []
    for source, (_, list_, _) in SOURCES.items():
        own = both.filter(pl.col("source") == source)
        code = {row["service"]: code for code, row in codes(list_).items()}
        own = own[np.sort(rng.choice(len(own), round(len(own) * share), replace=False))]
        parts.append(own.with_columns(pl.col("service").replace_strict(code).alias("code")).drop("service"))
    return pl.concat(parts)


def _registered(who: npt.NDArray[Any], people: People, names: Names) -> pl.DataFrame:
    """What is true of registered payers: schema of `_persons`."""
    keys = address_keys(people.household[who], people.municipality[who], people.road[who])
    return _persons(who, REGISTERED, names, names.given[who], people.birth[who], keys, who)


def _outside(n: int, shares: dict[str, float], people: People, names: Names, rng: np.random.Generator) -> pl.DataFrame:
    """Make up persons who are not in the register; former members and twins are like somebody who is."""
    kind = np.array([STRANGER, FORMER_MEMBER, TWIN])[
        np.searchsorted(np.cumsum([1 - sum(shares.values()), shares["former_member"]]), rng.random(n))
    ]
    homes = np.flatnonzero(people.has_record & (people.household != NONE) & (people.municipality == 101))
    like = homes[rng.integers(0, len(homes), n)]
    age = people.birth[homes[rng.integers(0, len(homes), n)]]
    birth = np.where(kind == TWIN, people.birth[like], age)
    same = (kind == FORMER_MEMBER) & (birth == people.birth[like])
    birth = np.where(same, birth + np.timedelta64(400, "D"), birth)
    given = given_names(rng.integers(0, 2, n), birth, rng.random(n) < 0.12, rng)
    again = given == names.given[like]
    given[again] = "Rosalil"
    elsewhere = kind == STRANGER
    household = np.where(elsewhere, people.n_households + np.arange(n), people.household[like])
    municipality = np.where(elsewhere, rng.choice(_NEIGHBOURS, n), people.municipality[like])
    keys = address_keys(household, municipality, np.where(elsewhere, 0, people.road[like]))
    return pl.concat(
        [
            _persons(
                like[own], of, names, given[own], birth[own], keys.filter(pl.Series(own)), np.full(own.sum(), NONE)
            )
            for of in (STRANGER, FORMER_MEMBER, TWIN)
            if (own := kind == of).any()
        ]
    )


def _persons(
    like: npt.NDArray[Any],
    kind: str,
    names: Names,
    given: npt.NDArray[Any],
    birth: npt.NDArray[Any],
    keys: pl.Series,
    person: npt.NDArray[Any],
) -> pl.DataFrame:
    """One row a payer: `person`, `kind`, `given_name`, `middle`, `family`, `of_birth`, `birth_date`, address fields."""
    # A stranger's surname is common or rare as surnames are: that of anybody.
    return pl.DataFrame(
        {
            "person": person.astype(np.int64),
            "kind": [kind] * len(like),
            "given_name": given.astype("U60"),
            "middle": names.middle[like],
            "family": names.family[like],
            "of_birth": names.of_birth[like],
            "birth_date": birth.astype("M8[D]"),
        }
    ).hstack(addresses(keys))


def _write_extract(rows: pl.DataFrame, path: Path, encoding: str) -> None:
    lines = rows.select(
        pl.col("record").alias("Løbenr"),
        pl.col("code").alias("Kode"),
        pl.col("event_month").dt.strftime("%Y%m").alias("Periode"),
        pl.col("dranst").alias("Dranst"),
        danish(pl.col("amount_ore"), thousands=True).alias("Beløb"),
        pl.col("name").alias("Navn"),
        pl.col("birth_date").alias("Fødselsdato"),
        pl.col("address").alias("Adresse"),
        pl.col("replacement").alias("Erstatningsnr"),
    )
    write_csv(lines, path, encoding=encoding, line_end="\r\n" if encoding == "windows-1252" else "\n")
