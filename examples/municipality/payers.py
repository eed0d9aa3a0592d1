"""Makes postings whose payer has no CPR number, but a name, a birth date, an address or a replacement number.

1. Some of the postings that name a person by a number that is right lose it; `payers.toml` says how many, and what is
   wrong with the descriptions that stand in its place. `payer_extracts` writes them among the sources' other postings.
2. On top of these are postings of persons who are not in the register: strangers, former members of registered
   households, twins of registered persons.
3. A payer is described once a source, so that all his postings there agree. Truth: who he is, by record.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from examples.municipality import payer_extracts
from examples.municipality.calibration import HERE
from examples.municipality.descriptions import described
from examples.municipality.formats import shuffled
from examples.municipality.names import Names, addresses, given_names
from examples.municipality.names_extract import address_keys
from examples.municipality.numbers import Numbers
from examples.municipality.people import NONE, People

SOURCES = tuple(payer_extracts.LAYOUTS)
REGISTERED, STRANGER, FORMER_MEMBER, TWIN = "registered", "stranger", "former_member", "twin"
_NEIGHBOURS = (147, 151, 153, 157, 167, 185)


def scenario() -> dict[str, Any]:
    """The content of `payers.toml`."""
    return tomllib.loads((HERE / "payers.toml").read_text(encoding="utf-8"))


def write(
    books: Mapping[str, pl.DataFrame],
    lines: Mapping[str, pl.DataFrame],
    people: People,
    numbers: Numbers,
    names: Names,
    folder: Path,
    rng: np.random.Generator,
) -> None:
    """Write the extracts of postings with payers, and `truth/payers.parquet`.

    `lines`: by source, those of the ordinary extract, and `row`, the row of the book.
    """
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
    price = pl.col("unit_ore", "gross_ore", "refund_ore")
    theirs = theirs.with_columns((price * factor).round(0).cast(pl.Int64))
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
    amount = pl.coalesce("gross_ore", pl.col("unit_ore") * pl.col("quantity"))
    rows = rows.with_columns(amount.alias("amount_ore"), (pl.col("cpr").is_null()).alias("outside"))
    truth = []
    for source in SOURCES:
        own = rows.filter(pl.col("source") == source).with_columns(
            pl.format("{}-{}", pl.lit(source[:2].upper()), pl.int_range(pl.len()) + 140_001).alias("record")
        )
        payer_extracts.write(source, lines[source], own, folder / "extracts", rng)
        truth.append(own.select("source", "record", "cpr", "kind", "amount_ore", "given"))
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    pl.concat(truth).write_parquet(folder / "truth" / "payers.parquet")


def _chosen(books: Mapping[str, pl.DataFrame], share: float, rng: np.random.Generator) -> pl.DataFrame:
    """Return a share of each source's postings that name a person rightly.

    `source`, `row` (of the book), `person`, `unit_ore`, `quantity`; of benefits `gross_ore` and `refund_ore` as well.
    """
    amounts = ("unit_ore", "quantity", "gross_ore", "refund_ore")
    benefits = books["benefits"].filter(pl.col("gross_ore") != 0)
    posted = books["postings"].filter(pl.col("unit_ore") != 0)
    both = pl.concat([posted, benefits], how="diagonal").filter("linked")
    both = both.select(pl.col("extract").alias("source"), "row", "person", *amounts)
    parts = []
    for source in SOURCES:
        own = both.filter(pl.col("source") == source)
        parts.append(own[np.sort(rng.choice(len(own), round(len(own) * share), replace=False))])
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
