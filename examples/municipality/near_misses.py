"""Plants, among the others, families that miss the target group by one thing each.

Every kind meets all criteria of the target group but the one it is named after; `WHY` says which. They are labelled in
`truth/near_misses.json`, no dirt hits their criterion rows, and none may qualify.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from examples.municipality.calibration import Scale
from examples.municipality.events import NAT, Events
from examples.municipality.outsiders import adult_children, free_for_relatives
from examples.municipality.people import CHILD, FEMALE, MALE, MARRIED, NONE, SINGLE, Families, People

KONT, SICK, UDD, SU, DAGP = "BIF-KONTANTHJAELP", "BIF-SYGEDAGPENGE", "BIF-UDDANNELSESHJAELP", "BIF-SU", "BIF-DAGPENGE"
TREATMENT = "SOF-FAMILIEBEHANDLING"
Benefits = list[tuple[str, str, str, str]]
Cases = list[tuple[str, str, str | None]]

_LONG: Benefits = [(KONT, "AP", "2011-01-01", "2015-02-01")]
_CASE: Cases = [(TREATMENT, "2013-05-01", None)]

# label: (why it is outside, the parent's benefits, the child's cases)
PLANS: dict[str, tuple[str, Benefits, Cases]] = {
    "exactly_364_days": (
        "364 distinct days of support; overlapping rows add up to more",
        [(KONT, "AP", "2013-07-01", "2014-06-30"), (SICK, "", "2013-08-01", "2013-10-01")],
        _CASE,
    ),
    "su_only": (
        "more than a year only when SU is counted",
        [(SU, "", "2011-09-01", "2014-01-01"), (KONT, "AP", "2014-01-01", "2014-07-01")],
        _CASE,
    ),
    "support_before_window": (
        "the long period ended before 2010",
        [(KONT, "AP", "2007-01-01", "2010-01-01"), (KONT, "AP", "2014-01-01", "2014-11-01")],
        _CASE,
    ),
    "dagpenge_only": ("dagpenge is none of the three benefits", [(DAGP, "", "2011-01-01", "2015-02-01")], _CASE),
    "jobparat": ("kontanthjælp, but ready for a job", [(KONT, "JP", "2011-01-01", "2015-02-01")], _CASE),
    "uddannelseshjaelp": (
        "aktivitetsparat, but on uddannelseshjælp",
        [(KONT, "JP", "2011-01-01", "2014-01-01"), (UDD, "AP", "2014-01-01", "2015-02-01")],
        _CASE,
    ),
    "benefit_ended_2013": ("the benefit ended on 2013-12-31", [(KONT, "AP", "2011-01-01", "2014-01-01")], _CASE),
    "benefit_began_2015": (
        "aktivitetsparat from 2015-01-01",
        [(KONT, "JP", "2011-01-01", "2015-01-01"), (KONT, "AP", "2015-01-01", "2015-02-01")],
        _CASE,
    ),
    "case_ended_2013": ("the case ended on 2013-12-31", _LONG, [(TREATMENT, "2013-02-01", "2014-01-01")]),
    "case_opened_2015": ("the case opened on 2015-01-01", _LONG, [(TREATMENT, "2015-01-01", None)]),
    "money_and_advice_only": (
        "economic support and advice are no social case",
        _LONG,
        [("SOF-OEKSTOETTE", "2014-02-01", None), ("SOF-RAADGIVNING", "2014-02-01", "2014-05-01")],
    ),
    "case_child_moved_out": ("the child with the case lives elsewhere; a sibling stayed", _LONG, _CASE),
    "case_in_other_parents_family": ("the case is on a child who lives with the other parent", _LONG, _CASE),
    "case_on_child_now_18": ("the child with the case turned 18 before the reference date", _LONG, _CASE),
    "support_of_adult_child": ("an adult child at home has the support, not a parent", _LONG, _CASE),
}


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A planted family: who has the benefits, and who has the case."""

    label: str
    family: int
    parent: int
    child: int


