"""Lays down families with children by exact counts, and their members.

1. Children per family, single providers, other one-adult families and couples
   are exact (`calibration`); which family has what is shuffled.
2. Every couple can be recognised: married to each other or registered partners at
   one address, or with a common child, or cohabiting (opposite sex, born less than
   ten years apart, nobody else at the address).
3. An adult of a one-adult family that is no single provider is married (G) or in
   a partnership (P) with someone who is registered elsewhere (`outsiders`).
4. Children are under 18 on the reference date, at least a year apart; every
   target family has a child of 1 to 15.
"""

from __future__ import annotations

import numpy as np

from examples.municipality.calibration import REFERENCE_DATE, Column, Scale, target
from examples.municipality.people import (
    ADULT,
    CHILD,
    COHABITING,
    COMMON_CHILD,
    COUPLE,
    FEMALE,
    MALE,
    MARRIED,
    NONE,
    ONE_OTHER,
    PARTNERS,
    SINGLE,
    Dates,
    Families,
    Ints,
    People,
)

YEAR_DAYS = 365.25
_COUPLE_TYPES = (MARRIED, PARTNERS, COMMON_CHILD, COHABITING)
_COUPLE_SHARES = {True: (0.54, 0.01, 0.40, 0.05), False: (0.715, 0.005, 0.24, 0.04)}


def years(values: np.ndarray) -> np.ndarray:
    """Years as whole days."""
    return np.floor(values * YEAR_DAYS).astype("timedelta64[D]")


def _column(column: Column, *, is_target: bool, rng: np.random.Generator) -> Families:
    kinds = np.repeat([SINGLE, ONE_OTHER, COUPLE], [column.single_providers, column.other_one_adult, column.couples])
    children = np.repeat(list(column.children), list(column.children.values()))
    kind = rng.permutation(kinds)
    couple_type = rng.choice(_COUPLE_TYPES, size=len(kind), p=_COUPLE_SHARES[is_target])
    return Families(
        is_target=np.full(len(kind), is_target),
        kind=kind,
        couple_type=np.where(kind == COUPLE, couple_type, NONE),
        n_children=rng.permutation(children),
    )


def lay_down(scale: Scale, rng: np.random.Generator) -> Families:
    """Return the families of the scale, target group first."""
    first, second = _column(target(), is_target=True, rng=rng), _column(scale.others, is_target=False, rng=rng)
    return Families(
        *(
            np.concatenate([getattr(first, name), getattr(second, name)])
            for name in ("is_target", "kind", "couple_type", "n_children")
        )
    )


def _child_births(families: Families, rng: np.random.Generator) -> tuple[Ints, Ints, Dates]:
    """Return family, rank (0 is the youngest) and birth date of each child."""
    family = np.repeat(np.arange(len(families)), families.n_children)
    order = np.lexsort((drawn := rng.random(len(family)), family))
    drawn = drawn[order]
    first_of_family = np.cumsum(families.n_children) - families.n_children
    rank = np.arange(len(family)) - first_of_family[family]
    lowest = np.where(families.is_target, 1.2, 0.05)[family]
    age = lowest + drawn * (17.9 - lowest - (families.n_children[family] - 1)) + rank
    youngest = age[first_of_family]
    too_old = families.is_target & (youngest > 15.5)
    age -= np.where(too_old, 3.0, 0.0)[family]
    birth = REFERENCE_DATE - years(age)
    # The day after the eighteenth birthday's limit: still children on the reference date.
    edge = np.flatnonzero((families.n_children[family] == 1) & ~families.is_target[family] & (age > 16.5))[:3]
    birth[edge] = np.datetime64("1997-01-02", "D")
    return family, rank, birth


def _parent_birth(oldest: Dates, span: np.ndarray, mean: float, deviation: float, rng: np.random.Generator) -> Dates:
    """Birth dates such that the parent was 18.5 to 46 at every child's birth."""
    at_oldest = np.clip(rng.normal(mean, deviation, len(oldest)), 18.5, np.maximum(46.0 - span, 19.0))
    return np.asarray(oldest - years(at_oldest))


