"""Sums that no table has: what some hidden departments are together, and how that changed, does not follow either.

The attacker solves for every region (some groups, departments and types) from the shown numbers of a release; of two
releases, for those regions that follow from both. A small town, two tables, six releases of one half-year.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, product

import numpy as np
import pytest

from linker.disclosure import protection
from linker.disclosure.release import CellStatus, Release
from linker.tables.registered_table import PeriodType
from tests.unit import gate_fixtures as g

Row = tuple[int, str, str, str, int, int]  # family, group, department, type, month, amount
Part = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]  # groups, departments, types

GROUPS, DEPARTMENTS = ("target", "others"), ("SOF", "BIF", "BUF", "SUF", "KFF")
TYPES = ("offer", "transfer", "administration")
NET = {"net": ("offer", "transfer")}
AXES = [g.axis("group", GROUPS), g.axis("department", DEPARTMENTS)]
TO_DATE = g.table("to_date", AXES, g.AMOUNT, period=PeriodType.YEAR_TO_DATE)
QUARTER = g.table("quarter", [*AXES, g.axis("type", TYPES, subtotals=NET)], g.AMOUNT, period=PeriodType.QUARTER)
POLICY = g.POLICY
FAMILIES, MONTHS = 40, 6
THROUGH = (3, 4, 5, 6, 5, 6)  # the last month of each release
SIZES = [len(GROUPS), len(DEPARTMENTS), len(TYPES), MONTHS]
TOWNS = (5, 8)  # in which the control is won
EVERY = range(16)


def town(random_: random.Random) -> list[Row]:
    """Return what each family got; amounts differ by orders of magnitude, as they do."""
    rows: list[Row] = []
    for family in range(FAMILIES):
        group = GROUPS[family % 3 > 0]
        for department in DEPARTMENTS:
            for type_ in TYPES if random_.random() < 0.45 else ():
                if random_.random() < (0.6 if type_ == "offer" else 0.25):
                    typical = int(100 * np.exp(random_.gauss(7.5, 1.4)))
                    months = random_.sample(range(1, MONTHS + 1), random_.randint(1, MONTHS))
                    rows += [
                        (family, group, department, type_, month, typical + random_.randrange(100_000))
                        for month in months
                    ]
    return rows


def corrected(random_: random.Random, rows: Iterable[Row]) -> list[Row]:
    """Change 1 % of the amounts, leave out some, and give one family something in two departments."""
    kept = [row for row in rows if random_.random() > 0.005]
    changed = [
        (*row[:5], row[5] + random_.randint(50_000, 900_000)) if random_.random() < 0.01 else row for row in kept
    ]
    family = random_.randrange(FAMILIES)
    return changed + [
        (family, GROUPS[family % 3 > 0], department, "offer", random_.randint(1, MONTHS), random_.randrange(10**6))
        for department in random_.sample(DEPARTMENTS, 2)
    ]


def indicator(part: Part, months: Iterable[int]) -> np.ndarray:
    """Return 1 for each finest combination of the region, else 0."""
    leaves = (GROUPS, DEPARTMENTS, TYPES, range(1, MONTHS + 1))
    masks = [np.isin(list(of), list(chosen)) for of, chosen in zip(leaves, (*part, months), strict=True)]
    return np.einsum("a,b,c,d->abcd", *masks).ravel().astype(float)


def followed(release: Release, through: int) -> dict[tuple[int, ...], set[Part]]:
    """Return, by months, the regions whose sums follow from the release's shown numbers."""
    told, spans = [], set()
    for table in release.tables:
        definition = TO_DATE if table.table_id == "to_date" else QUARTER
        months = definition.period.months(through)
        spans |= {tuple(months), tuple(set(range(1, through + 1)) - set(months))} - {()}
        for cell in table.cells:
            if cell.status is CellStatus.PUBLISHED:
                names = dict(zip((axis.name for axis in definition.axes), cell.categories, strict=True))
                part = (leaves(GROUPS, names["group"]), leaves(DEPARTMENTS, names["department"]))
                told.append(indicator((*part, leaves(TYPES, names.get("type", "all"))), months))
    _, sizes, space = np.linalg.svd(np.array(told), full_matrices=False)
    basis = space[sizes > 1e-8 * sizes[0]]
    found = {}
    for months in spans:
        parts = list(_parts())
        wanted = np.array([indicator(part, months) for part in parts])
        away = np.abs(wanted - wanted @ basis.T @ basis).max(axis=1)
        found[months] = {part for part, distance in zip(parts, away, strict=True) if distance < 1e-7}
    return found