@dataclass(frozen=True, slots=True)
class Planted:
    """All near misses, and the families that random draws must leave alone."""

    near_misses: tuple[NearMiss, ...]
    reserved: frozenset[int]


def _other_parents_family(families: Families, people: People, free: list[int], child_of: np.ndarray) -> tuple[int, int]:
    """Find a married couple and a single mother of suitable age, and make the man the father of her children."""
    for mother_family in free:
        adult = families.adult[mother_family]
        if families.kind[mother_family] != SINGLE or people.sex[adult] != FEMALE:
            continue
        for family in free:
            man = families.partner[family]
            if families.couple_type[family] != MARRIED or families.has_step[family]:
                continue
            if abs((people.birth[man] - people.birth[adult]).astype(int)) < 4 * 365:
                children = np.flatnonzero((people.family == mother_family) & (people.role == CHILD))
                people.father[children] = man
                return family, int(child_of[mother_family])
    raise ValueError("no couple and single mother fit each other")


def choose(families: Families, people: People, scale: Scale, rng: np.random.Generator) -> Planted:
    """Choose families for every kind, and add the persons that a kind needs (outside all families with children)."""
    n = scale.near_misses_per_kind
    child_of = np.full(len(families), NONE, np.int64)
    children = np.flatnonzero(people.role == CHILD)
    child_of[people.family[children]] = children
    # The case is on the oldest child, who must have lived when it began.
    fits = ~families.is_target & (people.birth[child_of] < np.datetime64("2012-01-01", "D"))
    free = [int(family) for family in rng.permutation(np.flatnonzero(fits))]
    roomy = {int(family) for family in free_for_relatives(families, people, 42.0)}
    reserved: set[int] = set()
    found: list[NearMiss] = []
    for label in reversed(PLANS):  # the choosy kinds first
        for running in range(n):
            free = [family for family in free if family not in reserved]
            match label:
                case "case_in_other_parents_family":
                    family, child = _other_parents_family(families, people, free, child_of)
                    parent = int(families.partner[family])
                    reserved.add(int(people.family[child]))
                case "case_on_child_now_18" | "support_of_adult_child":
                    family = next(one for one in free if one in roomy)
                    born = "1996-06-15" if label == "case_on_child_now_18" else "1992-03-10"
                    births = np.array([born], "M8[D]")
                    grown = int(adult_children(families, people, np.array([family]), births, rng)[0])
                    turned = label == "case_on_child_now_18"
                    parent = int(families.adult[family]) if turned else grown
                    child = grown if turned else int(child_of[family])
                case "case_child_moved_out":
                    family = free[0]
                    parent = int(families.adult[family])
                    is_father = people.sex[parent] == MALE
                    child = int(
                        people.add(
                            1,
                            birth=np.datetime64("2006-05-11", "D") + np.timedelta64(running, "D"),
                            household=people.new_households(1),
                            municipality=167,
                            mother=NONE if is_father else parent,
                            father=parent if is_father else NONE,
                            moved_in=np.datetime64("2014-05-01", "D"),
                            prior_household=people.household[parent],
                        )[0]
                    )
                case _:
                    family = free[0]
                    parent, child = int(families.adult[family]), int(child_of[family])
            reserved.add(family)
            found.append(NearMiss(label, family, parent, child))
    return Planted(tuple(found), frozenset(reserved))


def plant(planted: Planted, events: Events) -> None:
    """Write the benefits and cases of all near misses into `events`."""
    for near_miss in planted.near_misses:
        _, benefits, cases = PLANS[near_miss.label]
        for service, visitation, start, end in benefits:
            events.benefit([near_miss.parent], service, start, end, visitation=visitation, kept=True)
        for service, start, until in cases:
            events.use([near_miss.child], service, start, NAT if until is None else until, kept=True)
