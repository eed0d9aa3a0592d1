"""Do the target groups' rules hold, and is a wrong rule file refused by name?"""

from __future__ import annotations

import datetime
from importlib import resources
from typing import Any

import polars as pl
import pytest

from linker import frames
from linker.tables.target_groups import TargetGroupError, load, parse, target_families
from tests.unit.family_rows import DAY, facts, members

D = datetime.date
PEOPLE = members((1, 1, "adult", 12), (2, 1, "adult", 12), (3, 1, "child", 12), (4, 4, "adult", 1))
CATALOGUE = facts(
    "catalogue",
    {
        "service": "BIF-KONTANTHJAELP",
        "flags": ["public_support"],
        "department": "BIF",
        "type": "transfer",
        "area": None,
    },
    {"service": "BIF-SYGEDAGPENGE", "flags": ["public_support"], "department": "BIF", "type": "transfer", "area": None},
    {
        "service": "BIF-RESSOURCEFORLOEB",
        "flags": ["public_support"],
        "department": "BIF",
        "type": "transfer",
        "area": None,
    },
    {"service": "BIF-SU", "flags": ["public_support", "su"], "department": "BIF", "type": "transfer", "area": None},
    {"service": "SOF-CASE", "flags": ["social_child_case"]},
    {"service": "BUF-SCHOOL", "department": "BUF", "area": "general"},
)
ACTIVE = {"person_id": 1, "service": "BIF-KONTANTHJAELP", "category": "aktivitetsparat"}
CASE = {"person_id": 3, "service": "SOF-CASE", "start": D(2014, 12, 31)}
YEAR = ACTIVE | {"start": D(2014, 1, 1), "end": D(2014, 12, 31)}  # 364 days


@pytest.mark.parametrize(
    ("spells", "inside"),
    [
        pytest.param([ACTIVE, CASE], True, id="365 days of the year"),
        pytest.param([YEAR, CASE], False, id="exactly 364 days"),
        pytest.param(
            [YEAR, YEAR | {"start": D(2010, 1, 1), "end": D(2010, 1, 2)}, CASE], True, id="one more day, years ago"
        ),
        pytest.param([YEAR, YEAR | {"service": "BIF-SYGEDAGPENGE"}, CASE], False, id="two benefits on the same days"),
        pytest.param([YEAR, YEAR | {"person_id": 2}, CASE], False, id="two parents' days are not added up"),
        pytest.param(
            [YEAR, YEAR | {"start": D(2009, 1, 1), "end": D(2010, 1, 1)}, CASE], False, id="before the five years"
        ),
        pytest.param(
            [YEAR, ACTIVE | {"service": "BIF-SU", "start": D(2012, 1, 1), "end": D(2013, 1, 1)}, CASE], False, id="SU"
        ),
        pytest.param(
            [ACTIVE | {"person_id": 2, "start": D(2010, 1, 1), "end": D(2012, 1, 1)}, YEAR, CASE],
            True,
            id="each its parent",
        ),
        pytest.param([ACTIVE | {"category": "jobparat"}, CASE], False, id="ready for a job"),
        pytest.param([ACTIVE | {"category": None}, CASE], False, id="no category"),
        pytest.param([ACTIVE | {"category": None, "service": "BIF-SYGEDAGPENGE"}, CASE], True, id="sickness benefit"),
        pytest.param(
            [ACTIVE | {"end": D(2014, 1, 1), "start": D(2012, 1, 1)}, CASE], False, id="benefit ended before the year"
        ),
        pytest.param([ACTIVE, CASE | {"start": DAY}], False, id="case opened on the reference date"),
        pytest.param(
            [ACTIVE, CASE | {"start": D(2013, 1, 1), "end": D(2014, 1, 1)}], False, id="case ended before the year"
        ),
        pytest.param([ACTIVE, CASE | {"person_id": 2}], False, id="the case is an adult's"),
        pytest.param([ACTIVE, CASE | {"person_id": 9}], False, id="the case is a child's in another family"),
        pytest.param([ACTIVE | {"person_id": 3}, CASE], False, id="the benefit is a child's"),
    ],
)
def test_copenhagen_analysis_takes_the_families_that_meet_all_criteria(
    spells: list[dict[str, Any]], inside: bool
) -> None:
    found = target_families(load("copenhagen_analysis"), PEOPLE, facts("spells", *spells), CATALOGUE, DAY).collect()
    assert found["family_id"].to_list() == ([1] if inside else [])