def people_of(families: Families, people: People, rng: np.random.Generator) -> None:
    """Add adults and children of all families, and set `adult`, `partner`, `has_step` of `families`."""
    n = len(families)
    family, rank, birth = _child_births(families, rng)
    first = np.cumsum(families.n_children) - families.n_children
    oldest, youngest = birth[first + families.n_children - 1], birth[first]
    span = (youngest - oldest).astype(np.float64) / YEAR_DAYS
    households = people.new_households(n)
    moved = REFERENCE_DATE - years(rng.uniform(1.1, 11.0, n))
    couple = families.kind == COUPLE
    partners = families.couple_type == PARTNERS

    male_alone = ~couple & (rng.random(n) < 0.15)
    civil = np.where(families.kind == SINGLE, rng.choice(list("UFEOL"), size=n, p=[0.6, 0.34, 0.05, 0.005, 0.005]), "G")
    civil = np.where((families.kind == ONE_OTHER) & (rng.random(n) < 0.03), "P", civil)
    couple_civil = np.array(["G", "P", "U", "U"])[np.maximum(families.couple_type, 0)]
    divorced = (families.couple_type >= COMMON_CHILD) & (rng.random(n) < 0.25)
    civil = np.where(couple, np.where(divorced, "F", couple_civil), civil)
    mother_birth = _parent_birth(oldest, span, 27.5, 5.0, rng)
    families.adult = people.add(
        n,
        sex=np.where(male_alone, MALE, FEMALE),
        birth=mother_birth,
        family=np.arange(n),
        role=ADULT,
        household=households,
        civil=civil,
        moved_in=moved,
    )

    who = np.flatnonzero(couple)
    cohabiting = families.couple_type[who] == COHABITING
    father_birth = _parent_birth(oldest[who], span[who], 30.0, 5.5, rng)
    near = mother_birth[who] + years(rng.uniform(-9.5, 9.5, len(who)))
    near = np.minimum(near, np.datetime64("1996-01-01", "D"))
    partner = people.add(
        len(who),
        sex=np.where(partners[who], FEMALE, MALE),
        birth=np.where(cohabiting, near, father_birth),
        family=who,
        role=ADULT,
        household=households[who],
        civil=np.where(families.couple_type[who] >= COMMON_CHILD, "U", couple_civil[who]),
        moved_in=moved[who],
    )
    families.partner = np.full(n, NONE, np.int64)
    families.partner[who] = partner
    wed = who[families.couple_type[who] <= PARTNERS]
    people.spouse[families.adult[wed]] = families.partner[wed]
    people.spouse[families.partner[wed]] = families.adult[wed]

    _children(families, people, family, rank, birth, households, moved, rng)


def _children(
    families: Families,
    people: People,
    family: Ints,
    rank: Ints,
    birth: Dates,
    households: Ints,
    moved: Dates,
    rng: np.random.Generator,
) -> None:
    """Add the children. A step child has the adult as its only parent at the address."""
    adult, partner = families.adult[family], families.partner[family]
    kind = families.couple_type[family]
    step_family = rng.random(len(families)) < 0.08
    is_oldest = rank == families.n_children[family] - 1
    step = np.select(
        [kind == COHABITING, kind == PARTNERS, kind == MARRIED, kind == COMMON_CHILD],
        [True, True, step_family[family], step_family[family] & is_oldest & (families.n_children[family] > 1)],
        default=False,
    )
    # In a few cohabiting couples the children are the man's.
    mans = (kind == COHABITING) & (people.household[adult] % 5 == 0)
    parent = np.where(mans, partner, adult)
    has_mother = people.sex[parent] == FEMALE
    mother = np.where(has_mother, parent, NONE)
    father = np.where(has_mother, NONE, parent)
    father = np.where((kind != NONE) & ~step & (kind != PARTNERS), partner, father)
    families.has_step = np.zeros(len(families), np.bool_)
    families.has_step[family[step]] = True
    people.add(
        len(family),
        sex=np.where(rng.random(len(family)) < 0.512, MALE, FEMALE),
        birth=birth,
        family=family,
        role=CHILD,
        household=households[family],
        mother=mother,
        father=father,
        moved_in=np.maximum(birth, moved[family]),
    )