def leaves(every: Sequence[str], name: str) -> tuple[str, ...]:
    """Return the leaves of a category of an axis."""
    return tuple(every) if name == "all" else NET.get(name, (name,))


def _parts() -> Iterator[Part]:
    some = [
        [each for n in range(1, len(of) + 1) for each in combinations(of, n)] for of in (GROUPS, DEPARTMENTS, TYPES)
    ]
    yield from product(*some)  # type: ignore[misc]


def nets(rows: Iterable[Row], part: Part, months: Iterable[int]) -> dict[int, int]:
    """Return what each family has in a region."""
    found: dict[int, int] = {}
    for family, group, department, type_, month, amount in rows:
        if group in part[0] and department in part[1] and type_ in part[2] and month in months:
            found[family] = found.get(family, 0) + amount
    return found


def is_unsafe(amounts: Iterable[int]) -> bool:
    """Say whether few families made an amount, or one or two most of it, by the shipped policy."""
    sizes = sorted((abs(amount) for amount in amounts if amount), reverse=True)
    if not sizes:
        return False
    rest = sum(sizes) - sum(sizes[:2])
    dominated = sizes[0] > 0.75 * sum(sizes) or sum(sizes[:2]) > 0.9 * sum(sizes) or rest < 0.15 * sizes[0]
    return len(sizes) < g.rules(POLICY).threshold or dominated


def won(seed: int) -> tuple[int, int]:
    """Return how many unsafe sums and changes follow, and of how many that follow at all."""
    random_ = random.Random(seed)  # noqa: S311
    every, history = town(random_), []
    before: list[tuple[list[Row], dict[tuple[int, ...], set[Part]]]] = []
    unsafe = told = 0
    for through in THROUGH:
        rows = [row for row in every if row[4] <= through]
        tables = [TO_DATE, QUARTER] if through % 3 == 0 else [TO_DATE]
        facts = g.facts("spending", ["group", "department", "type"], ["amount_ore"], rows, flow=True)
        release = g.protect(tables, facts, policy=POLICY, through_month=through, history=history)
        every = corrected(random_, every)
        if not release.tables:
            continue
        now = followed(release, through)
        sums = [nets(rows, part, months).values() for months, parts in now.items() for part in parts]
        changes = [
            _change(nets(rows, part, months), nets(then, part, earlier))
            for then, known in before
            for months, earlier in product(now, known)
            if months == earlier or months[0] == earlier[0] == 1
            for part in now[months] & known[earlier]
        ]
        told += len(sums) + len(changes)
        unsafe += sum(map(is_unsafe, [*sums, *changes]))
        history.append(g.past(release))
        before.append((rows, now))
    return unsafe, told


def _change(now: dict[int, int], then: dict[int, int]) -> list[int]:
    return [now.get(family, 0) - then.get(family, 0) for family in {*now, *then}]


def all_won(seeds: Iterable[int]) -> tuple[int, int]:
    """Return the sums over several towns of what is won, and of what follows."""
    unsafe, told = zip(*map(won, seeds), strict=True)
    return sum(unsafe), sum(told)


@pytest.mark.parametrize("seeds", [TOWNS, pytest.param(EVERY, marks=pytest.mark.slow)], ids=["two", "every"])
def test_no_sum_of_hidden_departments_nor_its_change_follows(
    seeds: Sequence[int], capsys: pytest.CaptureFixture[str]
) -> None:
    unsafe, told = all_won(seeds)
    with capsys.disabled():
        print(f"\n{len(seeds)} towns: {unsafe} of {told} sums and changes that follow are unsafe", end="")  # noqa: T201
    assert told > 100 * len(seeds)
    assert unsafe == 0


@pytest.mark.parametrize("seeds", [TOWNS, pytest.param(EVERY, marks=pytest.mark.slow)], ids=["two", "every"])
def test_control_they_follow_where_only_single_numbers_are_looked_at(
    seeds: Sequence[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(protection, "_ROUNDS", 0)
    unsafe, told = all_won(seeds)
    with capsys.disabled():
        print(f"\n{len(seeds)} towns: {unsafe} of {told} unsafe without", end="")  # noqa: T201
    assert unsafe > 0
