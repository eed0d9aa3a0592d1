"""Checks a generated municipality: its calibration from truth, and everything once more from the extracts.

    python -m examples.municipality.check DIR

1. Truth: the target group's published figures, the cross-tab's 51 cells, costs within their tolerances; averages of the
   others, and their published counts at `copenhagen`.
2. Extracts: C-families by a slow second implementation, number by number the same as truth; the target group's rule
   gives exactly the 612 and no near miss; the cross-tab; every family's amount by department, type and area to the øre.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import polars as pl

from examples.municipality import reread
from examples.municipality.calibration import figures
from examples.municipality.profiles import catalogue
from examples.municipality.reread import Posting, Registered, Spell, rounded_up

REFERENCE = date(2015, 1, 1)
WINDOW = (date(2010, 1, 1), REFERENCE)
YEAR = (date(2014, 1, 1), date(2015, 1, 1))
_DEPARTMENTS = ("3", "4", "5")


class CheckError(AssertionError):
    """A figure is not what it must be."""


def _expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise CheckError(f"{what}: {found}, expected {wanted}")


def _between(what: str, low: float, value: float, high: float) -> None:
    if not low <= value <= high:
        raise CheckError(f"{what}: {value:,.2f}, expected {low:,.2f} to {high:,.2f}")


def costs(group: dict[str, int], n: int) -> dict[str, float]:
    """Kroner a family by component."""
    return {component: amount / 100 / n for component, amount in group.items()}


def calibration(truth: Path) -> dict[str, dict[str, float]]:
    """Check `expected.json` against the published figures; return kroner a family by group and component."""
    expected = json.loads((truth / "expected.json").read_text(encoding="utf-8"))
    published = figures()["published"]
    groups = ("target", "others") if expected["scale"] == "copenhagen" else ("target",)
    for group in groups:
        for name in ("families", "persons", "adults", "children", "single_providers"):
            _expect(f"{name}, {group}", expected[group][name], published[name][group])
    _expect("children a family, others", round(expected["others"]["children"] / expected["others"]["families"], 1), 1.6)
    share = expected["others"]["single_providers"] / expected["others"]["families"]
    _expect("share of single providers, others", round(share * 100), 28)
    for row in _DEPARTMENTS:
        wanted = published["services_by_departments"][row]
        _expect(f"services, {row} departments", expected["services_by_departments"][row], wanted)
    target = costs(expected["target"]["linked_ore"], expected["target"]["families"])
    others = costs(expected["others"]["linked_ore"], expected["others"]["families"])
    offers = target["general"] + target["special"]
    _between("general, target", 112_500, target["general"], 113_500)
    _between("transfers, target", 132_500, target["transfer"], 133_500)
    _between("offers, target", 427_000.01, offers, 428_000)
    _between("administration, target", 25_000.01, target["administration"], 25_999.99)
    _between("total without administration", 340e6, (offers + target["transfer"]) * 612, 350e6)
    _between("general, others", 87_500, others["general"], 88_500)
    _between("special, others", 0, others["special"], target["special"] / 5 - 0.01)
    for group in ("target", "others"):
        full, linked = expected[group]["full_ore"], expected[group]["linked_ore"]
        for component, amount in linked.items():
            _between(f"full {component}, {group}", amount, full[component], amount * 1.5)
    return {"target": target, "others": others}


def residents(persons: dict[str, Registered]) -> dict[str, str | None]:
    """Number -> address key of everybody registered here on the reference date."""
    here: dict[str, str | None] = {}
    for pnr, person in persons.items():
        valid = [(rounded_up(moved), place, key) for moved, place, key in sorted(person.addresses, key=lambda a: a[0])]
        current = [(place, key) for start, place, key in valid if start <= REFERENCE][-1:]
        if person.status in {1, 3} and current and current[0][0] == "0101":
            here[pnr] = current[0][1]
    return here


def _months(person: Registered) -> int:
    anchor = rounded_up(person.birth)
    return (REFERENCE.year - anchor.year) * 12 + REFERENCE.month - anchor.month


def families_with_children(persons: dict[str, Registered]) -> dict[frozenset[str], frozenset[str]]:
    """C-families with children at home: adults -> children, by Statistics Denmark's rules."""
    here = residents(persons)
    at_address: defaultdict[str, list[str]] = defaultdict(list)
    for pnr, key in here.items():
        if key is not None:
            at_address[key].append(pnr)
    parents_in_common = {(p.mother, p.father) for p in persons.values() if p.mother and p.father}
    found: dict[frozenset[str], frozenset[str]] = {}
    for members in at_address.values():
        found.update(_families_at(members, persons, parents_in_common))
    return found