def test_every_rule_file_is_valid_and_says_what_it_cannot_compute() -> None:
    files = [file.name.removesuffix(".toml") for file in (resources.files("linker") / "target_groups").iterdir()]
    assert sorted(files) == ["copenhagen_analysis", "copenhagen_pilot", "hedensted", "star", "viborg"]
    groups = {name: load(name) for name in files}
    assert all(group.name == name and group.version >= 1 for name, group in groups.items())
    assert not groups["copenhagen_analysis"].not_computable
    assert all(group.not_computable for name, group in groups.items() if name != "copenhagen_analysis")


def viborg(services: list[tuple[int, str, str]], amount_ore: int, **given: Any) -> list[int]:
    return (
        target_families(
            load("viborg"),
            PEOPLE,
            facts("spells", ACTIVE),
            CATALOGUE,
            DAY,
            services=pl.LazyFrame(services, schema=frames.FAMILY_SERVICES, orient="row"),
            spending=pl.LazyFrame(
                [(1, "SOF", "offer", "special", 1, amount_ore)], schema=frames.FAMILY_SPENDING, orient="row"
            ),
            **given,
        )
        .collect()["family_id"]
        .to_list()
    )


def test_viborg_needs_two_departments_or_the_given_amount() -> None:
    threshold = {"spending_at_least_ore": 1000}
    special, general = (1, "SOF", "SOF-CASE"), (1, "BUF", "BUF-SCHOOL")
    assert viborg([special], 999, parameters=threshold) == []
    assert viborg([special], 1000, parameters=threshold) == [1]
    assert viborg([special, (1, "BIF", "BIF-KONTANTHJAELP")], 0, parameters=threshold) == [1]
    assert viborg([special, general], 0, parameters=threshold) == []


def test_viborg_is_refused_without_its_threshold() -> None:
    with pytest.raises(TargetGroupError, match="spending_at_least_ore"):
        viborg([], 0)


def test_a_rule_that_needs_a_frame_is_refused_without_it() -> None:
    with pytest.raises(TargetGroupError, match="needs the families' services"):
        target_families(load("star"), PEOPLE, facts("spells"), CATALOGUE, DAY)


HEAD = (
    "".join(f'{key} = "x"\n' for key in ("name", "title_da", "title_en", "text_da", "text_en", "reference"))
    + "version = 1\n"
)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "requires nothing"),
        ("[[require]]\nrule = 'children'", "require 1: there is no rule 'children'"),
        ("[[require]]\nrule = 'children_at_home'\nleast = 1", "require 1: unknown key 'least'"),
        ("[[require]]\nrule = 'children_at_home'\nat_least = '1'", "require 1: at_least must be a whole number"),
        ("[[require]]\nrule = 'children_at_home'\nat_least = true", "require 1: at_least must be a whole number"),
        ("[[require]]\nrule = 'children_at_home'\nat_least = -1", "at_least must be a whole number, at least 0"),
        ("[[require]]\nrule = 'spell'\nwho = 'mother'", "who is one of adult, child"),
        ("[[require]]\nrule = 'spell'\nwho = 'adult'\nmonths = 12", "`any` lists nothing"),
        ("[[require]]\nrule = 'spell'\nwho = 'adult'\nany = [{ flag = 'a' }]", "months is missing"),
        (
            "[[require]]\nrule = 'spell'\nwho = 'adult'\nmonths = 1\nany = [{ category = 'a' }]",
            "neither a service nor a flag",
        ),
        ("[[require]]\nrule = 'spending'\nparameter = 'p'", "`parameters` must list exactly"),
        ("[[require]]\nrule = 'any'\n[[require.rules]]\nrule = 'no'", "require 1, rules 1: there is no rule 'no'"),
        ("more = 1\n[[require]]\nrule = 'children_at_home'", "unknown key 'more'"),
        ("require = 1", "require must be a list"),
        ("require", "not TOML"),
    ],
)
def test_a_wrong_rule_file_is_refused_by_name(rule: str, message: str) -> None:
    with pytest.raises(TargetGroupError, match=message):
        parse(HEAD + rule)


@pytest.mark.parametrize("fits", ["service = 'BIF-KONTANTHJELP'", "flag = 'public'"])
def test_a_rule_that_the_catalogue_does_not_know_is_refused(fits: str) -> None:
    group = parse(HEAD + f"[[require]]\nrule = 'spell'\nwho = 'adult'\nmonths = 12\nany = [{{ {fits} }}]")
    with pytest.raises(TargetGroupError, match="no service of the catalogue fits"):
        target_families(group, PEOPLE, facts("spells"), CATALOGUE, DAY)


@pytest.mark.parametrize("name", ["nowhere", "../registry", "Viborg"])
def test_load_refuses_a_name_that_is_no_group(name: str) -> None:
    with pytest.raises(TargetGroupError, match="none is called"):
        load(name)
