"""Adds everyone who is no member of a family with children: none of them may be counted in one.

1. The other parent of children who live with one parent, and the spouse of adults who are married to somebody
   elsewhere: at an address of their own, in another municipality, known by number only, or unknown.
2. Adult children and grandparents at a family's address: families of their own.
3. Households without children.
4. Persons with a road code 9900-9999 (status 03): each a household of its own, even a mother and her child.
5. Children without parents at the address, dead, emigrated, moved away, and those who move in after the reference date.
"""

from __future__ import annotations

import numpy as np

from examples.municipality.calibration import REFERENCE_DATE, Scale
from examples.municipality.people import (
    CHILD,
    COHABITING,
    FEMALE,
    MALE,
    NONE,
    ONE_OTHER,
    SINGLE,
    Families,
    Ints,
    People,
)
from examples.municipality.population import years

_NEIGHBOURS = (147, 151, 153, 157, 167, 185)
_RESIDENT, _NEIGHBOUR, _NUMBER_ONLY, _UNKNOWN = range(4)


def _elsewhere(people: People, n: int, residence: Ints, rng: np.random.Generator, **values: object) -> Ints:
    """Add `n` adults who live away from their family, each alone; residence is one of the codes above."""
    resident = residence == _RESIDENT
    return people.add(
        n,
        household=np.where(residence == _NUMBER_ONLY, NONE, people.new_households(n)),
        municipality=np.where(resident, 101, rng.choice(_NEIGHBOURS, n)),
        has_record=residence != _NUMBER_ONLY,
        moved_in=REFERENCE_DATE - years(rng.uniform(0.2, 9.0, n)),
        **values,
    )


def absent_parents(families: Families, people: People, rng: np.random.Generator) -> None:
    """Give children with one parent at the address another one elsewhere, or leave that parent unknown."""
    alone = (families.kind == SINGLE) | families.has_step
    which = np.flatnonzero(alone)
    residence = rng.choice(4, size=len(which), p=[0.4, 0.2, 0.1, 0.3])
    which, residence = which[residence != _UNKNOWN], residence[residence != _UNKNOWN]
    children = np.flatnonzero(people.role == CHILD)
    by_mother = np.zeros(len(families), np.bool_)
    by_mother[people.family[children[people.mother[children] != NONE]]] = True
    parent_of = np.full(len(families), NONE, np.int64)
    caregiver = np.where(by_mother[which], families.adult[which], np.maximum(families.partner[which], 0))
    caregiver = np.where(families.kind[which] == SINGLE, families.adult[which], caregiver)
    parent_of[which] = _elsewhere(
        people,
        len(which),
        residence,
        rng,
        sex=np.where(by_mother[which], MALE, FEMALE),
        birth=people.birth[caregiver] - years(rng.uniform(-3.0, 9.0, len(which))),
        civil=np.where(rng.random(len(which)) < 0.4, "F", "U"),
    )
    other = parent_of[people.family[children]]
    no_father = (people.father[children] == NONE) & by_mother[people.family[children]]
    no_mother = (people.mother[children] == NONE) & ~by_mother[people.family[children]]
    people.father[children[no_father]] = other[no_father]
    people.mother[children[no_mother]] = other[no_mother]


def spouses_elsewhere(families: Families, people: People, rng: np.random.Generator) -> None:
    """Marry the adult of each other one-adult family to somebody who is registered elsewhere."""
    which = np.flatnonzero(families.kind == ONE_OTHER)
    adult = families.adult[which]
    partnership = people.civil[adult] == "P"
    opposite = np.where(people.sex[adult] == FEMALE, MALE, FEMALE)
    spouse = _elsewhere(
        people,
        len(which),
        rng.choice(3, size=len(which), p=[0.4, 0.4, 0.2]),
        rng,
        sex=np.where(partnership, people.sex[adult], opposite),
        birth=people.birth[adult] - years(rng.uniform(-2.0, 8.0, len(which))),
        civil=people.civil[adult],
    )
    people.spouse[adult], people.spouse[spouse] = spouse, adult
    spouse_of = np.full(len(families), NONE, np.int64)
    spouse_of[which] = np.where(partnership, NONE, spouse)
    children = np.flatnonzero(people.role == CHILD)
    other = spouse_of[people.family[children]]
    here = other != NONE
    no_father = here & (people.father[children] == NONE)
    no_mother = here & (people.mother[children] == NONE)
    people.father[children[no_father]] = other[no_father]
    people.mother[children[no_mother]] = other[no_mother]


