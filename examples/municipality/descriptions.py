"""Describes payers as sources do: name, birth date and address as text, with the errors that `payers.toml` fixes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Texts = npt.NDArray[np.str_]
Drawn = np.random.Generator
_LETTERS = "abdefghijklmnoprstuvyæøå"
_SHORT = (
    ("Gammel ", "Gl. "), ("Nørre ", "Nr. "), ("Sønder ", "Sdr. "), ("Sankt ", "Skt. "), ("Store ", "St. "),
    ("Lille ", "Ll. "), ("Kongens ", "Kgs. "), ("vej$", "v."), ("gade$", "gd."), ("allé$", "al."), ("plads$", "pl."),
)  # fmt: skip
# By source: surname first, and how dates and addresses are written. "{c}" is the town.
_STYLES = {
    "prisme": (True, "%d-%m-%Y", "%d-%m-%y", ", ", "{} {}"),
    "sundhed": (False, "%d/%m/%Y", "%d/%m/%y", " ", "{} {}"),
    "kultur": (False, "%Y-%m-%d", "%d.%m.%y", ", ", "{}"),
    "ky": (True, "%Y%m%d", "%d%m%y", ", ", "{}"),
}


def described(persons: pl.DataFrame, rates: dict[str, Any], rng: Drawn) -> pl.DataFrame:
    """Return `source`, `account`, `name`, `birth_date`, `address`, `replacement` (texts, null if missing), `given`.

    `given` is how many of name, birth date (or replacement number) and address there are. `persons`: a row a payer of a
    source, with his true values.
    """
    n = len(persons)

    def hit(rate: float) -> npt.NDArray[np.bool_]:
        return rng.random(n) < rate

    given, surname = _names(persons, rates["names"], hit, rng)
    moved = hit(rates["names"]["moved"])
    places = persons.select("street", "house_number", "floor_door", "postcode")
    # An earlier address is some other payer's.
    places = places[np.where(moved, rng.integers(0, n, n), np.arange(n))]
    places = _places(places, rates, hit, rng)
    born, exchanged = _dates(persons["birth_date"], rates["dates"], hit, rng)
    short = hit(rates["dates"]["two_digit_year"])
    instead = hit(rates["instead"]["replacement_number"])
    missing = {name: hit(rate) for name, rate in rates["missing"].items()}
    care_of = hit(rates["addresses"]["care_of"])
    frame = places.with_columns(
        persons["source"],
        persons["account"],
        pl.Series("given_name", given),
        pl.Series("surname", surname),
        born.alias("born"),
        pl.Series("exchanged", exchanged),
        pl.Series("short", short),
        pl.Series("instead", instead),
        pl.Series("care_of", care_of),
        pl.Series("letters", rng.integers(0, 26 * 26 * 100, n)),
        *(pl.Series(f"no_{name}", missing[name]) for name in ("name", "birth_date", "address")),
    )
    parts = [_styled(frame.filter(pl.col("source") == source), *style) for source, style in _STYLES.items()]
    return pl.concat(parts).sort("account")


def _names(
    persons: pl.DataFrame, rates: dict[str, float], hit: Callable[[float], npt.NDArray[np.bool_]], rng: Drawn
) -> tuple[Texts, Texts]:
    given, middle, family = (persons[name].to_numpy().astype("U60") for name in ("given_name", "middle", "family"))
    family = np.where(hit(rates["other_surname"]), persons["of_birth"].to_numpy().astype("U60"), family)
    first = pl.Series(given).str.replace(" .*$", "").to_numpy().astype("U60")
    given = np.where(hit(rates["one_given_name"]), first, given)
    given = np.where(hit(rates["initial"]), np.char.add(given.astype("U1"), "."), given)
    with_middle = (middle != "") & ~hit(rates["middle_left_out"])
    given = np.where(with_middle, np.char.add(np.char.add(given, " "), middle), given)
    given, family = _misspelt(given, hit(rates["typo"]), rng), _misspelt(family, hit(rates["typo"]), rng)
    swapped = hit(rates["swapped"])
    given, family = np.where(swapped, family, given), np.where(swapped, given, family)
    plain = hit(rates["without_danish"])
    return tuple(np.where(plain, _without_danish(text), text) for text in (given, family))  # type: ignore[return-value]


def _places(
    places: pl.DataFrame, rates: dict[str, Any], hit: Callable[[float], npt.NDArray[np.bool_]], rng: Drawn
) -> pl.DataFrame:
    own = rates["addresses"]
    street = places["street"].fill_null("").to_numpy().astype("U60")
    street = _misspelt(street, hit(own["typo"]), rng)
    short = pl.Series(street)
    for pattern, text in _SHORT:
        short = short.str.replace(pattern, text)
    street = np.where(hit(own["abbreviated"]), short.to_numpy().astype("U60"), street)
    number = places["house_number"].fill_null("").to_numpy().astype("U10")
    number = _misspelt(number, hit(own["house_number"]), rng, "123456789")
    return places.with_columns(
        pl.Series("street", street),
        pl.Series("house_number", number),
        pl.when(pl.Series(hit(rates["missing"]["floor_door"]))).then(None).otherwise("floor_door").alias("floor_door"),
        pl.when(pl.Series(hit(rates["missing"]["postcode"]))).then(None).otherwise("postcode").alias("postcode"),
    )


def _dates(
    born: pl.Series, rates: dict[str, float], hit: Callable[[float], npt.NDArray[np.bool_]], rng: Drawn
) -> tuple[pl.Series, npt.NDArray[np.bool_]]:
    """Return dates, some of them on another day, month or year, and where day and month are to be exchanged."""
    days = born.to_numpy().astype("M8[D]")
    # One digit wrong: another day, or another year.
    step = np.where(rng.random(len(days)) < 0.6, rng.integers(1, 10, len(days)), 3652)
    days = np.where(hit(rates["typo"]), days - step * np.timedelta64(1, "D"), days)
    found = pl.Series(days)
    return found, hit(rates["exchanged"]) & (found.dt.day() <= 12).to_numpy()


def _styled(rows: pl.DataFrame, surname_first: bool, date: str, short: str, separator: str, place: str) -> pl.DataFrame:
    given, surname = pl.col("given_name"), pl.col("surname")
    name = pl.format("{}, {}", surname, given) if surname_first else pl.format("{} {}", given, surname)

    def turned(form: str) -> str:
        return form.replace("%d", "%x").replace("%m", "%d").replace("%x", "%m")

    def dated(form: str) -> pl.Expr:
        born = pl.col("born").dt
        # polars' %d and %m only; nothing else is exchanged.
        return pl.when("exchanged").then(born.strftime(turned(form))).otherwise(born.strftime(form))

    birth_date = pl.when("short").then(dated(short)).otherwise(dated(date))
    home = (
        pl.format(place, "street", "house_number")
        if place == "{} {}"
        else pl.concat_str("street", "house_number", separator=" ")
    )
    town = pl.format("{} København", "postcode")
    address = pl.concat_str(
        home, pl.col("floor_door").str.replace(r"^(\d) ", "$1. "), town, separator=separator, ignore_nulls=True
    )
    address = pl.when("care_of").then(pl.format("c/o Skovby, {}", address)).otherwise(address)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    first, second = (
        (pl.col("letters") // size % 26).replace_strict(dict(enumerate(letters)), return_dtype=pl.String)
        for size in (2600, 100)
    )
    day = (pl.col("born").dt.day() + 60).cast(pl.String)
    running = (pl.col("letters") % 100).cast(pl.String).str.zfill(2)
    replacement = pl.concat_str(day, pl.col("born").dt.strftime("%m%y"), first, second, running)
    has_name, has_date = ~pl.col("no_name"), ~pl.col("no_birth_date")
    has_address = ~pl.col("no_address") & (pl.col("street") != "")
    return rows.select(
        "source",
        "account",
        pl.when(has_name).then(name).alias("name"),
        pl.when(has_date & ~pl.col("instead")).then(birth_date).alias("birth_date"),
        pl.when(has_address).then(address).alias("address"),
        pl.when(has_date & pl.col("instead")).then(replacement).alias("replacement"),
        (has_name.cast(pl.Int8) + has_date.cast(pl.Int8) + has_address.cast(pl.Int8)).alias("given"),
    )


def _misspelt(text: Texts, where: npt.NDArray[np.bool_], rng: Drawn, letters: str = _LETTERS) -> Texts:
    """Change one letter of a text: another one, one too few, one too many, or two exchanged; digits only change."""
    found = text.copy()
    for at in np.flatnonzero(where & (text != "")):
        word = str(text[at])
        place, kind = int(rng.integers(len(word))), int(rng.integers(4))
        letter = letters[int(rng.integers(len(letters)))]
        if kind == 0 or letters != _LETTERS or len(word) < 3:
            word = word[:place] + letter + word[place + 1 :]
        elif kind == 1:
            word = word[:place] + word[place + 1 :]
        elif kind == 2:
            word = word[:place] + letter + word[place:]
        else:
            word = word[:place] + word[place : place + 2][::-1] + word[place + 2 :]
        found[at] = word
    return found


def _without_danish(text: Texts) -> Texts:
    plain = pl.Series(text)
    for letter, two in (("æ", "ae"), ("ø", "oe"), ("å", "aa"), ("Æ", "Ae"), ("Ø", "Oe"), ("Å", "Aa")):
        plain = plain.str.replace_all(letter, two, literal=True)
    return plain.to_numpy().astype("U60")
