"""What is left of a sum over several axes does not follow where it is unsafe: hidden parts that share no row or column.

The attacker takes a number that is shown and takes away, in any order, shown numbers of the same table that lie in what
is left; and asks how what is left changed since each release from which it followed, too. The towns, releases and
policy are those of `test_hidden_parts_together`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from linker.disclosure import unions
from linker.disclosure.release import CellStatus, PastRelease, Release
from tests.privacy import test_hidden_parts_together as t
from tests.unit import gate_fixtures as g

ORDERS = 20  # for each number
TOWNS = (9,)  # in which the control is won


def shown(release: Release, through: int) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Yield the finest combinations of each number that is shown, with those of the others that lie in it."""
    for table in release.tables:
        definition = t.TO_DATE if table.table_id == "to_date" else t.QUARTER
        regions = []
        for cell in table.cells:
            if cell.status is CellStatus.PUBLISHED:
                names = dict(zip((axis.name for axis in definition.axes), cell.categories, strict=True))
                part = (t.leaves(t.GROUPS, names["group"]), t.leaves(t.DEPARTMENTS, names["department"]))
                types = t.leaves(t.TYPES, names.get("type", "all"))
                regions.append(t.indicator((*part, types), definition.period.months(through)) > 0)
        for region in regions:
            yield region, [each for each in regions if not (each & ~region).any() and (each != region).any()]


def rests(release: Release, through: int, random_: random.Random) -> list[np.ndarray]:
    """Return what is left of numbers that are shown."""
    found: dict[bytes, np.ndarray] = {}
    for region, inside in shown(release, through):
        for _ in range(ORDERS):
            left = region.copy()
            for each in random_.sample(inside, len(inside)):
                if not (each & ~left).any():
                    left &= ~each
            found[left.tobytes()] = left
    return [each for each in found.values() if each.any()]


def amounts(rows: Sequence[t.Row]) -> np.ndarray:
    """Return what each family has in each of the finest combinations."""
    leaves = (t.GROUPS, t.DEPARTMENTS, t.TYPES, range(1, t.MONTHS + 1))
    found = np.zeros((t.FAMILIES, *map(len, leaves)))
    for family, *at, amount in rows:
        found[(family, *(of.index(each) for of, each in zip(leaves, at, strict=True)))] += amount
    return found.reshape(t.FAMILIES, -1)


def won(seed: int) -> tuple[int, int]:
    """Return how many unsafe rests and changes follow, and of how many that follow at all."""
    random_, attacker = random.Random(seed), random.Random(1000 + seed)  # noqa: S311
    every, history = t.town(random_), list[PastRelease]()
    before: list[tuple[np.ndarray, set[bytes]]] = []
    unsafe = told = 0
    for through in t.THROUGH:
        rows = [row for row in every if row[4] <= through]
        tables = [t.TO_DATE, t.QUARTER] if through % 3 == 0 else [t.TO_DATE]
        facts = g.facts("spending", ["group", "department", "type"], ["amount_ore"], rows, flow=True)
        release = g.protect(tables, facts, policy=t.POLICY, through_month=through, history=history)
        every = t.corrected(random_, every)
        if not release.tables:
            continue
        follow, now = rests(release, through, attacker), amounts(rows)
        asked = [now @ each for each in follow]
        asked += [(now - then) @ each for then, known in before for each in follow if each.tobytes() in known]
        told += len(asked)
        unsafe += sum(t.is_unsafe(each.round().astype(int).tolist()) for each in asked)
        history.append(g.past(release))
        before.append((now, {each.tobytes() for each in follow}))
    return unsafe, told


def all_won(seeds: Sequence[int]) -> tuple[int, int]:
    """Return the sums over several towns of what is won, and of what follows."""
    unsafe, told = zip(*map(won, seeds), strict=True)
    return sum(unsafe), sum(told)


@pytest.mark.parametrize("seeds", [TOWNS, pytest.param(t.EVERY, marks=pytest.mark.slow)], ids=["one", "every"])
def test_nothing_unsafe_is_left_of_sums_over_several_axes(
    seeds: Sequence[int], capsys: pytest.CaptureFixture[str]
) -> None:
    unsafe, told = all_won(seeds)
    with capsys.disabled():
        print(f"\n{len(seeds)} towns: {unsafe} of {told} rests and changes of rests are unsafe", end="")  # noqa: T201
    assert told > 100 * len(seeds)
    assert unsafe == 0


@pytest.mark.parametrize("seeds", [TOWNS, pytest.param(t.EVERY, marks=pytest.mark.slow)], ids=["one", "every"])
def test_control_something_is_left_where_only_parts_of_one_axis_are_looked_at(
    seeds: Sequence[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(unions, "rests", lambda *_: ())
    unsafe, told = all_won(seeds)
    with capsys.disabled():
        print(f"\n{len(seeds)} towns: {unsafe} of {told} unsafe without", end="")  # noqa: T201
    assert unsafe > 0
