"""Made-up families for tests of the family table: properties, services and spending that hang together as they do.

Spending is heavy-tailed, most families use one or two departments, and some have an institution placement.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import polars as pl

from linker import frames
from linker.disclosure import policy as policies
from linker.disclosure.family_table import FamilyTable, Refusal, code_families
from linker.disclosure.policy import FamilyTablePolicy, Policy
from linker.disclosure.release import ReleasedTable
from linker.tables import registry

LINKER = Path(registry.__file__).parent.parent
REGISTRY = registry.load(LINKER / "registry.toml")
POLICY = policies.parse((LINKER / "disclosure.toml").read_bytes())
DEPARTMENTS = ("SOF", "BIF", "BUF", "SUF", "KFF")
_USE = (0.15, 0.25, 0.8, 0.1, 0.2)
_SPENDING = pl.Schema({"family_id": frames.ID, "department": pl.String(), "amount_ore": pl.Int64()})


@dataclass(frozen=True, slots=True)
class Town:
    """What the family table is made from."""

    members: pl.DataFrame
    families: pl.DataFrame
    services: pl.DataFrame
    spending: pl.DataFrame

    @property
    def total_ore(self) -> int:
        """What is spent on all families."""
        return int(self.spending["amount_ore"].sum())

    def shuffled(self, seed: int) -> Town:
        """Return the same town in another order, its families numbered otherwise."""
        ids = self.families["family_id"].to_list()
        others = random.Random(seed).sample(range(10**6, 10**6 + len(ids)), len(ids))  # noqa: S311
        new = dict(zip(ids, others, strict=True))

        def renumbered(frame: pl.DataFrame) -> pl.DataFrame:
            return frame.with_columns(pl.col("family_id").replace_strict(new, return_dtype=frames.ID)).sample(
                fraction=1, shuffle=True, seed=seed
            )

        return Town(*(renumbered(frame) for frame in (self.members, self.families, self.services, self.spending)))


def town(families: int, seed: int = 1) -> Town:
    """Return so many families."""
    source = random.Random(seed)  # noqa: S311
    rows: tuple[list[tuple[object, ...]], ...] = ([], [], [], [])
    members, of_family, services, spending = rows
    for family in range(families):
        children = source.choices((1, 2, 3, 4), (45, 40, 12, 3))[0]
        adults = source.choices((1, 2), (30, 70))[0]
        oldest = source.randint(20, 60)
        ages = [*(("adult", oldest - place) for place in range(adults)), *_children(source, children)]
        for role, age in ages:
            members.append((len(members), family, family, role, 2, age, "U", "Nord"))
        of_family.append((family, 2, adults + children, adults, children, adults == 1, "Nord"))
        for department, use in zip(DEPARTMENTS, _USE, strict=True):
            if source.random() < use:
                services += [(family, department, f"{department}-{n}") for n in range(source.randint(1, 3))]
                placed = source.random() < 0.01
                amount = source.randint(150, 300) * 10**6 if placed else int(100 * source.lognormvariate(10.5, 1.3))
                spending.append((family, department, amount))
    schemas = (frames.FAMILY_MEMBERS, frames.FAMILIES, frames.FAMILY_SERVICES, _SPENDING)
    return Town(*(pl.DataFrame(each, schema=schema, orient="row") for each, schema in zip(rows, schemas, strict=True)))


def _children(source: random.Random, number: int) -> list[tuple[str, int]]:
    youngest = source.randint(0, 17)
    return [("child", min(17, youngest + place)) for place in range(number)]


def asking(policy: Policy = POLICY, **numbers: object) -> Policy:
    """Return the policy with other numbers for the family table."""
    table: FamilyTablePolicy = replace(policy.family_table, **numbers)  # type: ignore[arg-type]
    return replace(policy, family_table=table)


def made(of: Town, policy: Policy = POLICY, released: tuple[ReleasedTable, ...] = ()) -> FamilyTable | Refusal:
    """Return what becomes of the town."""
    return code_families(
        of.members,
        of.families,
        of.services,
        of.spending,
        policy,
        REGISTRY,
        released,
        period="2014",
        reference_date=date(2015, 1, 1),
    )


def table(of: Town, policy: Policy = POLICY) -> FamilyTable:
    """Return the town's family table, which is not refused."""
    found = made(of, policy)
    assert isinstance(found, FamilyTable), found
    return found
