"""Can somebody who knows a family find its row in the family table?

Attackers written here, row by row, know the rows as served and the families as they are. Each is also let loose on rows
that were not coded, or only in part: there it must win, or it is no attacker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations

import polars as pl
import pytest

from linker.disclosure.family_table.columns import HIDDEN, PROPERTIES, SOME, TOTAL, Bands, amounts, properties
from linker.disclosure.policy import Spending
from tests import family_towns as f

BANDS = Bands(f.POLICY.family_table.bands_ore)
NOTHING = BANDS.labels[0]
COLUMNS = [f"{TOTAL}_{code}" for code in f.DEPARTMENTS]
TOWN = f.town(700, seed=5)
Row = Mapping[str, object]


@cache
def truth() -> tuple[Row, ...]:
    """Return each family as it is: uncoded rows, with its services."""
    known = properties(TOWN.members, TOWN.families, TOWN.services)
    spent = amounts(TOWN.families, TOWN.spending, f.DEPARTMENTS)
    used = TOWN.services.group_by("family_id").agg("department")
    rows = known.hstack(spent.select(BANDS.label(pl.col(name)).alias(name) for name in (TOTAL, *COLUMNS)))
    return tuple(rows.join(used, on="family_id", how="left").sort("family_id").to_dicts())


@cache
def served(spending: Spending = Spending.BANDS) -> tuple[Row, ...]:
    """Return the rows that a consumer gets."""
    table = f.table(TOWN, f.asking(spending=spending))
    return tuple(table.for_consumer("analyse", b"secret" * 6).to_dicts())


def may_be(row: Row, known: Row, names: Sequence[str]) -> bool:
    return all(row[name] in (known[name], HIDDEN) for name in names)


def most_open(rows: Sequence[Row]) -> list[Row]:
    """Return the rows that show most properties: where the attacker looks first."""
    shown = [sum(row[name] != HIDDEN for name in PROPERTIES) for row in rows]
    return [row for row, number in zip(rows, shown, strict=True) if number == max(shown)]


def linkage(rows: Sequence[Row], services: int) -> Iterator[int]:
    """Yield how many rows are left to who knows a family's properties and so many of its services."""
    distinct: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        distinct.setdefault(tuple(row[name] for name in (*PROPERTIES, *COLUMNS)), []).append(row)
    tried: set[tuple[object, ...]] = set()
    for family in truth():
        of_family = family["department"]
        if not isinstance(of_family, list) or len(of_family) < services:
            continue
        for those in combinations(sorted(of_family), services):
            knowledge = (*(family[name] for name in PROPERTIES), frozenset(those))
            if knowledge in tried:
                continue
            tried.add(knowledge)
            found = [
                row
                for alike in distinct.values()
                if may_be(alike[0], family, PROPERTIES)
                and all(alike[0][f"{TOTAL}_{code}"] != NOTHING for code in those)
                for row in alike
            ]
            if found:
                yield len(most_open(found))


def insider(rows: Sequence[Row], department: str) -> Iterator[int]:
    """Yield how many rows are left to a department that knows properties and what it spent itself."""
    column = f"{TOTAL}_{department}"
    for family in truth():
        own = family[column]
        possible = {own, HIDDEN} | ({SOME} if own != NOTHING else set())
        found = [row for row in rows if may_be(row, family, PROPERTIES) and row[column] in possible]
        if found:
            yield len(most_open(found))


def everyone(rows: Sequence[Row]) -> Iterator[int]:
    """Yield how many rows are left to who knows all that the table could show of a family, in bands."""
    names = [*PROPERTIES, TOTAL, *COLUMNS]
    counts = Counter(tuple(row[name] for name in names) for row in rows)
    for family in truth():
        found = [
            number
            for values, number in counts.items()
            if all(
                value in (family[name], HIDDEN) or (value == SOME and family[name] != NOTHING)
                for name, value in zip(names, values, strict=True)
            )
        ]
        if found:
            yield min(found)


ATTACKERS: Mapping[str, Callable[[Sequence[Row]], Iterator[int]]] = {
    "one known service": lambda rows: linkage(rows, 1),
    "two known services": lambda rows: linkage(rows, 2),
    "three known services": lambda rows: linkage(rows, 3),
    **{f"insider of {code}": lambda rows, code=code: insider(rows, code) for code in ("SOF", "BUF")},
    "who knows everything": everyone,
}


