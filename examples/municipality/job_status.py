"""Writes momentum's weeks, and the consents of a project.

Job status by ISO week of 2015 (53 weeks) for adults of families with children who had a benefit, the last 13 weeks of
2014 and, for those whose benefit is old enough, week 53 of 2009. Each adult is a two-state chain: in work or not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from examples.municipality.calibration import REFERENCE_DATE
from examples.municipality.formats import Writer, shuffled, with_duplicates, write_csv, written
from examples.municipality.ledger import GOOD, MISSING
from examples.municipality.people import CHILD, NONE, Families, People

_WEEKS = [(2014, week) for week in range(40, 53)] + [(2015, week) for week in range(1, 54)]
_WORK, _EDUCATION, _ACTIVATED, _OUT, _SICK = "1", "2", "4", "5", "6"


def momentum(
    benefits: pl.DataFrame,
    people: People,
    families: Families,
    writer: Writer,
    folder: Path,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Write the weeks; return the share in work by group and week of 2015 (what truth keeps)."""
    members = benefits.filter(pl.col("family") != NONE)
    who = np.unique(members["person"].to_numpy())
    sick = np.isin(who, members.filter(pl.col("service") == "BIF-SYGEDAGPENGE")["person"].to_numpy())
    is_target = families.is_target[people.family[who]]
    in_work = rng.random(len(who)) < np.where(is_target, 0.06, 0.3)
    out = np.where(sick, _SICK, np.where(rng.random(len(who)) < 0.3, _ACTIVATED, _OUT))
    blocks, shares = [], []
    for year, week in _WEEKS:
        change = rng.random(len(who))
        in_work = np.where(
            in_work, change > np.where(is_target, 0.03, 0.015), change < np.where(is_target, 0.003, 0.012)
        )
        status = np.where(in_work, _WORK, np.where(change > 0.97, _EDUCATION, out))
        blocks.append(pl.DataFrame({"person": who, "aar": year, "uge": week, "status": status}))
        if year == 2015:
            shares += [
                (
                    "target" if group else "others",
                    week,
                    int(in_work[is_target == group].sum()),
                    int((is_target == group).sum()),
                )
                for group in (True, False)
            ]
    old = members.filter((pl.col("start") <= pl.date(2009, 12, 28)) & (pl.col("end") > pl.date(2010, 1, 3)))
    veterans = np.unique(old["person"].to_numpy())
    blocks.append(pl.DataFrame({"person": veterans, "aar": 2009, "uge": 53, "status": np.full(len(veterans), _OUT)}))
    rows = pl.concat(blocks)
    twice = rows.filter(pl.Series(rng.random(len(rows)) < 0.01) & (pl.col("status") != _OUT))
    rows = shuffled(pl.concat([rows, twice.with_columns(status=pl.lit(_OUT))]), rng)
    rows = rows.with_columns(pl.Series("dirt", np.where(rng.random(len(rows)) < 0.0005, MISSING, GOOD)))
    lines = rows.select(
        writer.written(rows, "digits", rng).alias("cpr"),
        "aar",
        "uge",
        "status",
        pl.Series("virksomhedsrettet", np.where(rng.random(len(rows)) < 0.04, "J", "N")),
    )
    write_csv(with_duplicates(lines, rng), folder / "momentum_uger.csv")
    return pl.DataFrame(shares, schema=["group", "week", "in_work", "persons"], orient="row")


def consents(people: People, families: Families, writer: Writer, folder: Path, rng: np.random.Generator) -> None:
    """Fifty families of the pilot and three of a trial consented; every tenth withdrew."""
    chosen = rng.choice(np.flatnonzero(families.is_target), 53, replace=False)
    family = np.repeat(chosen, 2)
    person = np.stack([families.adult[chosen], families.partner[chosen]], axis=1).ravel()
    running = np.arange(len(person)) // 2
    there = person != NONE
    rows = pl.DataFrame(
        {
            "person": person[there],
            "project": np.where(running[there] < 50, "Tæt på familien", "Familier på vej"),
            "given": REFERENCE_DATE + (running[there] * 3).astype("timedelta64[D]"),
            "withdrawn": running[there] % 10 == 3,
        }
    )
    if (people.role[rows["person"].to_numpy()] == CHILD).any() or len(family) != 2 * len(chosen):
        raise ValueError("only adults consent")
    number = pl.Series("cpr", writer.numbers.current[rows["person"].to_numpy()])
    withdrawn = pl.when("withdrawn").then(pl.col("given").dt.offset_by("90d").dt.strftime("%d-%m-%Y"))
    lines = rows.select(
        written(number, "hyphen", rng).alias("Cpr"),
        pl.col("project").alias("Projekt"),
        pl.col("given").dt.strftime("%d-%m-%Y").alias("Givet"),
        withdrawn.alias("Tilbagekaldt"),
    )
    write_csv(with_duplicates(lines, rng), folder / "samtykke.csv")