def free_for_relatives(families: Families, people: People, at_least: float) -> Ints:
    """Families that one more adult relative leaves as they are: adult old enough, not cohabiting, nobody extra yet."""
    crowded = np.zeros(people.n_households, np.bool_)
    crowded[people.household[(people.role > CHILD) & (people.household != NONE)]] = True
    old_enough = people.birth[families.adult] <= REFERENCE_DATE - np.timedelta64(int(at_least * 365.25), "D")
    return np.flatnonzero(
        old_enough & (families.couple_type != COHABITING) & ~crowded[people.household[families.adult]]
    )


def adult_children(
    families: Families, people: People, which: Ints, births: np.ndarray, rng: np.random.Generator
) -> Ints:
    """Add a child of 18 or more at the address of each family in `which`: in C-family terms a family of its own."""
    adult = families.adult[which]
    is_mother = people.sex[adult] == FEMALE
    return people.add(
        len(which),
        sex=rng.integers(0, 2, len(which)),
        birth=births,
        household=people.household[adult],
        mother=np.where(is_mother, adult, NONE),
        father=np.where(is_mother, NONE, adult),
        moved_in=people.moved_in[adult],
    )


def relatives(families: Families, people: People, rng: np.random.Generator) -> None:
    """Put adult children into about 7 % of the families that can have one, grandparents into about 1 %."""
    free = free_for_relatives(families, people, 37.0)
    which = free[rng.random(len(free)) < 0.1]
    oldest = (REFERENCE_DATE - people.birth[families.adult[which]]).astype(np.float64) / 365.25 - 18.4
    births = REFERENCE_DATE - years(rng.uniform(18.05, np.clip(oldest, 18.1, 24.5)))
    births[:3] = np.datetime64("1997-01-01", "D")  # eighteen on the reference date
    adult_children(families, people, which, births, rng)
    free = free_for_relatives(families, people, 18.0)
    which = free[rng.random(len(free)) < 0.012]
    adult = families.adult[which]
    grandmother = people.add(
        len(which),
        sex=FEMALE,
        birth=people.birth[adult] - years(rng.uniform(19.0, 33.0, len(which))),
        household=people.household[adult],
        civil="E",
        moved_in=people.moved_in[adult],
    )
    people.mother[adult] = grandmother


def childless(people: People, n: int, residents: int | None, rng: np.random.Generator) -> None:
    """Add `n` households without children, or, given `residents`, as many as fill the city to that many persons."""
    if residents is not None:
        living_here = int(np.count_nonzero(people.is_resident()))
        missing = residents - living_here
        if missing < 0:
            raise ValueError(f"{living_here} persons live here already; ask for more than that")
        n_couples = int(missing * 0.26)
        n_singles = missing - 2 * n_couples
    else:
        n_couples = int(n * 0.35)
        n_singles = n - n_couples
    moved = REFERENCE_DATE - years(rng.uniform(0.1, 20.0, n_singles))
    people.add(
        n_singles,
        sex=rng.integers(0, 2, n_singles),
        birth=REFERENCE_DATE - years(18.1 + 74.0 * rng.beta(1.5, 2.2, n_singles)),
        household=people.new_households(n_singles),
        civil=rng.choice(list("UFE"), n_singles, p=[0.65, 0.22, 0.13]),
        moved_in=moved,
    )
    homes = people.new_households(n_couples)
    birth = REFERENCE_DATE - years(20.0 + 66.0 * rng.beta(1.8, 2.0, n_couples))
    wed = rng.random(n_couples) < 0.6
    moved = REFERENCE_DATE - years(rng.uniform(0.1, 20.0, n_couples))
    shared = {"household": homes, "civil": np.where(wed, "G", "U"), "moved_in": moved}
    her = people.add(n_couples, sex=FEMALE, birth=birth, **shared)
    him = people.add(n_couples, sex=MALE, birth=birth - years(rng.uniform(-1.5, 8.0, n_couples)), **shared)
    people.spouse[her[wed]], people.spouse[him[wed]] = him[wed], her[wed]


def _mother_and_child(people: People, n: int, rng: np.random.Generator, **values: object) -> tuple[Ints, Ints]:
    homes = people.new_households(n)
    birth = REFERENCE_DATE - years(rng.uniform(26.0, 40.0, n))
    mother = people.add(n, birth=birth, household=homes, **values)
    child_birth = REFERENCE_DATE - years(rng.uniform(2.0, 6.0, n))
    child = people.add(n, birth=child_birth, household=homes, mother=mother, sex=rng.integers(0, 2, n), **values)
    return mother, child


