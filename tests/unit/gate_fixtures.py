"""Registered tables and contributions for tests of the disclosure gate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

from linker.disclosure import gate, policy
from linker.disclosure.policy import Policy
from linker.disclosure.release import Release, ReleasedTable
from linker.disclosure.table_input import TableInput
from linker.tables import registry
from linker.tables.registry import Axis, Measure, RegisteredTable, Unit

LINKER = Path(registry.__file__).parent.parent
REGISTRY = {table.table_id: table for table in registry.load(LINKER / "registry.toml")}
POLICY = policy.load(LINKER / "disclosure.toml")
PUBLISHED: Mapping[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "services_by_departments.json").read_text(encoding="utf-8")
)

FAMILIES = Measure("families", "Familier", Unit.COUNT, "families", None)
AMOUNT = Measure("amount", "Beløb", Unit.AMOUNT_ORE, "amount_ore", None)
MEAN = Measure("mean", "Kr. pr. familie", Unit.MEAN_ORE, "amount_ore", "families")
SHARE = Measure("share", "Andel", Unit.SHARE, "single", "families")


def axis(name: str, categories: Sequence[str], *levels: Mapping[str, str], total: str = "all", **more: Any) -> Axis:
    """Return an axis; each level maps the categories it regroups."""
    identity = {category: category for category in categories}
    complete = (identity, *({**identity, **level} for level in levels))
    return Axis(name, name, name, tuple(categories), total, complete, more.get("subtotals", {}), {})


def dropped(categories: Sequence[str], total: str = "all") -> Mapping[str, str]:
    """Return the level that drops an axis."""
    return dict.fromkeys(categories, total)


def table(
    table_id: str,
    axes: Sequence[Axis],
    *measures: Measure,
    margins: bool = True,
    denominator_axes: Sequence[str] = (),
) -> RegisteredTable:
    """Return a registered table."""
    return RegisteredTable(
        table_id, 1, table_id, table_id, tuple(axes), measures, "families", None, tuple(denominator_axes), (), margins
    )


def given(
    definition: RegisteredTable, rows: Sequence[Sequence[Any]], families: Sequence[Sequence[Any]] = ()
) -> TableInput:
    """Return a table's input; rows are (contributor, axes, columns), families (contributor, denominator axes)."""
    axes = [each.name for each in definition.axes]
    schema: dict[str, Any] = {"contributor": pl.UInt32(), **dict.fromkeys(axes, pl.String())}
    contributions = pl.DataFrame(
        list(rows), schema={**schema, **dict.fromkeys(definition.columns, pl.Int64())}, orient="row"
    )
    known = {"contributor": pl.UInt32(), **dict.fromkeys(definition.denominator_axes, pl.String())}
    return TableInput(definition, contributions, pl.DataFrame(list(families), schema=known, orient="row"))


def counts(definition: RegisteredTable, cells: Mapping[tuple[str, ...], int], start: int = 0) -> TableInput:
    """Return the input of a table of families with this many in each cell, numbered from `start`."""
    places = [place for place, size in cells.items() for _ in range(size)]
    return given(definition, [(start + number, *place, 1) for number, place in enumerate(places)])


def published_cross_tab() -> TableInput:
    """Return one row a family of the published table, with registered categories."""
    definition = REGISTRY["services_by_departments"]
    rows = [
        (services + 5, departments + 3)
        for departments, row in enumerate(PUBLISHED["families"])
        for services, size in enumerate(row)
        for _ in range(size)
    ]
    frame = pl.DataFrame(rows, schema=["services", "departments"], orient="row").with_row_index("contributor")
    contributions = frame.select(
        "contributor",
        *(
            definition.axis(name).category(pl.col(column)).alias(name)
            for name, column in (("n_services", "services"), ("n_departments", "departments"))
        ),
        pl.lit(1, pl.Int64).alias("families"),
    )
    return TableInput(definition, contributions, contributions.select("contributor"))


def protect(
    *tables: TableInput,
    history: Sequence[ReleasedTable] = (),
    policy: Policy = POLICY,
    period: str = "2014",
    reference_date: date = date(2015, 1, 1),
) -> Release:
    """Call the gate."""
    return gate.protect(tables, policy, history, period=period, reference_date=reference_date)


def shown(release: Release, table_id: str = "t", measure: str = "families") -> dict[tuple[str, ...], Any]:
    """Return the numbers of a released table's measure by cell; None where suppressed."""
    found = next(each for each in release.tables if each.table_id == table_id)
    return {cell.categories: cell.value for cell in found.cells if cell.measure == measure}


def outcome(release: Release, table_id: str = "t") -> str:
    """Return what became of a table, in words."""
    return next(each.outcome for each in release.outcomes if each.table_id == table_id)
