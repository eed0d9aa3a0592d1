"""Number changes and exclusions as a run sees them."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest

from linker.frames import FACTS
from linker.linkage import register
from linker.linkage.aliases import resolve

START, CHANGE, LATER = date(2010, 1, 1), date(2013, 5, 1), date(2014, 2, 1)
TODAY = date(2015, 1, 1)


def facts(dataset: str, *rows: dict[str, Any]) -> pl.LazyFrame:
    return pl.LazyFrame(list(rows), schema=FACTS[dataset], orient="row")


def person(number: int, valid_from: date = START, valid_to: date | None = None, **fields: Any) -> dict[str, Any]:
    return {"person_id": number, "status": 1, "valid_from": valid_from, "valid_to": valid_to, **fields}


def read(**given: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    frames = {name: given.get(name, facts(name)) for name in FACTS}
    resolved = resolve(frames["aliases"]).resolved
    return {name: rows.collect() for name, rows in register.read(frames.__getitem__, resolved, TODAY).items()}


def alias(former: int, current: int) -> dict[str, Any]:
    return {"former_id": former, "current_id": current}


# case: (rows of the register, aliases, expected (person_id, valid_from, valid_to))
CASES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], list[tuple[int, date, date | None]]]] = {
    "no change of number": ([person(1)], [], [(1, START, None)]),
    "the status 60 row disappears": (
        [person(1, status=60), person(2, CHANGE)],
        [alias(1, 2)],
        [(2, CHANGE, None)],
    ),
    "a status 60 row disappears also when the current number has no rows": ([person(1, status=60)], [alias(1, 2)], []),
    "the time under the former number stays": (
        [person(1, START, CHANGE), person(2, CHANGE)],
        [alias(1, 2)],
        [(2, START, CHANGE), (2, CHANGE, None)],
    ),
    "the current number's row wins where both cover a day": (
        [person(1, START), person(2, CHANGE)],
        [alias(1, 2)],
        [(2, CHANGE, None)],
    ),
    "between two former numbers the row that began last wins": (
        [person(1, START, LATER), person(2, CHANGE, LATER), person(3, LATER)],
        [alias(1, 2), alias(2, 3)],
        [(3, CHANGE, LATER), (3, LATER, None)],
    ),
    "a former number without rows of the current one": ([person(1)], [alias(1, 2)], [(2, START, None)]),
    "a cycle is left as it stands": (
        [person(1), person(2)],
        [alias(1, 2), alias(2, 1)],
        [(1, START, None), (2, START, None)],
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_persons_after_number_changes(name: str) -> None:
    rows, pairs, expected = CASES[name]
    found = read(persons=facts("persons", *rows), aliases=facts("aliases", *pairs))["persons"]
    assert sorted(found.select("person_id", "valid_from", "valid_to").iter_rows()) == expected


def test_every_reference_to_a_former_number_follows_it() -> None:
    child = person(9, mother_id=1, father_id=5, spouse_id=1)
    found = read(
        persons=facts("persons", child),
        postings=facts("postings", {"person_id": 1}, {"person_id": None}),
        spells=facts("spells", {"person_id": 1}),
        consents=facts("consents", {"person_id": 1}),
        aliases=facts("aliases", alias(1, 2), alias(2, 3)),
    )
    assert found["persons"].select("mother_id", "father_id", "spouse_id").row(0) == (3, 5, 3)
    assert found["postings"]["person_id"].sort().to_list() == [None, 3]
    assert found["spells"]["person_id"].to_list() == [3]
    assert found["consents"]["person_id"].to_list() == [3]


@pytest.mark.parametrize("scope", ["objection", "erasure", "restriction"])
def test_an_exclusion_takes_all_rows_of_the_person_under_any_number(scope: str) -> None:
    found = read(
        persons=facts("persons", person(1, START, CHANGE), person(2, CHANGE), person(3)),
        postings=facts("postings", {"person_id": 1}, {"person_id": 2}, {"person_id": 3}, {"person_id": None}),
        spells=facts("spells", {"person_id": 2}),
        consents=facts("consents", {"person_id": 2}),
        aliases=facts("aliases", alias(1, 2)),
        exclusions=facts("exclusions", {"person_id": 1, "scope": scope, "valid_from": TODAY}),
    )
    assert found["persons"]["person_id"].to_list() == [3]
    assert found["postings"]["person_id"].sort().to_list() == [None, 3]
    assert found["spells"].is_empty()
    assert found["consents"].is_empty()


def test_an_exclusion_that_has_not_begun_takes_nothing() -> None:
    found = read(
        persons=facts("persons", person(1)),
        exclusions=facts("exclusions", {"person_id": 1, "scope": "objection", "valid_from": date(2015, 1, 2)}),
    )
    assert found["persons"].height == 1