def _families_at(
    members: list[str], persons: dict[str, Registered], in_common: set[tuple[str, str]]
) -> dict[frozenset[str], frozenset[str]]:
    couple: dict[str, str] = {}
    for one in members:
        spouse = persons[one].spouse
        if persons[one].civil in {"G", "P"} and spouse in members and persons[spouse].spouse == one:
            couple[one] = spouse
    free = [one for one in members if one not in couple]
    for one in free:
        for other in free:
            if one not in couple and other not in couple and ((one, other) in in_common or (other, one) in in_common):
                couple[one], couple[other] = other, one
    with_children = {p for one in members for p in (persons[one].mother, persons[one].father) if p in members}
    children = {
        one
        for one in members
        if _months(persons[one]) < 216
        and persons[one].civil == "U"
        and one not in couple
        and one not in with_children
        and {persons[one].mother, persons[one].father} & set(members)
    }
    alone = [one for one in members if one not in couple and one not in children and _months(persons[one]) >= 192]
    for at, one in enumerate(alone):
        for other in alone[at + 1 :]:
            if one not in couple and other not in couple and _cohabiting(one, other, members, persons):
                couple[one], couple[other] = other, one
    family: defaultdict[frozenset[str], set[str]] = defaultdict(set)
    for child in children:
        mother, father = persons[child].mother, persons[child].father
        parent = mother if mother in members else father
        if parent is not None:
            family[frozenset({parent, couple.get(parent, parent)})].add(child)
    return {adults: frozenset(own) for adults, own in family.items()}


def _cohabiting(one: str, other: str, members: list[str], persons: dict[str, Registered]) -> bool:
    a, b = persons[one], persons[other]
    related = other in {a.mother, a.father} or one in {b.mother, b.father}
    siblings = bool({a.mother, a.father} & {b.mother, b.father} - {None})
    strangers = [
        third
        for third in members
        if third not in {one, other}
        and _months(persons[third]) >= 216
        and not {persons[third].mother, persons[third].father} & {one, other}
    ]
    near = abs(_months(a) - _months(b)) < 180
    return a.sex != b.sex and near and not related and not siblings and not strangers


def qualifies(adults: Iterable[str], children: Iterable[str], spells_of: dict[str, list[Spell]]) -> bool:
    """Copenhagen's rule for a family with children at home."""
    entries = catalogue()

    def touches_year(spell: Spell) -> bool:
        return spell.start < YEAR[1] and spell.end > YEAR[0]

    def criterion(spell: Spell) -> bool:
        kontanthjaelp = spell.service == "BIF-KONTANTHJAELP" and spell.category == "aktivitetsparat"
        return kontanthjaelp or spell.service in {"BIF-SYGEDAGPENGE", "BIF-RESSOURCEFORLOEB"}

    year_on_support = any(
        reread.days_covered(
            (
                (spell.start, spell.end)
                for spell in spells_of.get(adult, ())
                if "public_support" in entries[spell.service].flags and "su" not in entries[spell.service].flags
            ),
            *WINDOW,
        )
        > 364
        for adult in adults
    )
    benefit = any(criterion(spell) and touches_year(spell) for adult in adults for spell in spells_of.get(adult, ()))
    case = any(
        "social_child_case" in entries[spell.service].flags and touches_year(spell)
        for child in children
        for spell in spells_of.get(child, ())
    )
    return year_on_support and benefit and case


def _spell_ore(spell: Spell) -> int:
    days = (min(spell.end, YEAR[1]) - max(spell.start, YEAR[0])).days
    return 0 if spell.price_ore is None or days <= 0 else (spell.price_ore * days * 2 + 7) // 14


