"""Do families hold what the definitions promise, for every small town?

Oracle: `family_oracle`, a slow second implementation. The towns are far stranger
than any register, so that rules meet each other.
"""

from __future__ import annotations

import datetime
from random import Random
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from linker import frames
from linker.families.c_family import c_family_members
from linker.families.e_family import e_family_members
from linker.families.formation import PARENTS
from linker.families.residents import households
from tests.properties import family_oracle as oracle

DAY = datetime.date(2015, 1, 1)

ANCHORS = [  # around the limits of the rules, on DAY: 15, 16, 18, 25 years, and 15 years apart
    datetime.date(year, month, 1)
    for year, month in (
        *((2014, 6), (2005, 3), (1999, 1), (1999, 2), (1998, 12), (1997, 1), (1997, 2), (1996, 12), (1996, 2)),
        *((1990, 1), (1990, 2), (1989, 12), (1984, 1), (1983, 12), (1981, 1), (1975, 2), (1975, 1), (1960, 5)),
    )
]


@st.composite
def towns(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return up to nine residents at few addresses, and the register: theirs and other references."""
    size = draw(st.integers(1, 9))
    numbers = draw(st.lists(st.integers(1, 40), min_size=size, max_size=size, unique=True))
    known = [*numbers, 41, 42]

    def other_than(*taken: int | None) -> st.SearchStrategy[int | None]:
        return st.one_of(st.none(), st.sampled_from([number for number in known if number not in taken] or [43]))

    people = []
    for number in numbers:
        mother = draw(other_than(number))
        people.append(
            {
                "person_id": number,
                "mother_id": mother,
                "father_id": draw(other_than(number, mother)),
                "spouse_id": draw(other_than(number)),
                "address_id": draw(st.sampled_from([100, 100, 100, 200, None])),
                "age_anchor": draw(st.sampled_from(ANCHORS)),
                "sex": draw(st.sampled_from("fm")),
                "civil_status": draw(st.sampled_from("UUUUGPFE")),
                "district": None,
            }
        )
    # Marriages that hold are rare among random references: mend some.
    for one, other in draw(st.lists(st.tuples(st.sampled_from(people), st.sampled_from(people)), max_size=3)):
        if one is not other:
            status = draw(st.sampled_from("GP"))
            one.update(spouse_id=other["person_id"], civil_status=status)
            other.update(spouse_id=one["person_id"], civil_status=status)
    register = [{key: person[key] for key in PARENTS} for person in people]
    for number in range(50, 50 + draw(st.integers(0, 2))):
        mother = draw(other_than(number))
        register.append({"person_id": number, "mother_id": mother, "father_id": draw(other_than(number, mother))})
    return people, register


def _frames(people: list[dict[str, Any]], register: list[dict[str, Any]]) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    return pl.LazyFrame(people, schema=frames.RESIDENTS), pl.LazyFrame(register, schema=PARENTS)


def _as_dict(members: pl.DataFrame) -> dict[int, tuple[int, str, int]]:
    rows = members.select("person_id", "family_id", "role", "family_type").rows()
    assert len(rows) == len({row[0] for row in rows}), "a person stands twice"
    return {number: (family, role, code) for number, family, role, code in rows}


@settings(max_examples=120, deadline=None)
@given(towns())
def test_families_equal_the_slow_implementation(town: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    people, register = town
    residents, parents = _frames(people, register)
    found_c, found_e, homes = pl.collect_all(
        [c_family_members(residents, parents, DAY), e_family_members(residents, parents, DAY), households(residents)]
    )
    assert _as_dict(found_c) == oracle.families(people, register, DAY, kind="c")
    assert _as_dict(found_e) == oracle.families(people, register, DAY, kind="e")
    assert dict(homes.rows()) == oracle.households(people)


@settings(max_examples=25, deadline=None)
@given(towns(), st.randoms(use_true_random=False))
def test_families_do_not_depend_on_the_order_of_rows(
    town: tuple[list[dict[str, Any]], list[dict[str, Any]]], random: Random
) -> None:
    people, register = town
    expected = c_family_members(*_frames(people, register), DAY).collect().sort("person_id")
    random.shuffle(people)
    random.shuffle(register)
    assert c_family_members(*_frames(people, register), DAY).collect().sort("person_id").equals(expected)
