"""Gives each target family its cell of the cross-tab and the events that make it qualify.

1. A cell (departments, services) is expanded from the published table; more than 20 means 21 to 26.
2. Every family has BUF, BIF and SOF; with four departments also SUF or KFF, with five both.
3. Within them: one benefit of the third criterion, one social case of a child, at least one service a department, and
   others by weight up to the number.
4. The year on support: almost all have long had their benefit; some have exactly 365 days, and in some couples
   one parent has the year and the other the benefit.
"""

from __future__ import annotations

import numpy as np

from examples.municipality.calibration import DRAWN, cells
from examples.municipality.events import Events, ages, eligibility, use_period
from examples.municipality.people import CHILD, NONE, Families, Ints, People
from examples.municipality.profiles import CRITERION, PROFILES, catalogue

_INDEX = {profile.service: at for at, profile in enumerate(PROFILES)}
_department_of = np.array([catalogue()[profile.service].department for profile in PROFILES])
_CASE = np.array(["social_child_case" in catalogue()[profile.service].flags for profile in PROFILES])
_WEIGHT = np.array([profile.weight for profile in PROFILES])
_N_EXACT, _N_SPLIT = 6, 8


def _cells_by_family(families: Families, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Deal out the cells, larger numbers of services rather to families with more children."""
    n = int(families.is_target.sum())
    rank = np.argsort(np.argsort(-(families.n_children[:n] + rng.normal(0.0, 1.5, n)), kind="stable"), kind="stable")
    dealt = sorted(cells(), key=lambda cell: -cell[1])
    exact = [(departments, int(rng.integers(21, 27)) if number > 20 else number) for departments, number in dealt]
    return [exact[at] for at in rank]


def _pick(pool: np.ndarray, how_many: int, rng: np.random.Generator) -> list[int]:
    """Draw without replacement, by weight (the largest of log weight plus Gumbel noise)."""
    candidates = np.flatnonzero(pool & (_WEIGHT > 0))
    if len(candidates) < how_many:
        raise ValueError(f"{how_many} services wanted, {len(candidates)} possible")
    score = np.log(_WEIGHT[candidates]) + rng.gumbel(size=len(candidates))
    return [int(at) for at in candidates[np.argsort(-score)[:how_many]]]


def services_of(
    possible: np.ndarray, departments: int, number: int, benefit: str, rng: np.random.Generator
) -> list[int]:
    """Choose `number` services (indices of PROFILES) in exactly `departments` departments."""
    in_use = ["BUF", "BIF", "SOF"]
    if departments == 5:
        in_use += ["SUF", "KFF"]
    elif departments == 4:
        room = [extra for extra in ("SUF", "KFF") if (possible & (_department_of == extra)).any()]
        in_use.append(str(rng.choice(room)))
    chosen = [_INDEX[benefit]]
    chosen += _pick(possible & _CASE, 1, rng)
    for department in in_use:
        if department not in {"BIF", "SOF"}:
            chosen += _pick(possible & (_department_of == department), 1, rng)
    rest = possible & np.isin(_department_of, in_use)
    rest[chosen] = False
    return chosen + _pick(rest, number - len(chosen), rng)


def _criterion(families: Families, events: Events, rng: np.random.Generator) -> tuple[list[str], Ints]:
    """Write each family's benefit of the third criterion and its year on support; return benefit and who has it."""
    n = int(families.is_target.sum())
    benefit = [str(service) for service in rng.choice(list(CRITERION), size=n, p=[0.66, 0.2, 0.14])]
    second = (families.partner[:n] != NONE) & (rng.random(n) < 0.4)
    who = np.where(second, families.partner[:n], families.adult[:n])
    visitation = np.array([CRITERION[service] for service in benefit])
    couples = np.flatnonzero(families.partner[:n] != NONE)
    split = rng.choice(couples, _N_SPLIT, replace=False)
    exact = np.setdiff1d(rng.choice(n, 4 * _N_EXACT, replace=False), split)[:_N_EXACT]
    plain = np.setdiff1d(np.arange(n), np.concatenate([split, exact]))
    day = np.timedelta64(1, "D")

    service = np.array(benefit)
    start = np.datetime64("2010-01-01", "D") + rng.integers(-200, 1000, len(plain)) * day
    # A ressourceforløb exists from 2013 on.
    start = np.where(service[plain] == "BIF-RESSOURCEFORLOEB", np.datetime64("2013-01-01", "D"), start)
    end = np.datetime64("2014-07-01", "D") + rng.integers(0, 180, len(plain)) * day
    end = np.where(rng.random(len(plain)) < 0.7, DRAWN, end)
    end = np.where(service[plain] == "BIF-RESSOURCEFORLOEB", DRAWN, end)
    events.benefit(who[plain], service[plain], start, end, visitation=visitation[plain])
    events.benefit(who[exact], service[exact], "2013-07-01", "2014-07-01", visitation=visitation[exact], kept=True)
    events.benefit(who[exact], "BIF-REVALIDERING", "2013-08-01", "2013-11-01", kept=True)
    events.benefit(who[split], service[split], "2014-02-01", "2014-05-01", visitation=visitation[split], kept=True)
    other = np.where(who[split] == families.adult[split], families.partner[split], families.adult[split])
    events.benefit(other, "BIF-REVALIDERING", "2010-02-01", "2012-06-01", kept=True)
    return benefit, who


def write(families: Families, people: People, events: Events, rng: np.random.Generator) -> None:
    """Write all events of the target group."""
    n = int(families.is_target.sum())
    benefit, recipient = _criterion(families, events, rng)
    dealt = _cells_by_family(families, rng)
    members = np.flatnonzero((people.family != NONE) & (people.family < n))
    fits = eligibility(ages(people, members), people.role[members] == CHILD)
    possible = np.zeros((n, len(PROFILES)), np.bool_)
    np.logical_or.at(possible, people.family[members], fits)
    by_family = [np.flatnonzero(people.family[members] == family) for family in range(n)]
    for family, (departments, number) in enumerate(dealt):
        mine = by_family[family]
        for at in services_of(possible[family], departments, number, benefit[family], rng)[1:]:
            can = mine[fits[mine, at]]
            have = can[rng.random(len(can)) < 0.6]
            if PROFILES[at].who in {"adult", "any"} or not len(have):
                have = rng.choice(can, 1)
            _use(PROFILES[at].service, members[have], events, rng)
        _administration(members[mine], recipient[family], people, events, rng)


def _use(service: str, who: Ints, events: Events, rng: np.random.Generator) -> None:
    profile = PROFILES[_INDEX[service]]
    if profile.extract == "ky":
        month = int(rng.integers(1, 13 - profile.postings))
        start = np.datetime64(f"2014-{month:02d}-01", "M")
        end = (start + np.timedelta64(profile.postings, "M")).astype("M8[D]")
        visitation = str(rng.choice(["AP", "JP"])) if service == "BIF-KONTANTHJAELP" else ""
        events.benefit(who, service, start.astype("M8[D]"), end, visitation=visitation)
    else:
        start_of, end_of = use_period(len(who), rng)
        events.use(who, service, start_of, end_of)


def _administration(members: Ints, recipient: int, people: People, events: Events, rng: np.random.Generator) -> None:
    """Administration is never a service; every family has some."""
    child = members[people.role[members] == CHILD][:1]
    events.use([recipient], "BIF-ADM")
    events.use(child, "SOF-ADM")
    if rng.random() < 0.3:
        events.use(child, "BUF-ADM")
