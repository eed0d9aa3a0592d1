"""Facts of small municipalities with known leaks, and registries to look at them through.

A family is a contributor with its members; amounts are øre. Everything is made from a seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from linker.disclosure import gate
from linker.disclosure import policy as policies
from linker.disclosure.facts import MEMBERS, FactFrame
from linker.disclosure.needs import ProtectionPolicy
from linker.disclosure.policy import Policy
from linker.disclosure.release import (
    CellStatus,
    PastRelease,
    Release,
    ReleasedAxis,
    ReleasedCell,
    ReleasedMeasure,
    ReleasedTable,
)
from linker.tables import registry
from linker.tables.registered_table import Axis, Measure, PeriodType, RegisteredTable, Unit
from tests.privacy.protected_cells import Run, cells_of
from tests.privacy.public_knowledge import Column, Region, Statement, Term, region, term

LINKER = Path(registry.__file__).parent.parent
REGISTRY = registry.load(LINKER / "registry.toml")
POLICY = policies.parse((LINKER / "disclosure.toml").read_bytes())
PROTECTION: Mapping[str, ProtectionPolicy] = {name: each.protection for name, each in POLICY.policies.items()}

COUNTS = ("families", "persons", "adults", "children", "single_providers")
# What everybody knows of a family with a child at home; none of these is below 0.
AT_HOME = (
    {"children": 1, "families": -1},
    {"adults": 1, "families": -1},
    {"families": 2, "adults": -1, "single_providers": -1},
    {"families": 1, "single_providers": -1},
)
SERVICES = ("≤5", *(str(number) for number in range(6, 21)), "≥21")


@dataclass(frozen=True)
class Family:
    """A family: its place in the tables, who they are, and what is spent on it, by month and category."""

    number: int
    group: str
    n_services: str
    n_departments: str
    adults: int
    children: int
    single: bool
    spent: tuple[tuple[int, str, str, str, int], ...]

    def persons(self) -> list[int]:
        """Return its members."""
        return [self.number * 10 + place for place in range(self.adults + self.children)]


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - a test must repeat itself


CATEGORIES = [
    *(("SOF", "offer", area) for area in ("general", "special")),
    *(("BUF", "offer", area) for area in ("general", "special")),
    ("SUF", "offer", "general"),
    ("KFF", "offer", "general"),
    ("BIF", "transfer", "none"),
    ("SOF", "administration", "none"),
]


def municipality(seed: int, size: int = 160) -> list[Family]:
    """Return families, a fifth of them in the target group; few use SUF and KFF, one placement costs millions."""
    random_ = seeded(seed)
    families = [_family(number, random_) for number in range(1, size + 1)]
    dear = families[0]
    families[0] = replace(
        dear, group="target", spent=(*dear.spent, *((month, "SOF", "offer", "special", 25_000_000) for month in MONTHS))
    )
    return families


MONTHS = range(1, 13)


def _family(number: int, random_: random.Random) -> Family:
    target = random_.random() < 0.2
    weights = [6, 3, 8, 2, 1, 0.4, 5, 3] if target else [1, 0.3, 9, 0.4, 0.6, 0.2, 2, 0.5]
    spent = []
    for _ in range(random_.randint(2, 7) if target else random_.randint(0, 3)):
        [place] = random_.choices(CATEGORIES, weights)
        first = random_.choice([1, 1, 1, 4, 7])
        monthly = int(random_.lognormvariate(12, 1.2))
        months = range(first, min(12, first + random_.choice([2, 5, 11])) + 1)
        spent += [(month, *place, monthly) for month in months]
        if random_.random() < 0.1:
            spent.append((first, *place, -monthly // 2))
    single = random_.random() < 0.4
    return Family(
        number,
        "target" if target else "others",
        random_.choices(SERVICES, [12, 6, 5, 4, 3, 3, 2, 2, *[1] * 9])[0],
        random_.choices(("≤3", "4", "≥5"), [6, 3, 1])[0],
        1 if single else 2,
        random_.randint(1, 4),
        single and random_.random() < 0.95,
        tuple(spent),
    )


def changed(families: Sequence[Family], seed: int, share: float, through: int = 12) -> list[Family]:
    """Return the families one release later: some moved out, some have another amount in some month."""
    random_ = seeded(seed)
    new = []
    for family in families:
        if random_.random() > share:
            new.append(family)
        elif random_.random() < 0.7:
            [place] = random_.choices(CATEGORIES)
            month, amount = random_.randint(1, through), random_.randint(10_000, 9_000_000)
            new.append(replace(family, spent=(*family.spent, (month, *place, amount))))
    return new


def facts(families: Sequence[Family], *, through: int = 12, renumbered: int = 0) -> list[FactFrame]:
    """Return the frames that a run hands to the gate; `renumbered` moves the contributors' numbers, as a run may."""
    who = {family.number: family.number + renumbered for family in families}
    members = frame([(person, who[family.number]) for family in families for person in family.persons()], dict(MEMBERS))
    place = [(who[f.number], f.group, f.n_services, f.n_departments) for f in families]
    counts = [(1, f.adults + f.children, f.adults, f.children, int(f.single)) for f in families]
    spent = [(who[f.number], f.group, *each[1:4], each[0], each[4]) for f in families for each in f.spent]
    rows = [(7, 7, 70_000, 70_000)] * 40 + [(1, 0, 10_000, 0)] * 12
    return [
        facts_of(
            "families",
            [(*one, *other) for one, other in zip(place, counts, strict=True)],
            ("group", "n_services", "n_departments"),
            COUNTS,
            members,
            bounds=AT_HOME,
        ),
        facts_of(
            "spending",
            [row for row in spent if row[5] <= through],
            ("group", "department", "type", "area"),
            ("amount_ore",),
            members,
            flow=True,
        ),
        facts_of(
            "coverage",
            [(number, "prisme", "exact", *row) for number, row in enumerate(rows)],
            ("source", "method"),
            ("rows", "rows_linked", "delivered_ore", "linked_ore"),
            frame([(number, number) for number in range(40)], dict(MEMBERS)),
        ),
    ]