def from_extracts(folder: Path) -> dict[str, int]:
    """Derive everything again from `folder/extracts` and compare with `folder/truth`; return what was counted."""
    truth = folder / "truth"
    persons, aliases = reread.register(folder / "extracts")
    expected = json.loads((truth / "expected.json").read_text(encoding="utf-8"))
    _expect("residents", len(residents(persons)), expected["residents"])
    families = families_with_children(persons)
    _same_families(families, truth)
    family_of = {one: adults for adults, children in families.items() for one in adults | children}

    def who(number: str | None) -> str | None:
        return aliases.get(number, number) if number else None

    all_spells = list(reread.spells(folder / "extracts"))
    all_postings = list(reread.postings(folder / "extracts"))
    spells_of: defaultdict[str, list[Spell]] = defaultdict(list)
    for spell in all_spells:
        if (person := who(spell.person)) is not None:
            spells_of[person].append(spell)
    target = {adults for adults, children in families.items() if qualifies(adults, children, spells_of)}
    _same_target(target, truth)
    _cells_and_amounts(spells_of, [(who(one.person), one) for one in all_postings], family_of, target, truth)
    return {
        "families": len(families),
        "target": len(target),
        "spells": len(all_spells),
        "postings": len(all_postings),
        "unlinked": sum(spell.person is None for spell in all_spells) + sum(one.person is None for one in all_postings),
    }


def _truth_families(truth: Path) -> pl.DataFrame:
    members = pl.read_parquet(truth / "members.parquet")
    adults = members.filter(pl.col("role") == "adult").group_by("family").agg(adults=pl.col("cpr"))
    children = members.filter(pl.col("role") == "child").group_by("family").agg(children=pl.col("cpr"))
    return pl.read_parquet(truth / "families.parquet").join(adults, on="family").join(children, on="family")


def _same_families(families: dict[frozenset[str], frozenset[str]], truth: Path) -> None:
    rows = _truth_families(truth).iter_rows(named=True)
    wanted = {frozenset(row["adults"]): frozenset(row["children"]) for row in rows}
    wrong = [adults for adults in families.keys() | wanted.keys() if families.get(adults) != wanted.get(adults)]
    _expect("families that differ between register and truth", len(wrong), 0)


def _same_target(target: set[frozenset[str]], truth: Path) -> None:
    table = _truth_families(truth)
    wanted = {frozenset(adults) for adults in table.filter("target")["adults"].to_list()}
    _expect("families that qualify and should not", len(target - wanted), 0)
    _expect("families that should qualify and do not", len(wanted - target), 0)
    near = json.loads((truth / "near_misses.json").read_text(encoding="utf-8"))
    outside = set(table.filter(~pl.col("target"))["family"].to_list())
    _expect("near misses within the target group", [one["label"] for one in near if one["family"] not in outside], [])


def _cells_and_amounts(
    spells_of: dict[str, list[Spell]],
    all_postings: list[tuple[str | None, Posting]],
    family_of: dict[str, frozenset[str]],
    target: set[frozenset[str]],
    truth: Path,
) -> None:
    entries = catalogue()
    services: defaultdict[frozenset[str], set[str]] = defaultdict(set)
    amounts: Counter[tuple[frozenset[str], str, str, str]] = Counter()

    def add(person: str, service: str, amount: int) -> None:
        family, entry = family_of[person], entries[service]
        if entry.counts:
            services[family].add(service)
        if amount:
            amounts[family, entry.department, entry.type, entry.area] += amount

    for person, own in spells_of.items():
        for spell in own:
            if person in family_of and spell.start < YEAR[1] and spell.end > YEAR[0]:
                add(person, spell.service, _spell_ore(spell))
    for number, posting in all_postings:
        if number in family_of and YEAR[0] <= posting.event_month < YEAR[1]:
            add(str(number), posting.service, posting.amount_ore if posting.dranst in {1, 2} else 0)

    cells = Counter(
        (len({entries[one].department for one in services[family]}), min(len(services[family]), 21))
        for family in target
    )
    published = figures()["published"]["services_by_departments"]
    for row in _DEPARTMENTS:
        found = [cells[int(row), number] for number in range(5, 22)]
        _expect(f"services, {row} departments, from the extracts", found, published[row])
    sums = pl.read_parquet(truth / "amounts.parquet").join(_truth_families(truth), on="family")
    wanted = {
        (frozenset(row["adults"]), row["department"], row["type"], row["area"]): row["linked_ore"]
        for row in sums.iter_rows(named=True)
        if row["linked_ore"]
    }
    wrong = [key for key in amounts.keys() | wanted.keys() if amounts.get(key, 0) != wanted.get(key, 0)]
    _expect("amounts that differ between extracts and truth", len(wrong), 0)


def main() -> None:
    """Check the folder given on the command line and print what was found."""
    folder = Path(sys.argv[1])
    for group, amounts in calibration(folder / "truth").items():
        print(group, " ".join(f"{name}={amount:,.0f} kr." for name, amount in amounts.items()))
    print("extracts:", " ".join(f"{name}={count}" for name, count in from_extracts(folder).items()))


if __name__ == "__main__":
    main()
