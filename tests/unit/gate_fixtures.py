"""Registered tables, facts and releases for tests of the disclosure gate."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from linker.disclosure import gate, policy
from linker.disclosure.facts import MEMBERS, FactFrame
from linker.disclosure.needs import ProtectionPolicy
from linker.disclosure.policy import Policy, TablePolicy
from linker.disclosure.release import PastRelease, Release, ReleasedCell, ReleasedTable
from linker.tables import registry
from linker.tables.registered_table import Axis, Measure, PeriodType, RegisteredTable, Unit

LINKER = Path(registry.__file__).parent.parent
REGISTRY = {table.table_id: table for table in registry.load(LINKER / "registry.toml")}
POLICY = policy.parse((LINKER / "disclosure.toml").read_bytes())
PUBLISHED: Mapping[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "services_by_departments.json").read_text(encoding="utf-8")
)

FAMILIES = Measure("families", "Familier", Unit.COUNT, "families", None)
AMOUNT = Measure("amount", "Beløb", Unit.AMOUNT_ORE, "amount_ore", None)
MEAN = Measure("mean", "Kr. pr. familie", Unit.MEAN_ORE, "amount_ore", "families")
SHARE = Measure("share", "Andel", Unit.SHARE, "single", "families")


def with_rules(insiders: bool = False, **numbers: Any) -> Policy:
    """Return the shipped policy with other numbers in `standard`."""
    standard = POLICY.policies["standard"]
    changed = TablePolicy(replace(standard.protection, **numbers), insiders)
    return replace(POLICY, policies={**POLICY.policies, "standard": changed})


PLAIN = with_rules(p_percent=None, dominance=(), interval_minimum=100)
"""The shipped policy without the rules about large contributors, and with small intervals."""


def axis(name: str, categories: Sequence[str], total: str = "all", **more: Any) -> Axis:
    """Return an axis."""
    return Axis(
        name, name, name, tuple(categories), total, more.get("subtotals", {}), {}, None, more.get("of_period", False)
    )


def table(table_id: str, axes: Sequence[Axis], *measures: Measure, **more: Any) -> RegisteredTable:
    """Return a registered table."""
    defaults: dict[str, Any] = {
        "within": {},
        "period": PeriodType.YEAR,
        "policy": "standard",
        "notes_da": (),
        "margins": True,
        "version": 1,
    }
    return RegisteredTable(
        table_id=table_id,
        title_da=table_id,
        title_en=table_id,
        axes=tuple(axes),
        measures=measures,
        universe="families",
        target_group=None,
        target_group_version=0,
        **{**defaults, **more},
    )


def facts(
    name: str,
    axes: Sequence[str],
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    members: Mapping[int, Sequence[int]] | None = None,
    flow: bool = False,
) -> FactFrame:
    """Return facts; rows are (contributor, axes, month of a flow, columns). Columns in øre are amounts.

    `members`: the persons of a contributor; without, each contributor is its own person.
    """
    schema = {
        "contributor": pl.Int64(),
        **dict.fromkeys(axes, pl.String()),
        **({"month": pl.Int8()} if flow else {}),
        **dict.fromkeys(columns, pl.Int64()),
    }
    frame = pl.DataFrame([tuple(row) for row in rows], schema=schema, orient="row")
    persons = {each: (each,) for each in frame["contributor"].unique()} if members is None else members
    pairs = [(person, contributor) for contributor, group in persons.items() for person in group]
    counted = frozenset(column for column in columns if not column.endswith("_ore"))
    return FactFrame(
        name,
        frame,
        tuple(axes),
        tuple(columns),
        counted,
        frozenset() if flow else frozenset(columns),
        flow,
        pl.DataFrame(pairs, schema=MEMBERS, orient="row"),
    )


def families(axes: Sequence[str], cells: Mapping[tuple[str, ...], int], start: int = 0) -> FactFrame:
    """Return a frame of families with this many in each cell, numbered from `start`."""
    places = [place for place, size in cells.items() for _ in range(size)]
    return facts("families", axes, ["families"], [(start + number, *place, 1) for number, place in enumerate(places)])


def published_cross_tab() -> FactFrame:
    """Return one row a family of the published table, with registered categories."""
    definition = REGISTRY["services_by_departments"]
    rows = [
        (services + 5, departments + 3)
        for departments, row in enumerate(PUBLISHED["families"])
        for services, size in enumerate(row)
        for _ in range(size)
    ]
    frame = pl.DataFrame(rows, schema=["services", "departments"], orient="row").with_row_index("contributor")
    placed = frame.select(
        "contributor",
        pl.lit("target").alias("group"),
        *(
            definition.axis(name).category(pl.col(column)).alias(name)
            for name, column in (("n_services", "services"), ("n_departments", "departments"))
        ),
        pl.lit(1).alias("families"),
    )
    return facts("families", ["group", "n_services", "n_departments"], ["families"], placed.rows())


def protect(
    tables: Sequence[RegisteredTable] | RegisteredTable,
    *given: FactFrame,
    history: Sequence[PastRelease] = (),
    policy: Policy = PLAIN,
    year: int = 2014,
    through_month: int = 12,
    reference_date: date = date(2015, 1, 1),
) -> Release:
    """Call the gate."""
    mine = [tables] if isinstance(tables, RegisteredTable) else tables
    return gate.protect(
        mine, given, policy, history, year=year, through_month=through_month, reference_date=reference_date
    )


def past(release: Release) -> PastRelease:
    """Return a release as history."""
    return PastRelease(release.release_id, release.reference_date, release.tables, release.basis)


def released(release: Release, table_id: str = "t") -> ReleasedTable:
    """Return a released table."""
    return next(each for each in release.tables if each.table_id == table_id)


def cells(release: Release, table_id: str = "t", measure: str = "families") -> dict[tuple[str, ...], ReleasedCell]:
    """Return the cells of a released table's measure."""
    return {cell.categories: cell for cell in released(release, table_id).cells if cell.measure == measure}


def shown(release: Release, table_id: str = "t", measure: str = "families") -> dict[tuple[str, ...], Any]:
    """Return the numbers of a released table's measure by cell; None where suppressed."""
    return {categories: cell.value for categories, cell in cells(release, table_id, measure).items()}


def outcome(release: Release, table_id: str = "t") -> str:
    """Return what became of a table, in words."""
    return next(each.outcome for each in release.outcomes if each.table_id == table_id)


def rules(release_policy: Policy = PLAIN) -> ProtectionPolicy:
    """Return the numbers of the standard policy."""
    return release_policy.policies["standard"].protection
