"""Can an attacker learn a number of 1 to 4 families from all counts of a release together?

Random cities with random tables of overlapping axes and universes go through the gate, and
every cell of the finest cross-classification with 1 to 4 families is attacked. The
controls publish the same cities without the gate's care; there the attackers must win.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from itertools import product

import pytest

from linker.disclosure.release import ReleasedTable
from linker.disclosure.table_input import TableInput
from tests.privacy.attackers import FEW, BoundsAttacker, Published, SubtractionAttacker, World, published_counts
from tests.unit import gate_fixtures as g

A, B, C = ("a1", "a2", "a3"), ("b1", "b2", "b3", "b4"), ("c1", "c2")
AXES = {
    "a": g.axis("a", A, {"a2": "a2+a3", "a3": "a2+a3"}, g.dropped(A)),
    # Regroupings that do not nest: shown in two tables at two levels, they give b2 away.
    "b": g.axis("b", B, {"b1": "b1+b2", "b2": "b1+b2"}, {"b2": "b2+b3", "b3": "b2+b3"}, g.dropped(B)),
    "c": g.axis("c", C, g.dropped(C)),
}
TABLES = [("a", "b"), ("b", "c"), ("a", "c"), ("b",), ("a", "b", "c")]
Family = Mapping[str, str]


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a test must repeat itself


def city(random_: random.Random) -> list[Family]:
    """Return families with skewed attributes; `in_0` and `in_1` say in which tables they are counted."""
    size = random_.choice([30, 60, 120])
    return [
        {
            **{
                name: random_.choices(axis.categories, [8, 5, 3, 1][: len(axis.categories)])[0]
                for name, axis in AXES.items()
            },
            "in_0": random_.choices("yn", [40, random_.choice([0, 1, 15])])[0],
            "in_1": "y",
        }
        for _ in range(size)
    ]


def table(number: int, axes: Sequence[str], families: Sequence[Family]) -> TableInput:
    definition = g.table(f"t{number}", [AXES[name] for name in axes], g.FAMILIES)
    rows = [
        (contributor, *(family[name] for name in axes), 1)
        for contributor, family in enumerate(families)
        if family[f"in_{number}"] == "y"
    ]
    return g.given(definition, rows)


def classes_of(families: Sequence[Family]) -> tuple[list[Family], World]:
    """Return the classes of families that exist, and the world: each finest cell and margin is a secret."""
    sizes = Counter(tuple(sorted(family.items())) for family in families)
    classes = [dict(each) for each in sizes]
    secrets = {
        frozenset(
            place
            for place, each in enumerate(classes)
            if all(name in ("*", each[axis]) for axis, name in zip(AXES, names, strict=True))
        )
        for names in product(*((*axis.categories, "*") for axis in AXES.values()))
    }
    return classes, World(list(sizes.values()), sorted(secrets - {frozenset()}, key=sorted))


def from_release(tables: Sequence[ReleasedTable], classes: Sequence[Family]) -> list[Published]:
    """Return what a release publishes, as every reader can work it out from the released axes."""
    cells = []
    for released in tables:
        for cell in released.cells:
            holds: dict[str, frozenset[str]] = {f"in_{released.table_id[1:]}": frozenset("y")}
            for axis, name in zip(released.axes, cell.categories, strict=True):
                every = frozenset(AXES[axis.name].categories)
                holds[axis.name] = every if name == axis.total else frozenset(name.split("+"))
            assert isinstance(cell.value, int)
            cells.append((holds, cell.value))
    return published_counts(cells, classes)


def test_no_attacker_learns_a_number_of_few_families_from_a_release() -> None:
    attacked = released = coarsened = 0
    for seed in range(40):
        random_ = seeded(seed)
        families = city(random_)
        tables = [table(number, random_.choice(TABLES), families) for number in range(2)]
        release = g.protect(*tables)
        classes, world = classes_of(families)
        published = from_release(release.tables, classes)
        assert all(sum(world.sizes[each] for each in cell.classes) == cell.value for cell in published)
        released += len(release.tables)
        coarsened += sum("coarsened" in outcome.outcome for outcome in release.outcomes)
        if published:
            attacked += len(world.few())
            assert BoundsAttacker().wins(world, published) == [], seed
            assert SubtractionAttacker().wins(world, published) == [], seed
    assert attacked > 200
    assert released > 30
    assert coarsened > 15


def test_control_primary_suppression_with_margins_loses_to_both_attackers() -> None:
    lost = {"bounds": 0, "subtraction": 0}
    for seed in range(10):
        families = [{**family, "in_0": "y"} for family in city(seeded(seed))]
        classes, world = classes_of(families)
        names = [[*AXES[axis].categories, "*"] for axis in ("a", "b")]
        cells = []
        for a, b in product(*names):
            value = sum(a in ("*", family["a"]) and b in ("*", family["b"]) for family in families)
            if value not in FEW:  # the hole that its margins fill
                holds = {axis: frozenset({name}) for axis, name in (("a", a), ("b", b)) if name != "*"}
                cells.append((holds, value))
        published = published_counts(cells, classes)
        lost["bounds"] += bool(BoundsAttacker().wins(world, published))
        lost["subtraction"] += bool(SubtractionAttacker().wins(world, published))
    assert min(lost.values()) > 0


@pytest.fixture
def crossed() -> tuple[list[Family], list[TableInput]]:
    """A city where each of two tables alone is safe, at levels that together give b2's two families away."""
    numbers = {
        ("c1", "b1"): 10, ("c1", "b3"): 9, ("c1", "b4"): 10,
        ("c2", "b2"): 2, ("c2", "b3"): 5, ("c2", "b4"): 6,
    }  # fmt: skip
    families = [
        {"a": "a1", "b": b, "c": c, "in_0": "y", "in_1": "y"} for (c, b), size in numbers.items() for _ in range(size)
    ]
    return families, [table(0, ("b",), families), table(1, ("b", "c"), families)]


