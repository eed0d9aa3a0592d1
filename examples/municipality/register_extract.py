"""Writes the population register's extract: fixed width, ISO-8859-1, CRLF (see README for the positions)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from examples.municipality.calibration import DRAWN
from examples.municipality.numbers import Numbers, Texts
from examples.municipality.people import CHILD, MALE, NONE, People

_NOBODY = "0000000000"
_STREETS, _HOUSES, _FLOORS, _DOORS = 1700, 120, ("ST", "01", "02", "03", "04"), ("TH  ", "TV  ", "MF  ")
_ADDRESSES = _STREETS * _HOUSES * len(_FLOORS) * len(_DOORS)
_STRIDE = 999_983  # prime to the number of addresses


def address(household: npt.NDArray[np.int64], municipality: Texts, road: npt.NDArray[Any]) -> Texts:
    """The 18 characters of positions 30-47; another household has another address. road > 0: no fixed address."""
    if household.max(initial=0) >= _ADDRESSES:
        raise ValueError("more households than addresses")
    at = np.maximum(household, 0) * _STRIDE % _ADDRESSES
    at, street = at // _STREETS, at % _STREETS
    at, house = at // _HOUSES, at % _HOUSES
    door, floor = at // len(_FLOORS), at % len(_FLOORS)
    table = pl.DataFrame(
        {
            "municipality": municipality,
            "street": street * 5 + 4,
            "house": house + 1,
            "letter": np.where(house % 17 == 0, "B", " "),
            "floor": np.array(_FLOORS)[floor],
            "door": np.array(_DOORS)[door],
            "road": road.astype(np.int64),
        }
    )
    home = pl.format(
        "{}{}{}{}{}{}",
        "municipality",
        pl.col("street").cast(pl.String).str.zfill(4),
        pl.col("house").cast(pl.String).str.zfill(3),
        "letter",
        "floor",
        "door",
    )
    no_home = pl.format("{}{}{}", "municipality", pl.col("road").cast(pl.String).str.zfill(4), pl.lit(" " * 10))
    abroad = pl.lit("0" * 8 + " " * 10)
    text = pl.when(pl.col("municipality") == "0000").then(abroad).when(pl.col("road") > 0).then(no_home).otherwise(home)
    return table.select(text.alias("address")).to_series().to_numpy().astype("U18")


def _stamp(day: npt.NDArray[Any]) -> Texts:
    return np.char.add(np.char.replace(day.astype("M8[D]").astype("U10"), "-", ""), "0000")


def _record(record: str, pnr: Texts, *parts: Any, sequence: int = 0) -> pl.DataFrame:
    """Lines of one record type; a part is a text for all, a number of spaces, or an array of texts."""
    columns: dict[str, Any] = {"pnr": pnr}
    pieces: list[pl.Expr] = [pl.lit(record), pl.col("pnr")]
    for at, part in enumerate(parts):
        if isinstance(part, int):
            pieces.append(pl.lit(" " * part))
        elif isinstance(part, str):
            pieces.append(pl.lit(part))
        else:
            columns[f"part{at}"] = part
            pieces.append(pl.col(f"part{at}"))
    lines = pl.DataFrame(columns).select("pnr", pl.concat_str(pieces).alias("line"))
    return lines.select("pnr", pl.lit(record).alias("record"), pl.lit(sequence).alias("sequence"), "line")


def _referred(numbers: Numbers, to: npt.NDArray[np.int64], who: npt.NDArray[np.int64]) -> Texts:
    """The number that `who` is registered with as having for `to`; every other one has the former number still."""
    target = np.maximum(to[who], 0)
    former = numbers.former[target]
    text = np.where((former != "") & (who % 2 == 0), former, numbers.current[target])
    return np.where(to[who] == NONE, _NOBODY, text)


def write(people: People, numbers: Numbers, folder: Path, rng: np.random.Generator) -> None:
    """Write `cpr_udtraek.txt`: everybody with a record, former numbers included."""
    who = np.flatnonzero(people.has_record)
    pnr = numbers.current[who]
    birth = people.birth[who]
    started = np.where(np.isnat(people.status_start[who]), people.moved_in[who], people.status_start[who])
    started = started.astype("M8[D]")
    status = np.char.zfill(people.status[who].astype("U2"), 2)
    sex = np.where(people.sex[who] == MALE, "M", "K")
    uncertain = np.where(rng.random(len(who)) < 0.002, "*", " ")
    mother = _referred(numbers, people.mother, who)
    father = _referred(numbers, people.father, who)
    spouse = _referred(numbers, people.spouse, who)
    blank = np.full(len(who), " " * 10)
    parts = [
        _record(
            "001", pnr, blank, _stamp(started), status, _stamp(started), 17, sex, birth.astype("U10"), uncertain, 111,
            mother, 92, father,
        ),
        _record("035", pnr, 16, people.civil[who], spouse, 46, _stamp(np.maximum(birth, np.datetime64("2001-05-12")))),
        *_addresses(people, numbers, who, rng),
        *_protections(people, numbers, who, rng),
    ]  # fmt: skip
    child = people.role[who] == CHILD
    for kind, parent in (("0003", mother), ("0004", father)):
        known = child & (parent != _NOBODY)
        day = birth[known].astype("U10")
        parts.append(_record("046", pnr[known], 12, kind, 4, day, 1, 10, 8, parent[known], sequence=int(kind)))
    parts += _former(people, numbers)
    lines = pl.concat(parts).sort("pnr", "record", "sequence", maintain_order=True)["line"]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "cpr_udtraek.txt").open("wb") as file:
        file.write(f"000{_NOBODY}{str(DRAWN).replace('-', '')}0600\r\n".encode("latin-1"))
        for slab in lines.to_frame().iter_slices(100_000):
            file.write(("\r\n".join(slab.to_series().to_list()) + "\r\n").encode("latin-1"))
        file.write(f"999{'9' * 10}{len(lines) + 2:08d}\r\n".encode("latin-1"))


def _addresses(
    people: People, numbers: Numbers, who: npt.NDArray[np.int64], rng: np.random.Generator
) -> list[pl.DataFrame]:
    municipality = np.char.zfill(people.municipality[who].astype("U4"), 4)
    prior_municipality = np.char.zfill(people.prior_municipality[who].astype("U4"), 4)
    moved = people.prior_household[who] != NONE
    care_of = np.where(rng.random(len(who)) < 0.005, "c/o Sønderskov".ljust(34), " " * 34)
    road = people.road[who]
    home = address(people.household[who], municipality, road)
    from_municipality = np.where(moved, prior_municipality, "0101")
    came = _stamp(people.moved_in[who])
    current = _record("025", numbers.current[who], 16, home, 4, care_of, 12, came, 30, from_municipality, sequence=1)
    old = who[moved]
    former_home = address(people.prior_household[old], prior_municipality[moved], np.zeros(len(old), np.int64))
    since = _stamp(np.maximum(people.birth[old], np.datetime64("2009-05-01", "D")))
    return [current, _record("025", numbers.current[old], 16, former_home, 4, 34, 12, since, 30, "0101", sequence=0)]


def _protections(
    people: People, numbers: Numbers, who: npt.NDArray[np.int64], rng: np.random.Generator
) -> list[pl.DataFrame]:
    """Current protections, and some that have lapsed."""
    now = who[people.protected[who]]
    lapsed = rng.choice(who, max(3, len(who) // 500), replace=False)
    lapsed = np.setdiff1d(lapsed, now)
    return [
        _record("015", numbers.current[now], "0001", 4, "201406010000", "2014-06-01", 3, 10),
        _record("015", numbers.current[lapsed], "0001", 4, "201202010000", "2012-02-01", 3, "2013-02-01"),
    ]


def _former(people: People, numbers: Numbers) -> list[pl.DataFrame]:
    """Records of former numbers: 001 with status 60 on each, 065 on the number that replaced it."""
    parts = []
    changed = np.flatnonzero(numbers.former != "")
    twice = np.flatnonzero(numbers.oldest != "")
    for who, old, new, day in (
        (changed, numbers.former, numbers.current, "2013-03-04"),
        (twice, numbers.oldest, numbers.former, "2011-10-03"),
    ):
        stamp = day.replace("-", "") + "0000"
        sex = np.where(people.sex[who] == MALE, "M", "K")
        birth = people.birth[who].astype("U10")
        current = numbers.current[who]
        parts.append(
            _record(
                "001", old[who], current, stamp, "60", stamp, 17, sex, birth, 1, 111, _NOBODY, 92, _NOBODY
            )
        )  # fmt: skip
        parts.append(_record("065", new[who], 4, old[who], "2000-01-01", 1, day))
    return parts
