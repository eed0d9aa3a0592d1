"""Households and families once more: slow, obvious, one person at a time.

Written from Statistics Denmark's text, not from `linker.families`; loops over
dicts, no frames. A person is a dict with the columns of RESIDENTS; `register`
holds person_id, mother_id, father_id of everybody known.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from itertools import combinations
from typing import Any

Person = dict[str, Any]


def age_in_months(person: Person, day: datetime.date) -> int:
    anchor = person["age_anchor"]
    return (day.year - anchor.year) * 12 + day.month - anchor.month


def live_together(one: Person, other: Person) -> bool:
    return one["address_id"] is not None and one["address_id"] == other["address_id"]


def parents_of(person: Person) -> set[int]:
    return {person["mother_id"], person["father_id"]} - {None}


def have_common_child(one: Person, other: Person, register: Sequence[Person]) -> bool:
    pair = {one["person_id"], other["person_id"]}
    return any({row["mother_id"], row["father_id"]} == pair for row in register)


def married(one: Person, other: Person, status: str) -> bool:
    return (
        one["civil_status"] == other["civil_status"] == status
        and one["spouse_id"] == other["person_id"]
        and other["spouse_id"] == one["person_id"]
    )


def samboende(
    one: Person, other: Person, people: Sequence[Person], register: Sequence[Person], day: datetime.date
) -> bool:
    if {one["sex"], other["sex"]} != {"f", "m"}:
        return False
    ages = age_in_months(one, day), age_in_months(other, day)
    if min(ages) < 16 * 12 or abs(ages[0] - ages[1]) >= 15 * 12:
        return False
    if have_common_child(one, other, register) or parents_of(one) & parents_of(other):
        return False
    if one["person_id"] in parents_of(other) or other["person_id"] in parents_of(one):
        return False
    for third in people:
        if third is one or third is other or not live_together(third, one):
            continue
        is_own_child = parents_of(third) & {one["person_id"], other["person_id"]}
        if age_in_months(third, day) >= 18 * 12 and not is_own_child:
            return False
    return True


def find_couples(
    people: Sequence[Person], register: Sequence[Person], day: datetime.date
) -> dict[int, tuple[int, int]]:
    """Return person -> (partner, first digit of the type times ten plus one)."""
    couples: dict[int, tuple[int, int]] = {}
    rules = (
        (11, lambda one, other: married(one, other, "G")),
        (21, lambda one, other: married(one, other, "P")),
        (31, lambda one, other: have_common_child(one, other, register)),
        (41, lambda one, other: samboende(one, other, people, register, day)),
    )
    for code, rule in rules:
        free = [person for person in people if person["person_id"] not in couples]
        pairs = [
            (one["person_id"], other["person_id"])
            for one, other in combinations(free, 2)
            if live_together(one, other) and rule(one, other)
        ]
        for one, other in pairs:
            if sum(bool({one, other} & set(pair)) for pair in pairs) == 1:  # only this pair itself
                couples[one] = (other, code)
                couples[other] = (one, code)
    return couples


def households(people: Sequence[Person]) -> dict[int, int]:
    return {
        person["person_id"]: min(
            [other["person_id"] for other in people if live_together(person, other)] or [person["person_id"]]
        )
        for person in people
    }


def is_child_but_for_the_home(
    person: Person, people: Sequence[Person], register: Sequence[Person], day: datetime.date, kind: str
) -> bool:
    number = person["person_id"]
    if person["civil_status"] != "U" or age_in_months(person, day) >= 12 * (18 if kind == "c" else 25):
        return False
    if kind == "c":
        return not any(number in parents_of(other) and live_together(person, other) for other in people)
    return not any(number in parents_of(row) for row in register)


def possible_homes(person: Person, people: Sequence[Person], kind: str) -> list[int]:
    """Return the adults a child could belong to, best first."""
    parents = [person["mother_id"], person["father_id"]]
    together = [other for other in people if other is not person and live_together(person, other)]
    own = [parent for parent in parents if parent in {other["person_id"] for other in together}]
    step = [
        other["person_id"]
        for parent in parents
        for other in sorted(together, key=lambda other: other["person_id"])
        if parent is not None and other["spouse_id"] == parent and other["civil_status"] != "U"
    ]
    return own + (step if kind == "c" else [])


def families(
    people: Sequence[Person], register: Sequence[Person], day: datetime.date, *, kind: str
) -> dict[int, tuple[int, str, int]]:
    """Return person -> (family_id, role, type) for kind "c" or "e"."""
    couples = find_couples(people, register, day)
    homes: dict[int, int] = {}  # child at home -> adult it belongs to
    strays: set[int] = set()
    for person in people:
        if person["person_id"] in couples or not is_child_but_for_the_home(person, people, register, day, kind):
            continue
        possible = possible_homes(person, people, kind)
        if possible:
            homes[person["person_id"]] = possible[0]
        elif age_in_months(person, day) < 18 * 12:
            strays.add(person["person_id"])

    def adults_of(number: int) -> frozenset[int]:
        number = homes.get(number, number)
        return frozenset({number, couples[number][0]} if number in couples else {number})

    result = {}
    numbers = [person["person_id"] for person in people]
    for number in numbers:
        family = [other for other in numbers if adults_of(other) == adults_of(number)]
        has_children = any(other in homes for other in family)
        partner = couples.get(homes.get(number, number))
        code = 53 if number in strays else (partner[1] if partner else 1) + has_children
        role = "child" if number in homes or number in strays else "adult"
        result[number] = (min(family), role, code)
    return result
