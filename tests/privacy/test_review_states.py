"""What does a source learn of a person from the states of records that it made up?

The attacker may encode, knows some of what a person is called, and wants the person's address. It makes up a payer for
each of twenty addresses, of which one is right, puts them among its ordinary records, and reads the state of each when
a run has been made: it believes in the addresses whose records fared best. One in twenty is chance.

All that `linker.review` answers follows from what is read here; a record's own missing fields it knows already.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import polars as pl
import pytest

from kinlink.encoding.encode import Encoder
from kinlink.encoding.keys import EncodingKey
from kinlink.encoding.schema import find
from linker.linkage.fuzzy.assignment import LINKED, REVIEW, UNLINKED, Thresholds
from linker.linkage.fuzzy.linking import link
from linker.linkage.fuzzy.plan import plan_of
from tests.payer_town import ADDRESS, FIELDS, Town, town

SCHEMA = find("dk-person-1")
GUESSES, TARGETS = 20, 60
CHANCE = 1 / GUESSES
RIGHT = "00"  # the guess that is
NAMES, FAMILY_NAME = ("given_name", "family_name"), ("family_name",)
NOBODY, OWN, EVERYBODYS = "nobody's", "the person's", "everybody's at the address"


@cache
def encoder() -> Encoder:
    return Encoder(SCHEMA, EncodingKey(bytes(range(1, 33)), "a test", 1))


@cache
def made() -> Town:
    return town(6_000, 2_000)


@cache
def ordinary() -> pl.DataFrame:
    return encoder().encode(made().records)


@cache
def targets() -> pl.DataFrame:
    return made().persons.sample(TARGETS, seed=3)


@cache
def register(left_out: str) -> pl.DataFrame:
    """Return the persons encoded, with the addresses left out of nobody, of the targets, or of their households."""
    persons = made().persons
    protected = {
        NOBODY: persons.clear(),
        OWN: targets(),
        EVERYBODYS: persons.join(targets().select(ADDRESS).unique(), on=ADDRESS, how="semi", nulls_equal=True),
    }[left_out]
    hidden = pl.col("record").is_in(protected["record"].to_list())
    blank = [pl.when(hidden).then(None).otherwise(pl.col(name)).alias(name) for name in ADDRESS]
    return encoder().encode(persons.with_columns(blank))


def made_up(told: Sequence[str]) -> pl.DataFrame:
    """Return GUESSES payers a target: what is `told` of it is right, and so is the address of the first."""
    places = made().persons.select(ADDRESS).unique(maintain_order=True)
    rows = []
    for number, target in enumerate(targets().iter_rows(named=True)):
        wrong = places.sample(GUESSES - 1, seed=number).rows(named=True)
        known = {name: target[name] for name in told}
        for guess, place in enumerate([{name: target[name] for name in ADDRESS}, *wrong]):
            rows.append({"record": f"made-up.{number:02}.{guess:02}", **known, **place})
    return pl.DataFrame(rows, {"record": pl.String, **dict.fromkeys(FIELDS, pl.String)})


@cache
def learnt(told: tuple[str, ...], left_out: str = NOBODY) -> dict[str, float]:
    """Return how often it believes in the right address, by the states, and were it told how likely each record is."""
    records = pl.concat([ordinary(), encoder().encode(made_up(told))])
    found = link(plan_of(SCHEMA), records, register(left_out), Thresholds()).records
    parts = pl.col("record").str.split(".").list
    told_back = found.filter(pl.col("record").str.starts_with("made-up.")).select(
        parts.get(1).alias("target"),
        (parts.get(2) == RIGHT).alias("right"),
        pl.col("status").replace_strict({LINKED: 2.0, REVIEW: 1.0, UNLINKED: 0.0}).alias("state"),
        pl.col("any").alias("likely"),
    )
    assert told_back.height == GUESSES * TARGETS
    return {by: _believed(told_back, by) for by in ("state", "likely")}


def _believed(told_back: pl.DataFrame, by: str) -> float:
    best = told_back.filter((pl.col(by) == pl.col(by).max()).over("target"))
    hits = best.group_by("target").agg(pl.col("right").sum() / pl.len())
    return float(hits["right"].sum()) / TARGETS


def test_states_tell_that_a_name_and_an_address_belong_together() -> None:
    """The control, and what is left to know: an address that is encoded can be asked for, a guess a record."""
    assert learnt(NAMES)["state"] > 0.9


def test_states_tell_less_than_likeness_would() -> None:
    found = learnt(FAMILY_NAME)
    assert found["state"] < 0.5
    assert found["likely"] > 0.75


def test_states_tell_nothing_of_the_address_of_who_is_known_by_name_and_birth_date() -> None:
    """All are linked: whoever is known without it is linked at any address."""
    assert learnt((*NAMES, "birth_date"))["state"] < 2 * CHANCE


def test_an_address_left_out_for_one_person_is_told_by_the_others_at_it() -> None:
    """The control: so the register leaves it out for everybody there."""
    assert learnt(FAMILY_NAME, OWN)["state"] > 2 * CHANCE


@pytest.mark.parametrize("told", [NAMES, FAMILY_NAME, ("given_name",), ("birth_date",)], ids="+".join)
def test_states_tell_nothing_of_an_address_that_the_register_leaves_out(told: tuple[str, ...]) -> None:
    assert learnt(told, EVERYBODYS)["state"] < 2 * CHANCE
