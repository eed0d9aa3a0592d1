"""A made-up town of payers without a number: a register of persons, records of who paid, and who they are.

Made to be hard where such records are: households share surname and address; records have moved, are misspelt, swapped
or incomplete; some are of nobody in the register: strangers, but also former members of households that are in it, and
twins of registered persons. Names are drawn from syllables, so that some are common and most are rare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

FIELDS = ("given_name", "family_name", "birth_date", "street", "house_number", "floor_door", "postcode")
ADDRESS = ("street", "house_number", "floor_door", "postcode")
_ONSETS = [*"bdfghjklmnprstv", "br", "fr", "gr", "kl", "kr", "sk", "st", "tr"]
_NUCLEI = [*"aeiouyæøå"]
_CODAS = ["l", "m", "n", "r", "s", "t", "nd", "rk", "lm", "st"]
_FLOORS = ("st tv", "st th", "1 tv", "1 th", "2 tv", "2 th", "3 tv", "3 th", "")

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Rates:
    """How often what happens to a record. `outside`: it is of nobody in the register."""

    outside: float = 0.2
    moved: float = 0.08
    misspelt: float = 0.1
    missing: float = 0.06
    swapped: float = 0.02


@dataclass(frozen=True, slots=True)
class Town:
    """`records` and `persons`: `record` and the fields. `truth`: `record`, `person` (null: nobody of the register)."""

    records: pl.DataFrame
    persons: pl.DataFrame
    truth: pl.DataFrame


RATES = Rates()


def town(persons: int, records: int, seed: int = 1, rates: Rates = RATES) -> Town:
    """Return a town. Deterministic."""
    drawn = np.random.default_rng(seed)
    everybody = _population(drawn, persons + persons // 10)
    known = drawn.random(len(everybody)) < 1 / 1.1
    inside, outside = np.flatnonzero(known), np.flatnonzero(~known)
    nobody = drawn.random(records) < rates.outside
    payer = np.where(nobody, drawn.choice(outside, records), drawn.choice(inside, records))
    ids = everybody["record"]
    truth = pl.DataFrame(
        {"record": _ids("r", records), "person": ids.gather(payer), "nobody": nobody},
    ).select("record", pl.when(~pl.col("nobody")).then("person").alias("person"))
    said = _corrupted(drawn, everybody[payer], everybody, rates)
    return Town(said.with_columns(truth["record"]), everybody.filter(pl.Series(known)), truth)


def _population(drawn: np.random.Generator, persons: int) -> pl.DataFrame:
    """Households of one to a few, three in four persons with the household's surname, a few twins."""
    household = np.sort(drawn.integers(int(persons / 2.1) + 1, size=persons))
    homes = int(household[-1]) + 1
    streets = max(homes // 200, 20)
    street = drawn.integers(streets, size=homes)
    given = _words(drawn, max(min(persons // 60, 4_000), 150), 2)
    family = _words(drawn, max(min(persons // 20, 20_000), 200), 3)
    shared = drawn.random(persons) < 0.75
    surname = np.where(shared, _common(drawn, len(family), homes)[household], _common(drawn, len(family), persons))
    birth = drawn.integers(30_000, size=persons)
    twin = np.flatnonzero((household[1:] == household[:-1]) & (drawn.random(persons - 1) < 0.01))
    birth[twin + 1] = birth[twin]
    number, floor = drawn.integers(1, 80, size=homes), drawn.integers(len(_FLOORS), size=homes)
    return pl.DataFrame(
        {
            "record": _ids("p", persons),
            "given_name": pl.Series(given).gather(_common(drawn, len(given), persons)),
            "family_name": pl.Series(family).gather(surname),
            "birth_date": (pl.Series(birth).cast(pl.Int32) - 12_784).cast(pl.Date).cast(pl.String),
            "street": pl.Series([f"{word}vej" for word in _words(drawn, streets, 3)]).gather(street[household]),
            "house_number": pl.Series(number[household]).cast(pl.String),
            "floor_door": pl.Series(_FLOORS).gather(floor[household]),
            "postcode": pl.Series(2000 + street[household] % max(streets // 60, 3) * 50).cast(pl.String),
        }
    )


def _corrupted(drawn: np.random.Generator, said: pl.DataFrame, everybody: pl.DataFrame, rates: Rates) -> pl.DataFrame:
    size = len(said)
    moved = drawn.random(size) < rates.moved
    elsewhere = everybody[drawn.integers(len(everybody), size=size)]
    swapped = drawn.random(size) < rates.swapped
    columns = {}
    for name in FIELDS:
        text = said[name]
        if name in ADDRESS:
            text = elsewhere[name].zip_with(pl.Series(moved), text)
        if name in {"given_name", "family_name"}:
            other = said["family_name" if name == "given_name" else "given_name"]
            text = other.zip_with(pl.Series(swapped), text)
        misspelt = drawn.random(size) < rates.misspelt * (0.3 if name in {"house_number", "postcode"} else 1)
        text = _misspelt(drawn, text, name).zip_with(pl.Series(misspelt), text)
        columns[name] = text.set(pl.Series(drawn.random(size) < rates.missing), None)
    return pl.DataFrame(columns)


def _misspelt(drawn: np.random.Generator, text: pl.Series, name: str) -> pl.Series:
    """Replace one letter, or the day of a date, or one digit."""
    size = len(text)
    if name == "birth_date":
        day = pl.Series(drawn.integers(1, 29, size=size)).cast(pl.String).str.zfill(2)
        return pl.select(text.str.slice(0, 8) + day).to_series()
    letters = "0123456789" if name in {"house_number", "postcode"} else "abdefghiklmnoprstuvy"
    letter = pl.Series(list(letters)).gather(drawn.integers(len(letters), size=size))
    place = pl.Series(drawn.random(size)) * text.str.len_chars()
    frame = pl.DataFrame({"text": text, "letter": letter, "place": place.cast(pl.Int64)})
    changed = pl.col("text").str.slice(0, pl.col("place")) + pl.col("letter")
    return frame.select(changed + pl.col("text").str.slice(pl.col("place") + 1)).to_series()


def _words(drawn: np.random.Generator, count: int, syllables: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        parts = [part for _ in range(syllables) for part in (_ONSETS, _NUCLEI)] + [_CODAS]
        found["".join(part[int(drawn.integers(len(part)))] for part in parts)] = None
    return list(found)


def _common(drawn: np.random.Generator, values: int, size: int) -> Numbers:
    """Draw values of which some are common and most are rare."""
    weights = 1 / (np.arange(values) + 5.0)
    return drawn.choice(values, size, p=weights / weights.sum())


def _ids(letter: str, count: int) -> pl.Series:
    return pl.select(letter + pl.int_range(count).cast(pl.String).str.zfill(7)).to_series().alias("record")
