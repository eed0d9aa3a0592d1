"""Which tables exist: the closed list, read from `registry.toml`.

1. A table is fixed before any data are seen: axes, measures, universe, period, policy, notes. A new table enters with
   the next release. Tables that name the same axis share its categories and subtotals.
2. A subtotal is a named sum of leaves, and may name other subtotals as its parts: so hierarchies of any depth. No two
   names of an axis stand for the same leaves, and a table with margins shows them all.
3. A numeric axis from `first` to `last` has the categories "≤first", first+1, …, "≥last".
4. `within` keeps a table to some leaves of an axis that it does not show.
5. A column's name means one fact in all tables. The axis `group` means one target group in all tables.
6. It does not know how facts are computed, nor which cells are shown.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from linker.tables import target_rules
from linker.tables.registered_table import GROUP, Axis, Measure, PeriodType, RegisteredTable, RegistryError, Unit
from linker.tables.target_rules import TargetGroup
from linker.toml_entry import Entry

# Columns that facts and released tables have beside axes.
_RESERVED = frozenset(
    {"contributor", "person", "month", "measure", "unit", "status", "revision", "integer", "real", "value"}
)


def load(path: Path) -> tuple[RegisteredTable, ...]:
    """Read the registry, in the file's order; a target group's definition joins the table's notes.

    Raises:
        RegistryError: the file cannot be read or has an unknown or missing key; an axis names a leaf that it has not,
            or one thing twice; a table names an unknown axis, leaf, unit, period or target group, has the id of
            another, has margins on an axis without total, or is a quarter of an axis that is about the run's period;
            two tables divide `group` by different target groups.
    """
    try:
        document = Entry("registry", tomllib.loads(path.read_text(encoding="utf-8")), RegistryError)
    except OSError as error:
        raise RegistryError(f"registry: {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RegistryError(f"registry: {path} is not TOML: {error}") from None
    axes = {name: _axis(name, entry) for name, entry in document.named_entries("axes", "axis").items()}
    tables = tuple(_table(entry, axes) for entry in document.entries("table"))
    document.nothing_else()
    for earlier, later in pairwise(sorted(table.table_id for table in tables)):
        if earlier == later:
            raise RegistryError(f"table {later}: the id is given twice")
    groups = sorted({table.target_group for table in tables if table.target_group})
    if len(groups) > 1:
        raise RegistryError(f"axis {GROUP}: one target group in all tables; found {', '.join(groups)}")
    return tables


def due(registry: Sequence[RegisteredTable], through_month: int) -> tuple[RegisteredTable, ...]:
    """Return the tables that a run through this month makes, in the registry's order."""
    return tuple(table for table in registry if table.period.is_due(through_month))


def check_policies(registry: Sequence[RegisteredTable], policies: Collection[str]) -> None:
    """Refuse a table whose policy is not among these. Raises RegistryError."""
    for table in registry:
        if table.policy not in policies:
            known = ", ".join(sorted(policies))
            raise RegistryError(f"table {table.table_id}: policy is one of the disclosure policy's: {known}")


def _axis(name: str, entry: Entry) -> Axis:
    if name in _RESERVED:
        raise entry.wrong("the name is taken by a column of every table; give it another")
    numeric = (entry.number("first"), entry.number("last")) if entry.has("first") else None
    if numeric and numeric[0] >= numeric[1]:
        raise entry.wrong("first must be less than last")
    categories = _numbers(*numeric) if numeric else entry.texts("categories", default=None)
    total = entry.text("total", default="")
    subtotals = _subtotals(entry, categories, total)
    axis = Axis(
        name,
        entry.text("title_da"),
        entry.text("title_en"),
        categories,
        total,
        subtotals,
        entry.named_texts("titles_da"),
        numeric,
        entry.flag("of_period", default=False),
    )
    entry.nothing_else()
    if unknown := sorted(set(axis.titles_da) - {*categories, *subtotals, total}):
        raise entry.wrong(f"titles_da names {unknown[0]!r}, which is no category, subtotal or total of it")
    return axis


