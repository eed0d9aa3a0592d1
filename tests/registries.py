"""Random registries of overlapping tables of the same families, as one system; for tests of the suppression engine.

Columns are families, adults, children, persons (an equation) and an amount. Tables have subtotals, share axes or not,
and may hold some leaves of an axis only. Second adults (adults less families) are cells that nobody shows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from linker.disclosure.classification import Classification
from linker.disclosure.linking import CrossTable, link
from linker.disclosure.needs import Needs, ProtectionPolicy, needs
from linker.disclosure.relations import CombinationFacts, Relation, related
from linker.disclosure.system import Flags, LinkedSystem, joined
from tests.disclosure import contributions, flags

A, B, C = ("a1", "a2", "a3"), ("b1", "b2", "b3"), ("c1", "c2")
LEAVES = {"a": A, "b": B, "c": C}
COUNTS = ("families", "adults", "children", "persons")


@dataclass(frozen=True)
class Registry:
    """The system; its virtual cells; and for each table of a column, its system alone."""

    system: LinkedSystem
    virtual: Flags
    alone: dict[str, LinkedSystem]

    def needs(self, policy: ProtectionPolicy) -> Needs:
        """Return what must stay uncertain, of virtual cells too."""
        return needs(self.system, policy, self.virtual)


def random_registry(seed: int) -> Registry:
    """Return a registry that depends on nothing but the seed."""
    order = random.Random(seed)  # noqa: S311 - a test must repeat itself
    families = [
        (order.choice(A), order.choice(B), order.choice(C), order.choice((1, 2)), order.randrange(3))
        for _ in range(order.randrange(20, 70))
    ]
    amounts = [order.randrange(1, 900) for _ in families]
    columns = {
        "families": [1 for _ in families],
        "adults": [adults for *_, adults, _ in families],
        "children": [children for *_, children in families],
        "persons": [adults + children for *_, adults, children in families],
        "amount": amounts,
    }
    shapes = [_shape(order) for _ in range(order.choice((2, 3)))]
    parts, alone = [], {}
    for name, column in columns.items():
        facts = [(*family[:3], i, n) for i, (family, n) in enumerate(zip(families, column, strict=True))]
        frame = contributions(facts, tuple(LEAVES))
        tables = [CrossTable(f"{name} {n}", axes, within) for n, (axes, within) in enumerate(shapes)]
        every = CrossTable(f"{name} all", tuple(Classification(a, each, {}) for a, each in LEAVES.items()), shown=False)
        parts.append(link([*tables, every], frame, counted=name in COUNTS))
        alone |= {table.name: link([table], frame, counted=name in COUNTS) for table in tables}
    system = joined(parts)
    relations = [*_persons(len(parts[0])), *_second_adults(parts[0], families)]
    system = related(system, relations)
    return Registry(system, flags(system, range(sum(map(len, parts)), len(system))), alone)


def _shape(order: random.Random) -> tuple[tuple[Classification, ...], dict[str, tuple[str, ...]]]:
    names = sorted(order.sample(sorted(LEAVES), order.choice((1, 2))))
    within = {}
    if order.random() < 0.5:
        axis = order.choice(sorted(LEAVES))
        within[axis] = LEAVES[axis][: -1 if order.random() < 0.5 else 1]
    axes = []
    for name in names:
        leaves = within.get(name, LEAVES[name])
        sums = {"Total": leaves}
        if len(leaves) == 3 and order.random() < 0.5:
            sums |= {"first": leaves[:2], "last": leaves[1:]}
        axes.append(Classification(name, leaves, sums))
    return tuple(axes), within


def _persons(size: int) -> list[Relation]:
    """Return that persons are adults and children, for every cell; columns are side by side, with the same cells."""
    return [
        Relation(f"persons {cell}", {3 * size + cell: 1, size + cell: -1, 2 * size + cell: -1}) for cell in range(size)
    ]


def _second_adults(families: LinkedSystem, rows: Sequence[tuple[str, str, str, int, int]]) -> list[Relation]:
    """Return the second adults of every cell in which one or two families have one."""
    number = {atom: place for place, atom in enumerate(sorted({row[:3] for row in rows}))}
    couples = [(place, number[row[:3]]) for place, row in enumerate(rows) if row[3] > 1]
    found = []
    for cell in range(len(families)):
        atoms = set(families.atoms[:, [cell]].indices.tolist())
        few = [place for place, atom in couples if atom in atoms]
        if 0 < len(few) < 3:
            sole = few[0] if len(few) == 1 else -1
            facts = CombinationFacts(len(few), len(few), 1, len(few) - 1, sole, nonnegative=True)
            found.append(Relation(f"second adults {cell}", {len(families) + cell: 1, cell: -1}, facts))
    return found
