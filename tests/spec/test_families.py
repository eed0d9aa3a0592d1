"""What is the rule? The tables of tests/spec/families, which docs/spec/families.md shows, hold.

Reference date 2015-01-01. A family is written as its adults, then + and its children.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from linker import frames
from linker.families.c_family import c_family_members
from linker.families.e_family import e_family_members
from linker.families.formation import PARENTS
from linker.linkage import aliases

DAY = datetime.date(2015, 1, 1)
FOLDER = Path(__file__).parent / "families"


@dataclass(frozen=True)
class Case:
    title: str
    changes: dict[str, str]
    rows: list[dict[str, str]]


def read_cases() -> list[Case]:
    cases = []
    for file in sorted(FOLDER.glob("*.md")):
        for part in file.read_text(encoding="utf-8").split("\n### ")[1:]:
            title, _, body = part.partition("\n")
            lines = [
                [cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"
            ]
            changes = dict(re.findall(r"(\w) is now (\w)", body))
            cases.append(Case(title, changes, [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]))
    return cases


CASES = read_cases()


def number(letter: str) -> int | None:
    return ord(letter) - 64 if letter else None


def letter(person_id: int) -> str:
    return chr(person_id + 64)


def anchor(born: str) -> datetime.date:
    day = datetime.date.fromisoformat(born)
    return day if day.day == 1 else (day.replace(day=28) + datetime.timedelta(days=4)).replace(day=1)


def town(case: Case) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Return residents and parents, number changes resolved as in a run."""
    streets = sorted({row["address"] for row in case.rows})
    people = pl.LazyFrame(
        [
            {
                "person_id": number(row["person"]),
                "mother_id": number(row["mother"]),
                "father_id": number(row["father"]),
                "spouse_id": number(row["spouse"]),
                "address_id": None if row["address"] == "-" else streets.index(row["address"]),
                "age_anchor": anchor(row["born"]),
                "sex": row["sex"],
                "civil_status": row["civil"],
                "elsewhere": row["address"] == "elsewhere",
            }
            for row in case.rows
        ],
        schema={**frames.RESIDENTS, "elsewhere": pl.Boolean},
    )
    pairs = pl.LazyFrame(
        [{"former_id": number(former), "current_id": number(current)} for former, current in case.changes.items()],
        schema={"former_id": frames.ID, "current_id": frames.ID},
    )
    people = aliases.apply(people, aliases.resolve(pairs).resolved, ("mother_id", "father_id", "spouse_id"))
    return people.filter(~pl.col("elsewhere")).select(list(frames.RESIDENTS)), people.select(list(PARENTS))


def described(members: pl.LazyFrame) -> dict[str, tuple[str, str, int]]:
    """Return by person: household, family as adults+children, type."""
    table = members.collect().sort("person_id")
    found = {}
    for row in table.iter_rows(named=True):
        home = [letter(other) for other in table.filter(household_id=row["household_id"])["person_id"]]
        family = table.filter(family_id=row["family_id"])
        adults = [letter(other) for other in family.filter(role="adult")["person_id"]]
        children = [letter(other) for other in family.filter(role="child")["person_id"]]
        written = "".join(adults) + ("+" if adults and children else "") + "".join(children)
        found[letter(row["person_id"])] = ("".join(home), written, row["family_type"])
    return found


@pytest.mark.parametrize("case", CASES, ids=[case.title for case in CASES])
def test_families_are_formed_as_the_table_says(case: Case) -> None:
    residents, parents = town(case)
    here = [row for row in case.rows if row["address"] != "elsewhere"]
    for kind, form in (("C", c_family_members), ("E", e_family_members)):
        expected = {row["person"]: (row["household"], row[f"{kind}-family"], int(row[f"{kind}-type"])) for row in here}
        assert described(form(residents, parents, DAY)) == expected


def test_every_pair_of_the_domain_rules_has_a_table() -> None:
    assert len(CASES) >= 30
    codes = {row["C-type"] for case in CASES for row in case.rows}
    assert codes >= {"1", "2", "11", "12", "21", "31", "32", "41", "42", "53"}