@pytest.mark.parametrize("name", ATTACKERS)
def test_attacker_is_left_with_k_rows(name: str, record_property: Callable[[str, object], None]) -> None:
    found = list(ATTACKERS[name](served()))
    record_property("attempts", len(found))
    record_property("fewest_candidates", min(found))
    assert len(found) > 50
    assert min(found) >= 5


@pytest.mark.parametrize("name", ATTACKERS)
def test_attacker_finds_unique_rows_where_nothing_is_coded(name: str) -> None:
    assert list(ATTACKERS[name](truth())).count(1) > 20


def test_attacker_finds_unique_rows_where_only_properties_are_coded() -> None:
    coded = f.table(TOWN).rows  # the same properties and totals, but each department as it is
    assert coded["families"].min() >= 5  # type: ignore[operator]
    keys = {tuple(row[name] for name in PROPERTIES) for row in served()}
    half = []
    for family in truth():
        for hidden in range(len(PROPERTIES) + 1):
            cut = len(PROPERTIES) - hidden
            key = tuple(family[name] if place < cut else HIDDEN for place, name in enumerate(PROPERTIES))
            if key in keys:
                half.append({**family, **dict(zip(PROPERTIES, key, strict=True))})
                break
    assert len(half) == len(truth())
    assert list(everyone(half)).count(1) > 20
    assert list(linkage(half, 3)).count(1) > 0


@pytest.mark.parametrize("services", [1, 2, 3])
def test_rounded_table_withstands_known_services_too(services: int) -> None:
    assert min(linkage(served(Spending.ROUNDED), services)) >= 5


def test_release_record_says_what_the_attacker_finds() -> None:
    record = f.table(TOWN).record
    for services in (1, 2, 3):
        assert record.candidates[str(services)] == min(linkage(served(), services))


def test_two_consumers_cannot_join_their_rows() -> None:
    table = f.table(TOWN)
    first, second = (table.for_consumer(name, b"secret" * 6) for name in ("analyse", "report"))
    assert first.join(second, on="row_id").is_empty()
    by_content = first.drop("row_id").group_by(pl.all()).len()
    assert by_content["len"].min() >= 5  # type: ignore[operator] - k rows of the other for each
    assert sum(a == b for a, b in zip(first.rows(), second.rows(), strict=True)) == 0


def least(label: str) -> int:
    """Return the least kroner that a row's text tells: nothing for what is hidden."""
    if label in (HIDDEN, NOTHING):
        return 0
    return 1 if label == SOME else int(label.removeprefix("≥").partition("-")[0])


def told_of_total(rows: Sequence[Row]) -> float:
    """Return how much of the town's spending who adds up rows is sure of: 1 is all of it."""
    amounts_kr = [row.get(f"{TOTAL}_kr") for row in rows]
    kroner = [
        amount if isinstance(amount, int) else least(str(row[TOTAL]))
        for row, amount in zip(rows, amounts_kr, strict=True)
    ]
    return sum(kroner) * 100 / TOWN.total_ore


def test_rows_tell_less_of_a_hidden_total_than_the_policy_keeps_uncertain() -> None:
    policy = f.POLICY.policies["standard"].protection
    assert told_of_total(served()) < 1 - 2 * policy.interval_percent / 100
    assert told_of_total(served(Spending.ROUNDED)) > 0.85  # what a table is refused for, where the total is hidden


@pytest.mark.parametrize("department", f.DEPARTMENTS)
def test_rows_tell_less_of_a_hidden_department_than_the_policy_keeps_uncertain(department: str) -> None:
    policy = f.POLICY.policies["standard"].protection
    spent = TOWN.spending.filter(department=department)["amount_ore"].to_list()
    need = max(max(spent) * (policy.p_percent or 0), sum(spent) * policy.interval_percent) / 100
    told = sum(least(str(row[f"{TOTAL}_{department}"])) for row in served()) * 100
    assert sum(spent) - told >= need


def test_who_has_rows_learns_nothing_more_from_the_coded_tables() -> None:
    table = f.table(TOWN)
    rows = pl.DataFrame(served())
    by_band = {cell.categories: cell.value for cell in table.coded[1].cells}
    for code in f.DEPARTMENTS:
        counts = Counter(rows[f"{TOTAL}_{code}"].to_list())
        assert {band: by_band[code, band] for band in counts} == counts
    families = {cell.categories: cell.value for cell in table.coded[0].cells if cell.measure == "families"}
    for (children, single), number in Counter(rows.select("children", "single_provider").rows()).items():
        assert families[children, single] == number