def rare(people: People, scale: Scale, rng: np.random.Generator) -> None:
    """Add what is rare, `scale.few` of each kind, and a road code 99xx for 0.3 % of the persons."""
    few = scale.few
    recently = np.datetime64("2014-03-01", "D") + rng.integers(0, 290, few).astype("timedelta64[D]")
    homeless = max(few, int(len(people) * 0.003))
    people.add(
        homeless,
        sex=(rng.random(homeless) < 0.75).astype(np.int8),
        birth=REFERENCE_DATE - years(rng.uniform(19.0, 70.0, homeless)),
        status=3,
        road=rng.choice([9900, 9901, 9950, 9999], homeless),
    )
    _mother_and_child(people, few, rng, status=3, road=9901)
    people.household[people.road > 0] = NONE
    # Children who live with neither parent: here with an unrelated elderly couple.
    homes = people.new_households(few)
    for sex in (FEMALE, MALE):
        people.add(few, sex=sex, birth=REFERENCE_DATE - years(rng.uniform(58.0, 70.0, few)), household=homes, civil="G")
    last = len(people)
    her, him = np.arange(last - 2 * few, last - few), np.arange(last - few, last)
    people.spouse[her], people.spouse[him] = him, her
    people.add(few, birth=REFERENCE_DATE - years(rng.uniform(6.0, 16.0, few)), household=homes)
    # Dead in 2014: alone, and a husband whose widow lives on at the address.
    people.add(
        few,
        sex=MALE,
        birth=REFERENCE_DATE - years(rng.uniform(60.0, 90.0, few)),
        household=people.new_households(few),
        civil="D",
        status=90,
        status_start=recently,
    )
    widowed = np.flatnonzero((people.civil == "E") & (people.role == 0))[:few]
    people.add(
        len(widowed),
        sex=np.where(people.sex[widowed] == FEMALE, MALE, FEMALE),
        birth=people.birth[widowed] - years(rng.uniform(-1.0, 6.0, len(widowed))),
        household=people.household[widowed],
        civil="D",
        status=90,
        status_start=recently[: len(widowed)],
    )
    # Emigrated, moved to another municipality, and two kinds of move around the turn of the year.
    people.add(
        few,
        sex=rng.integers(0, 2, few),
        birth=REFERENCE_DATE - years(rng.uniform(22.0, 45.0, few)),
        household=people.new_households(few),
        municipality=0,
        status=80,
        status_start=recently,
        moved_in=recently,
        prior_household=people.new_households(few),
    )
    gone, arriving = recently, np.full(few, np.datetime64("2015-01-12", "D"))
    for municipality, prior, moved in ((147, 101, gone), (101, 147, arriving)):
        members = np.concatenate(_mother_and_child(people, few, rng))
        people.municipality[members], people.prior_municipality[members] = municipality, prior
        people.moved_in[members] = np.tile(moved, 2)
        people.prior_household[members] = np.tile(people.new_households(few), 2)
    leaving = people.add(
        few,
        birth=REFERENCE_DATE - years(rng.uniform(22.0, 45.0, few)),
        household=people.new_households(few),
        municipality=157,
        moved_in=np.datetime64("2015-01-10", "D"),
    )
    people.prior_household[leaving] = people.new_households(few)


def moves_and_protection(people: People, rng: np.random.Generator) -> None:
    """Let 1 % of the households have moved, in 2014 or in January 2015, and protect 2.5 % of the addresses."""
    n = people.n_households
    moved = rng.random(n) < 0.01
    day = np.datetime64("2014-01-03", "D") + rng.integers(0, 390, n).astype("timedelta64[D]")
    prior = people.new_households(n)
    protected = rng.random(people.n_households) < 0.025
    at_home = np.flatnonzero(
        (people.household != NONE)
        & (people.prior_household == NONE)
        & (people.municipality == 101)
        & (people.status == 1)
    )
    home = people.household[at_home]
    who = at_home[moved[home] & (people.birth[at_home] < np.datetime64("2012-01-01", "D"))]
    babies = np.isin(home, np.unique(home[people.birth[at_home] >= np.datetime64("2012-01-01", "D")]))
    who = who[~np.isin(people.household[who], home[babies])]
    people.prior_household[who] = prior[people.household[who]]
    people.moved_in[who] = day[people.household[who]]
    people.protected[at_home] = protected[home]