def frame(rows: Sequence[Sequence[Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict(schema), orient="row")


def facts_of(
    name: str,
    rows: Sequence[Sequence[Any]],
    axes: Sequence[str],
    columns: Sequence[str],
    members: pl.DataFrame,
    *,
    flow: bool = False,
    refunds: bool = True,
    bounds: Sequence[Mapping[str, int]] = (),
) -> FactFrame:
    """Return facts; a row is contributor, axes, month if it is a flow, columns. `refunds`: a flow can be negative."""
    schema = {
        "contributor": pl.Int64(),
        **dict.fromkeys(axes, pl.String()),
        **({"month": pl.Int8()} if flow else {}),
        **dict.fromkeys(columns, pl.Int64()),
    }
    counted = frozenset(column for column in columns if not column.endswith("_ore"))
    nonnegative = frozenset() if flow and refunds else frozenset(columns)
    content = frame(rows, schema)
    return FactFrame(name, content, tuple(axes), tuple(columns), counted, nonnegative, flow, members, bounds)


def run_of(found: Sequence[FactFrame], tables: Sequence[RegisteredTable], *, through: int = 12) -> Run:
    """Return a run of these facts through a month of 2014."""
    due = [(table, table.period.label(2014, through)) for table in registry.due(tables, through)]
    return Run(found, due, 2014)


# What the registry's notes tell everybody: offers have an area, nothing else has; persons are adults and children.
NOWHERE: tuple[Region, ...] = (
    region({"type": ["transfer", "administration"], "area": ["general", "special"]}),
    region({"type": ["offer"], "area": ["none"]}),
)


def public_columns(run: Run) -> dict[str, Column]:
    """Return what everybody knows of the columns of the shipped registry."""
    return {
        name: replace(column, impossible=NOWHERE) if "area" in column.axes else column
        for name, column in run.columns().items()
    }


def common_sense(columns: Mapping[str, Column]) -> list[Statement]:
    """Return what everybody knows about families with children, in each group."""
    if not set(COUNTS) <= columns.keys():
        return []
    found = []
    for group in columns["families"].axes["group"]:
        number: dict[str, Term] = {column: (column, region({"group": [group]})) for column in COUNTS}
        found += [
            Statement({number["persons"]: 1, number["adults"]: -1, number["children"]: -1}, 0, 0),
            *(Statement({number[name]: each for name, each in bound.items()}, 0, None) for bound in AT_HOME),
        ]
    return found


def axis(name: str, leaves: Sequence[str], **subtotals: Sequence[str]) -> Axis:
    """Return an axis whose total is `all`."""
    return Axis(name, name, name, tuple(leaves), "all", {key: tuple(parts) for key, parts in subtotals.items()}, {})


FAMILIES = Measure("families", "Familier", Unit.COUNT, "families", None)
AMOUNT = Measure("amount", "Beløb", Unit.AMOUNT_ORE, "amount_ore", None)
MEAN = Measure("mean", "Kr. pr. familie", Unit.MEAN_ORE, "amount_ore", "families")


def table(table_id: str, axes: Sequence[Axis], *measures: Measure, **changes: Any) -> RegisteredTable:
    """Return a registered table of a year with margins, under the standard policy."""
    titles, policy = (table_id, table_id), ("families", None, 0, {}, PeriodType.YEAR, "standard", ())
    made = RegisteredTable(table_id, 1, *titles, tuple(axes), measures, *policy, margins=True)
    return replace(made, **changes)


Hides = Callable[[RegisteredTable, tuple[str, ...], Measure], bool]


def hiding(run: Run, hidden: Collection[Term]) -> Hides:
    """Return the pattern that hides these numbers, and every mean and share of them."""
    columns, periods = run.columns(), {registered.table_id: period for registered, period in run.tables}

    def hides(registered: RegisteredTable, cell: tuple[str, ...], measure: Measure) -> bool:
        parts = [column for column in (measure.column, measure.denominator) if column]
        period = periods[registered.table_id]
        return any(term(columns, registered, period, column, cell) in hidden for column in parts)

    return hides


def shown(run: Run, hides: Hides) -> list[ReleasedTable]:
    """Return the tables of a run with some cells hidden: a release that the gate did not make."""
    columns = run.columns()
    found = []
    for registered, period in run.tables:
        cells = []
        for measure in registered.measures:
            for cell in cells_of(registered):
                above = run.value(term(columns, registered, period, measure.column, cell))
                below = (
                    run.value(term(columns, registered, period, measure.denominator, cell))
                    if measure.denominator
                    else None
                )
                if below == 0 or hides(registered, cell, measure):
                    cells.append(ReleasedCell(cell, measure.name, CellStatus.SUPPRESSED, None))
                else:
                    value = above if below is None else ratio(above, below, measure.unit)
                    cells.append(ReleasedCell(cell, measure.name, CellStatus.PUBLISHED, value))
        found.append(_released(registered, period, cells))
    return found


def _released(registered: RegisteredTable, period: str, cells: Sequence[ReleasedCell]) -> ReleasedTable:
    axes = [ReleasedAxis(a.name, a.name, a.categories, tuple(a.subtotals), a.total, {}) for a in registered.axes]
    measures = [ReleasedMeasure(measure.name, measure.name, measure.unit) for measure in registered.measures]
    words = (registered.table_id, 1, 1, "", "", "", ())
    day = date(2015, 1, 1)
    return ReleasedTable("careless", *words, period, day, tuple(axes), tuple(measures), tuple(cells), "").sealed()


def ratio(above: int, below: int, unit: Unit) -> int | float:
    """Return a mean or share as it is shown: rounded, halves of an øre away from zero."""
    if unit is not Unit.MEAN_ORE:
        return round(above / below, 4)
    rounded = (2 * abs(above) + below) // (2 * below)
    return rounded if above >= 0 else -rounded


def protect(
    found: Sequence[FactFrame],
    tables: Sequence[RegisteredTable],
    policy: Policy = POLICY,
    history: Sequence[Release] = (),
    *,
    through: int = 12,
) -> Release:
    """Return what the gate lets through: the real one, with the releases before this one."""
    past = [
        PastRelease(each.release_id, each.reference_date, each.tables, each.basis) for each in history if each.tables
    ]
    due, day = registry.due(tables, through), date(2015, 1, 1)
    return gate.protect(
        due, found, policy, past, year=2014, through_month=through, reference_date=day, progress=lambda *_: None
    )


def with_policy(policy: Policy, **changes: Any) -> Policy:
    """Return a policy whose standard part has other numbers."""
    standard = policy.policies["standard"]
    insiders = changes.pop("department_insiders", standard.department_insiders)
    part = replace(standard, protection=replace(standard.protection, **changes), department_insiders=insiders)
    return replace(policy, policies={**policy.policies, "standard": part})
