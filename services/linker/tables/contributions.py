"""From the frames of a run to the facts that the gate takes.

1. Three frames: `families` (what each is on the reference date), `spending` (by month) and `coverage` (delivered rows).
   Contributor is the family, or in coverage the person or unlinked row.
2. `group` is `target` or `others`, by the target group of the registered tables; both are families with a child at
   home. Without a target group all are `others`.
3. Who a contributor is from release to release are its persons, each by every number that was ever theirs: so a family
   survives a change of number, and the loss of any one of its members.
4. A null area is `none`. Amounts that cancel out over a combination leave no row of that month.
5. A department or another code that the registry does not have is not found here: the gate refuses it by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from linker import frames
from linker.disclosure.facts import CONTRIBUTOR, MEMBERS, MONTH, FactFrame
from linker.tables.coverage import COVERAGE
from linker.tables.registered_table import GROUP, PeriodType, RegisteredTable, RegistryError

FAMILIES, SPENDING, COVERED = "families", "spending", "coverage"
_GROUPED = pl.Schema({CONTRIBUTOR: pl.Int64(), GROUP: pl.String()})
_ALIASES = pl.Schema({"former_id": frames.ID, "resolved_id": frames.ID})


@dataclass(frozen=True, slots=True)
class _Form:
    """What a frame of facts has. Nobody can be below 0 in it, unless it is a flow, nor in its bounds."""

    axes: tuple[str, ...]
    columns: tuple[str, ...]
    counted: frozenset[str]
    flow: bool = False
    bounds: tuple[Mapping[str, int], ...] = ()


_COUNTS = ("families", "persons", "adults", "children", "single_providers")
# A family has one adult or two, a child at least, and a single provider only as its one adult.
_AT_HOME = (
    {"adults": 1, "families": -1},
    {"families": 2, "adults": -1, "single_providers": -1},
    {"children": 1, "families": -1},
    {"families": 1, "single_providers": -1},
)
_FORMS: Mapping[str, _Form] = {
    FAMILIES: _Form((GROUP, "n_services", "n_departments"), _COUNTS, frozenset(_COUNTS), bounds=_AT_HOME),
    SPENDING: _Form((GROUP, "department", "type", "area"), ("amount_ore",), frozenset(), flow=True),
    COVERED: _Form(
        ("source", "method"),
        ("rows", "rows_linked", "delivered_ore", "linked_ore"),
        frozenset(("rows", "rows_linked")),
    ),
}


def needed(tables: Sequence[RegisteredTable]) -> frozenset[str]:
    """Return the names of the frames that these tables are computed from.

    Raises:
        RegistryError: nothing computes a table: its axes and columns are not those of one frame, but that a denominator
            may be the families'; or it is a quarter of what does not happen in months.
    """
    found = set[str]()
    for table in tables:
        axes = {*(axis.name for axis in table.axes), *table.within}
        fitting = [
            {name, *([FAMILIES] if set(table.columns) - set(form.columns) else [])}
            for name, form in _FORMS.items()
            if axes <= set(form.axes)
            and (form.flow or table.period is not PeriodType.QUARTER)
            and {measure.column for measure in table.measures} <= set(form.columns)
            and set(table.columns) <= {*form.columns, *_COUNTS}
        ]
        if not fitting:
            known = "; ".join(f"{', '.join(form.columns)} by {', '.join(form.axes)}" for form in _FORMS.values())
            raise RegistryError(f"table {table.table_id}: nothing computes it; there are {known}")
        found |= fitting[0]
    return frozenset(found)


def grouped(families: pl.LazyFrame, target: pl.LazyFrame) -> pl.LazyFrame:
    """Return FAMILIES with `contributor` (Int64) for family_id, and `group`; `target` has family_id of some of them."""
    targets = frames.check(target, {"family_id": frames.ID}, "grouped: target").unique()
    return (
        frames.check(families, frames.FAMILIES, "grouped: families")
        .join(targets.with_columns(pl.lit("target").alias(GROUP)), on="family_id", how="left")
        .with_columns(pl.col(GROUP).fill_null("others"), pl.col("family_id").cast(pl.Int64))
        .rename({"family_id": CONTRIBUTOR})
    )


def family_facts(
    registry: Sequence[RegisteredTable],
    families: pl.LazyFrame,
    services: pl.LazyFrame,
    members: pl.LazyFrame,
    aliases: pl.LazyFrame,
) -> FactFrame:
    """Return the facts `families`: a row a family.

    Args:
        registry: its numeric axes say in which category a number of services or departments stands; an axis that no
            table shows is left out.
        families: from `grouped`; the universe.
        services: FAMILY_SERVICES; rows of other families are left out. A family without any has 0 of 0 departments.
        members: person_id, family_id; those of other families are left out.
        aliases: `Aliases.resolved`.

    Raises:
        SchemaError: a frame has not its schema.
    """
    services = frames.check(services, frames.FAMILY_SERVICES, "family_facts: services")
    counted = services.group_by(pl.col("family_id").cast(pl.Int64).alias(CONTRIBUTOR)).agg(
        pl.len().cast(pl.Int64).alias("n_services"),
        pl.col("department").n_unique().cast(pl.Int64).alias("n_departments"),
    )
    axes = {
        axis.name: axis for table in registry for axis in table.axes if axis.name in ("n_services", "n_departments")
    }
    rows = families.join(counted, on=CONTRIBUTOR, how="left").select(
        CONTRIBUTOR,
        GROUP,
        *(axis.category(pl.col(name).fill_null(0)).alias(name) for name, axis in axes.items()),
        pl.lit(1, pl.Int64).alias("families"),
        pl.col("n_persons").cast(pl.Int64).alias("persons"),
        pl.col("n_adults").cast(pl.Int64).alias("adults"),
        pl.col("n_children").cast(pl.Int64).alias("children"),
        pl.col("single_provider").cast(pl.Int64).alias("single_providers"),
    )
    return _facts(FAMILIES, rows, _of_families(families, members, aliases), (GROUP, *axes))


def spending_facts(
    families: pl.LazyFrame, spending: pl.LazyFrame, members: pl.LazyFrame, aliases: pl.LazyFrame
) -> FactFrame:
    """Return the facts `spending`: a row a family, combination and month with an amount.

    Args:
        families: from `grouped`; the universe.
        spending: FAMILY_SPENDING; rows of other families are left out.
        members, aliases: as in `family_facts`.

    Raises:
        SchemaError: a frame has not its schema.
    """
    rows = (
        frames.check(spending, frames.FAMILY_SPENDING, "spending_facts: spending")
        .with_columns(pl.col("family_id").cast(pl.Int64).alias(CONTRIBUTOR))
        .join(frames.check(families, _GROUPED, "spending_facts: families"), on=CONTRIBUTOR, how="inner")
        .select(CONTRIBUTOR, GROUP, "department", "type", pl.col("area").fill_null("none"), MONTH, "amount_ore")
    )
    return _facts(SPENDING, rows, _of_families(families, members, aliases))


def coverage_facts(coverage: pl.LazyFrame, aliases: pl.LazyFrame) -> FactFrame:
    """Return the facts `coverage`: a row a person or unlinked row, and source.

    Args:
        coverage: COVERAGE; who is below 0 is no person.
        aliases: as in `family_facts`.

    Raises:
        SchemaError: a frame has not its schema.
    """
    rows = frames.check(coverage, COVERAGE, "coverage_facts: coverage")
    people = rows.filter(pl.col(CONTRIBUTOR) >= 0).select(CONTRIBUTOR).unique()
    return _facts(COVERED, rows, _numbered(people.select(CONTRIBUTOR, person=CONTRIBUTOR), aliases))


def _of_families(families: pl.LazyFrame, members: pl.LazyFrame, aliases: pl.LazyFrame) -> pl.LazyFrame:
    """Return MEMBERS of the families."""
    people = frames.check(members, {"person_id": frames.ID, "family_id": frames.ID}, "members").select(
        person=pl.col("person_id").cast(pl.Int64), contributor=pl.col("family_id").cast(pl.Int64)
    )
    return _numbered(people.join(families.select(CONTRIBUTOR), on=CONTRIBUTOR, how="semi"), aliases)


def _numbered(people: pl.LazyFrame, aliases: pl.LazyFrame) -> pl.LazyFrame:
    """Return MEMBERS: each person by the number of now, and by all that it had before."""
    former = frames.check(aliases, _ALIASES, "aliases").select(pl.all().cast(pl.Int64))
    before = people.join(former, left_on="person", right_on="resolved_id", how="inner").select(
        CONTRIBUTOR, person="former_id"
    )
    return pl.concat([part.select(list(MEMBERS)) for part in (people, before)])


def _facts(name: str, rows: pl.LazyFrame, members: pl.LazyFrame, axes: tuple[str, ...] | None = None) -> FactFrame:
    form = _FORMS[name]
    frame, people = pl.collect_all([rows, members], engine="streaming")
    nonnegative = frozenset() if form.flow else frozenset(form.columns)
    return FactFrame(
        name, frame, axes or form.axes, form.columns, form.counted, nonnegative, form.flow, people, form.bounds
    )
