"""From the frames of a run to what the gate takes: one TableInput for each registered table.

1. Contributor is the family (family_id), in `coverage` the person or unlinked row.
2. group is `target` or `others` by the table's own target group; both are families with a
   child at home.
3. A null area is `none`. Amounts of zero are no contribution.
4. A registered table that this module cannot compute is an error, and so is a department or
   another code that the registry does not have: the gate refuses it by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from linker import frames
from linker.disclosure.table_input import TableInput
from linker.tables.coverage import COVERAGE
from linker.tables.registry import RegisteredTable


class UnknownTableError(LookupError):
    """The registry has a table that nothing computes; names it."""


@dataclass(frozen=True, slots=True)
class _Frames:
    """What tables are made of. `families` has `contributor` and `group` beside FAMILIES."""

    families: pl.LazyFrame
    services: pl.LazyFrame
    spending: pl.LazyFrame
    coverage: pl.LazyFrame


def table_inputs(
    registry: Sequence[RegisteredTable],
    families: pl.LazyFrame,
    services: pl.LazyFrame,
    spending: pl.LazyFrame,
    targets: Mapping[str, pl.LazyFrame],
    coverage: pl.LazyFrame,
) -> list[TableInput]:
    """Return the inputs of the registered tables, in the registry's order.

    Args:
        registry: from `registry.load`.
        families: FAMILIES; the universe.
        services: FAMILY_SERVICES; rows of other families are left out.
        spending: FAMILY_SPENDING; rows of other families are left out.
        targets: family_id of each target group that a table names, by its name.
        coverage: COVERAGE.

    Raises:
        UnknownTableError: nothing computes a registered table, or its target group is not given.
        SchemaError: a frame has not its schema.
    """
    families = frames.check(families, frames.FAMILIES, "table_inputs: families")
    services = frames.check(services, frames.FAMILY_SERVICES, "table_inputs: services")
    spending = frames.check(spending, frames.FAMILY_SPENDING, "table_inputs: spending")
    coverage = frames.check(coverage, COVERAGE, "table_inputs: coverage")
    return [
        _table_input(table, _Frames(_grouped(table, families, targets), services, spending, coverage))
        for table in registry
    ]


def _grouped(table: RegisteredTable, families: pl.LazyFrame, targets: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    if table.target_group is None:
        return families.select(pl.all(), contributor="family_id", group=pl.lit("others"))
    if table.target_group not in targets:
        raise UnknownTableError(f"table {table.table_id}: target group {table.target_group} is not given")
    target = frames.check(targets[table.target_group], {"family_id": frames.ID}, "table_inputs: targets").unique()
    return (
        families.join(target.with_columns(group=pl.lit("target")), on="family_id", how="left")
        .with_columns(pl.col("group").fill_null("others"))
        .rename({"family_id": "contributor"})
    )


def _table_input(table: RegisteredTable, data: _Frames) -> TableInput:
    match table.table_id:
        case "family_characteristics":
            contributions = _characteristics(data)
        case "spending_per_family":
            contributions = _spending(data)
        case "services_by_departments":
            contributions = _services(table, data)
        case "coverage":
            contributions = data.coverage
        case other:
            raise UnknownTableError(f"table {other}: nothing computes it")
    axes = [axis.name for axis in table.axes]
    found = contributions.select("contributor", *axes, *table.columns).sort("contributor", *axes)
    families = data.families.select("contributor", *table.denominator_axes).sort("contributor")
    return TableInput(table, *pl.collect_all([found, families], engine="streaming"))


def _characteristics(data: _Frames) -> pl.LazyFrame:
    return data.families.select(
        "contributor",
        "group",
        pl.lit(1, pl.Int64).alias("families"),
        pl.col("n_persons").cast(pl.Int64).alias("persons"),
        pl.col("n_adults").cast(pl.Int64).alias("adults"),
        pl.col("n_children").cast(pl.Int64).alias("children"),
        pl.col("single_provider").cast(pl.Int64).alias("single_providers"),
    )


def _spending(data: _Frames) -> pl.LazyFrame:
    return (
        data.spending.filter(pl.col("amount_ore") != 0)
        .rename({"family_id": "contributor"})
        .join(data.families.select("contributor", "group"), on="contributor", how="inner")
        .with_columns(pl.col("area").fill_null("none"))
    )


def _services(table: RegisteredTable, data: _Frames) -> pl.LazyFrame:
    """All families of the target group; one without a service has 0 of 0 departments."""
    counted = (
        data.services.rename({"family_id": "contributor"})
        .group_by("contributor")
        .agg(pl.len().alias("n_services"), pl.col("department").n_unique().alias("n_departments"))
    )
    target = data.families.filter(group="target").select("contributor").join(counted, on="contributor", how="left")
    return target.with_columns(pl.col("n_services", "n_departments").fill_null(0)).select(
        "contributor",
        *(table.axis(name).category(pl.col(name)).alias(name) for name in ("n_services", "n_departments")),
        families=pl.lit(1, pl.Int64),
    )
