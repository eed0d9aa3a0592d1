"""A synthetic town whose year is released again every month, while one family in a hundred changes.

Spending by district, department and service, and families by district and size. Families are corrected, move, join,
leave and split; their numbers are drawn anew every month.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date

from linker.disclosure import gate
from linker.disclosure.facts import FactFrame
from linker.disclosure.policy import Policy
from linker.disclosure.release import CellStatus, PastRelease, Release, ReleasedTable
from linker.tables.registered_table import Measure, RegisteredTable, Unit
from tests.unit import gate_fixtures as g

POLICY = g.with_rules(dominance=())
"""The shipped policy without (n, k) dominance."""
SIZES = ("1", "2", "3", "4+")
Spending = tuple[str, str, int, int]  # department, service, month, øre


@dataclass(frozen=True)
class Family:
    """Persons, district, and what the town spends on it."""

    persons: tuple[int, ...]
    district: str
    spending: tuple[Spending, ...]


@dataclass(frozen=True)
class Town:
    """How large the town is, and its tables."""

    families: int
    districts: int
    departments: int
    services: int

    @property
    def tables(self) -> list[RegisteredTable]:
        """Spending, and families."""
        district, department, service = (
            g.axis(name, [f"{name[:2]}{n:02}" for n in range(size)])
            for name, size in (
                ("district", self.districts),
                ("department", self.departments),
                ("service", self.services),
            )
        )
        amount = Measure("amount", "Nettoudgift", Unit.AMOUNT_ORE, "amount_ore", None)
        return [
            g.table("spending", [district, department, service], amount),
            g.table("families", [district, g.axis("size", SIZES)], g.FAMILIES),
        ]


FULL = Town(families=6000, districts=10, departments=7, services=12)
SMALL = Town(families=3000, districts=4, departments=3, services=4)


class Life:
    """The town from month to month."""

    def __init__(self, town: Town, seed: int) -> None:
        """Found the town."""
        self._town, self._random, self._persons = town, random.Random(seed), 0  # noqa: S311 - a test repeats itself
        self.families = [self._new() for _ in range(town.families)]

    def pass_month(self, share: float) -> None:
        """Let a share of the families change."""
        for _ in range(round(len(self.families) * share)):
            self._change(self._random.randrange(len(self.families)))

    def facts(self) -> list[FactFrame]:
        """Return the facts; families are numbered anew."""
        self._random.shuffle(self.families)
        spending, families, members = [], [], {}
        for number, family in enumerate(self.families):
            members[number] = family.persons
            families.append((number, family.district, SIZES[min(len(family.persons), 4) - 1], 1))
            spending += [(number, family.district, *each) for each in family.spending]
        return [
            g.facts("families", ["district", "size"], ["families"], families, members=members),
            g.facts(
                "spending",
                ["district", "department", "service"],
                ["amount_ore"],
                spending,
                members=members,
                flow=True,
            ),
        ]

    def _new(self) -> Family:
        size = self._random.choice((2, 2, 3, 3, 4, 5))
        self._persons += size
        district = min(int(self._random.expovariate(3 / self._town.districts)), self._town.districts - 1)
        spending = tuple(self._posting() for _ in range(self._random.randrange(1, 6)))
        return Family(tuple(range(self._persons - size, self._persons)), f"di{district:02}", spending)

    def _posting(self) -> Spending:
        department = self._random.randrange(self._town.departments)
        service = min(int(self._random.expovariate(4 / self._town.services)), self._town.services - 1)
        return f"de{department:02}", f"se{service:02}", self._random.randrange(1, 13), self._amount(service)

    def _amount(self, service: int) -> int:
        return round(self._random.lognormvariate(1.0, 1.2) * 300_000 * (1 + service % 5))

    def _change(self, place: int) -> None:
        family = self.families[place]
        match self._random.randrange(10):
            case 0:  # joins
                self.families.append(self._new())
            case 1:  # leaves
                del self.families[place]
            case 2 if len(family.persons) > 1:  # splits; the first keeps what was spent
                self.families[place] = replace(family, persons=family.persons[:1])
                self.families.append(replace(self._new(), persons=family.persons[1:], district=family.district))
            case 3:  # moves
                self.families[place] = replace(family, district=self._new().district)
            case 4:  # gets another service
                self.families[place] = replace(family, spending=(*family.spending, self._posting()))
            case _:  # amounts are corrected
                spending = tuple(self._corrected(posting) for posting in family.spending)
                self.families[place] = replace(family, spending=spending)

    def _corrected(self, posting: Spending) -> Spending:
        department, service, month, amount = posting
        return department, service, month, self._random.choice((amount, self._amount(int(service[2:]))))


@dataclass(frozen=True)
class Month:
    """A release, with the facts that it is of."""

    release: Release
    facts: list[FactFrame]
    tables: tuple[ReleasedTable, ...]

    def share(self, status: CellStatus) -> float:
        """Return the share of the tables' cells with a status."""
        cells = [cell for table in self.tables for cell in table.cells]
        return sum(cell.status is status for cell in cells) / len(cells)

    def departments_current(self) -> float:
        """Return the share of departments whose total is this month's, and the town's total with them."""
        spending = next(table for table in self.tables if table.table_id == "spending")
        totals = [cell for cell in spending.cells if cell.categories[0] == cell.categories[2] == "all"]
        return sum(cell.status is CellStatus.PUBLISHED for cell in totals) / len(totals)


def months(
    town: Town, *, count: int, share: float, seed: int, policy: Policy = POLICY, alone: bool = False
) -> Iterator[Month]:
    """Return the releases of a year's tables, month after month. `share`: of families that change in a month.

    `alone`: each is protected as if it were the first; a control. A table that stands is in `tables` as it stands.
    """
    life, history, live = Life(town, seed), list[PastRelease](), dict[str, ReleasedTable]()
    for month in range(count):
        if month:
            life.pass_month(share)
        facts = life.facts()
        release = gate.protect(
            town.tables,
            facts,
            policy,
            [] if alone else history,
            year=2014,
            through_month=12,
            reference_date=date(2015, 1, 1),
        )
        if release.tables:
            history.append(PastRelease(release.release_id, release.reference_date, release.tables, release.basis))
        live |= {table.table_id: table for table in release.tables}
        yield Month(release, facts, tuple(live.values()))