def _subtotals(entry: Entry, categories: Sequence[str], total: str) -> dict[str, tuple[str, ...]]:
    """Return the leaves of each subtotal, in the axis' order."""
    if not categories or len({*categories, total}) != len(categories) + 1 or "" in categories:
        raise entry.wrong("categories are texts, each once, and other than the total")
    leaves = {category: frozenset([category]) for category in categories}
    taken = {frozenset(categories): total, **{leaf: name for name, leaf in leaves.items()}}
    for name, parts in entry.named_lists("subtotals").items():
        if name in leaves or name == total:
            raise entry.wrong(f"subtotal {name}: the name is a category's or the total's")
        if unknown := [part for part in parts if part not in leaves]:
            raise entry.wrong(f"subtotal {name}: {unknown[0]!r} is neither a category nor a subtotal above it")
        members = frozenset[str]().union(*(leaves[part] for part in parts))
        if len(members) != sum(len(leaves[part]) for part in parts):
            raise entry.wrong(f"subtotal {name}: it sums a category twice")
        if members in taken:
            raise entry.wrong(f"subtotal {name}: it is the same sum as {taken[members] or 'all categories'}")
        leaves[name] = members
        taken[members] = name
    subtotals = list(leaves)[len(categories) :]
    return {name: tuple(leaf for leaf in categories if leaf in leaves[name]) for name in subtotals}


def _numbers(first: int, last: int) -> tuple[str, ...]:
    return (f"≤{first}", *(str(number) for number in range(first + 1, last)), f"≥{last}")


def _table(entry: Entry, axes: Mapping[str, Axis]) -> RegisteredTable:
    table_id = entry.text("id")
    entry.where = f"table {table_id}"
    names = entry.texts("axes", default=None)
    for name in names:
        if name not in axes:
            raise entry.wrong(f"axis {name} is not registered; add [axes.{name}]")
    if not names or len(set(names)) != len(names):
        raise entry.wrong("axes is a list of registered axes, each once")
    table_axes = tuple(axes[name] for name in names)
    margins = entry.flag("margins", default=True)
    for axis in table_axes:
        if margins and not axis.total:
            raise entry.wrong(f"a table with margins needs a total on every axis; axis {axis.name} has none")
    within = _within(entry, names, axes)
    period = entry.choice("period", PeriodType)
    if period is PeriodType.QUARTER and (about := [axis.name for axis in table_axes if axis.of_period]):
        raise entry.wrong(f"a quarter has no axis {about[0]}, which is about the year until now; use year_to_date")
    group = _target_group(entry, {*names, *within})
    notes = [*entry.texts("notes_da")]
    if group:
        notes.append(f"Målgruppe: {group.title_da}, version {group.version}. {' '.join(group.text_da.split())}")
    table = RegisteredTable(
        table_id=table_id,
        version=entry.number("version", at_least=1),
        title_da=entry.text("title_da"),
        title_en=entry.text("title_en"),
        axes=table_axes,
        measures=tuple(_measure(measure) for measure in entry.entries("measure")),
        universe=entry.text("universe"),
        target_group=group.name if group else None,
        target_group_version=group.version if group else 0,
        within=within,
        period=period,
        policy=entry.text("policy"),
        notes_da=tuple(notes),
        margins=margins,
    )
    entry.nothing_else()
    if not table.measures or len({measure.name for measure in table.measures}) != len(table.measures):
        raise entry.wrong("it has at least one [[table.measure]], each of another name")
    return table


def _within(entry: Entry, names: Sequence[str], axes: Mapping[str, Axis]) -> dict[str, tuple[str, ...]]:
    within = entry.named_lists("within")
    for name, leaves in within.items():
        if name not in axes or name in names:
            raise entry.wrong(f"within names {name}, which must be a registered axis that the table does not show")
        known = set(axes[name].categories)
        if not leaves or len(set(leaves)) != len(leaves) or not set(leaves) < known:
            raise entry.wrong(f"within {name} is some, not all, of its categories: {', '.join(axes[name].categories)}")
    return within


def _target_group(entry: Entry, used: Collection[str]) -> TargetGroup | None:
    name = entry.text("target_group", default="")
    if bool(name) != (GROUP in used):
        raise entry.wrong(f"target_group is given exactly when axes or within names {GROUP}")
    try:
        return target_rules.load(name) if name else None
    except target_rules.TargetGroupError as error:
        raise entry.wrong(str(error)) from None


def _measure(entry: Entry) -> Measure:
    unit = entry.choice("unit", Unit)
    name, title_da, column = entry.text("name"), entry.text("title_da"), entry.text("column")
    denominator = entry.text("denominator", default="") or None
    entry.nothing_else()
    if (denominator is not None) != (unit in (Unit.SHARE, Unit.MEAN, Unit.MEAN_ORE)):
        raise entry.wrong(f"measure {name}: shares and means have a denominator, counts and amounts none")
    return Measure(name, title_da, unit, column, denominator)
