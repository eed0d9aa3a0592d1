"""Draws what everybody outside the target group has, so that none of it qualifies.

1. A family has a social case (4 %), or an adult with support (9 %), or neither; never both, so that only the planted
   near misses come close. Those, and families that they need, get ordinary services only.
2. Adults of a family with a case may be on support that the third criterion does not ask for.
3. Persons outside families with children have some of it too: they must not be counted.
"""

from __future__ import annotations

import numpy as np

from examples.municipality.calibration import DRAWN
from examples.municipality.events import Events, ages, eligible, use_period
from examples.municipality.near_misses import Planted
from examples.municipality.people import NONE, OUTSIDE, Families, Ints, People
from examples.municipality.profiles import PROFILES, catalogue

PLAIN, CASE, SUPPORT, RESERVED = range(4)
_ANY = (
    ("BIF-KONTANTHJAELP", "AP", 0.26),
    ("BIF-KONTANTHJAELP", "JP", 0.16),
    ("BIF-SYGEDAGPENGE", "", 0.24),
    ("BIF-RESSOURCEFORLOEB", "", 0.03),
    ("BIF-UDDANNELSESHJAELP", "AP", 0.06),
    ("BIF-REVALIDERING", "", 0.05),
    ("BIF-LEDIGHEDSYDELSE", "", 0.05),
    ("BIF-DAGPENGE", "", 0.1),
    ("BIF-SU", "", 0.05),
)
_HARMLESS = (("BIF-KONTANTHJAELP", "JP", 0.3), ("BIF-DAGPENGE", "", 0.4), ("BIF-SU", "", 0.3))


def _benefits(who: Ints, kinds: tuple[tuple[str, str, float], ...], events: Events, rng: np.random.Generator) -> None:
    """One period each; most touch 2014. What began in 2013 or 2014 by law starts no earlier."""
    n = len(who)
    kind = rng.choice(len(kinds), size=n, p=[share for _, _, share in kinds])
    service = np.array([name for name, _, _ in kinds])[kind]
    day = np.timedelta64(1, "D")
    start = np.datetime64("2010-01-01", "D") + rng.integers(0, 1750, n) * day
    start = np.where(service == "BIF-RESSOURCEFORLOEB", np.maximum(start, np.datetime64("2013-01-01")), start)
    start = np.where(service == "BIF-UDDANNELSESHJAELP", np.maximum(start, np.datetime64("2014-01-01")), start)
    end = np.minimum(start + np.maximum(20, rng.gamma(1.6, 260.0, n)).astype(np.int64) * day, DRAWN)
    events.benefit(who, service, start, end, visitation=np.array([code for _, code, _ in kinds])[kind])


def write(families: Families, people: People, planted: Planted, events: Events, rng: np.random.Generator) -> None:
    """Write the events of all families but the target group, and of persons outside families."""
    drawn = rng.choice([PLAIN, CASE, SUPPORT], size=len(families), p=[0.87, 0.04, 0.09])
    drawn[list(planted.reserved)] = RESERVED
    n_target = int(families.is_target.sum())
    here = people.has_record & (people.road == 0) & (people.municipality == 101)
    who = np.flatnonzero(here & ((people.family == NONE) | (people.family >= n_target)))
    of_family = np.where(people.family[who] == NONE, PLAIN, drawn[people.family[who]])
    planted_persons = [one for miss in planted.near_misses for one in (miss.parent, miss.child)]
    of_family[np.isin(who, planted_persons)] = RESERVED
    age = ages(people, who)
    is_child = age < 18
    outside = people.role[who] == OUTSIDE

    _uses(who, age, is_child, of_family, events, rng)
    parents = ~is_child & ~outside
    some = rng.random(len(who))
    _benefits(who[parents & (of_family == SUPPORT) & (some < 0.75)], _ANY, events, rng)
    _benefits(who[parents & (of_family == CASE) & (some < 0.3)], _HARMLESS, events, rng)
    _benefits(who[parents & (of_family == PLAIN) & (some < 0.05)], _HARMLESS, events, rng)
    _benefits(who[outside & ~is_child & (age < 67) & (of_family == PLAIN) & (some < 0.06)], _ANY, events, rng)
    for service, length in (("BIF-ENKELTYDELSE", 31), ("BIF-SAERLIGSTOETTE", 180)):
        have = who[parents & (of_family == SUPPORT) & (rng.random(len(who)) < 0.12)]
        start = np.datetime64("2014-01-01", "D") + rng.integers(0, 180, len(have)) * np.timedelta64(1, "D")
        events.benefit(have, service, start, start + np.timedelta64(length, "D"))


def _uses(
    who: Ints,
    age: Ints,
    is_child: np.ndarray,
    of_family: Ints,
    events: Events,
    rng: np.random.Generator,
) -> None:
    """Draw the uses of every service with its chance, raised where a family has a case or support."""
    entries = catalogue()
    for profile in PROFILES:
        if profile.extract == "ky" or not profile.others:
            continue
        entry = entries[profile.service]
        fits = eligible(profile, age, is_child)
        chance = np.full(len(who), profile.others)
        if profile.who == "case":
            fits &= of_family == CASE
        elif entry.area == "general":
            pass
        else:
            raised = np.select(
                [of_family == RESERVED, of_family == CASE, of_family == SUPPORT],
                [0.0, 4.0 if entry.department in {"SOF", "BUF"} else 1.0, 12.0 if entry.department == "BIF" else 1.0],
                default=1.0,
            )
            chance = np.minimum(chance * raised, 0.9)
        have = who[fits & (rng.random(len(who)) < chance)]
        start, end = use_period(len(have), rng)
        events.use(have, profile.service, start, end)