def test_shared_axis_gives_nothing_away_where_levels_do_not_nest(
    crossed: tuple[list[Family], list[TableInput]],
) -> None:
    families, tables = crossed
    classes, world = classes_of(families)
    release = g.protect(*tables)
    assert len(release.tables) == 2
    assert BoundsAttacker().wins(world, from_release(release.tables, classes)) == []


def test_control_levels_of_each_table_by_itself_lose(crossed: tuple[list[Family], list[TableInput]]) -> None:
    families, tables = crossed
    classes, world = classes_of(families)
    alone = [released for each in tables for released in g.protect(each).tables]
    assert len(alone) == 2
    assert BoundsAttacker().wins(world, from_release(alone, classes))
    assert SubtractionAttacker().wins(world, from_release(alone, classes))


def test_control_tables_of_slightly_different_universes_protected_apart_lose() -> None:
    families = [{"a": "a1", "b": "b1", "c": "c1", "in_0": "n" if n < 2 else "y", "in_1": "y"} for n in range(20)]
    tables = [table(number, ("b",), families) for number in range(2)]
    classes, world = classes_of(families)
    secret = frozenset(place for place, each in enumerate(classes) if each["in_0"] == "n")
    world = World(world.sizes, [secret])
    apart = [released for each in tables for released in g.protect(each).tables]
    assert BoundsAttacker().wins(world, from_release(apart, classes)) == [secret]
    together = g.protect(*tables).tables
    assert len(together) == 1
    assert BoundsAttacker().wins(world, from_release(together, classes)) == []


def test_next_release_of_changed_data_tells_nothing_about_who_changed() -> None:
    families = [family for seed in range(3) for family in city(seeded(seed))]
    moved = [*families, {**families[0], "in_0": "y"}]
    before = g.protect(table(0, ("a",), [{**family, "in_0": "y"} for family in families]))
    changed = table(0, ("a",), [{**family, "in_0": "y"} for family in moved])
    after = g.protect(changed, history=before.tables)
    assert after.tables == ()
    assert after.outcomes[0].release_id == before.release_id
    for period, day in (("2014", date(2015, 1, 1)), ("2015-01", date(2015, 2, 1))):
        assert g.protect(changed, history=before.tables, period=period, reference_date=day).tables == ()
    # Control: released without regard to history, the difference is that one family.
    careless = g.protect(changed)
    difference = g.shown(careless, "t0")["all",] - g.shown(before, "t0")["all",]
    assert difference == 1
