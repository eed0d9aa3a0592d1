"""Which tables exist: the closed list, read from `registry.toml`.

1. A table is fixed before any data are seen: axes, measures, universe, notes. Tables
   that name the same axis share its categories and levels.
2. A level maps each registered category to the group it is shown in. Level 0 is the
   identity; the others are candidates of the disclosure gate, tried by it in an order
   that does not depend on data.
3. A numeric axis from `first` to `last` has the categories "≤first", first+1, …,
   "≥last". Its levels merge i categories into the lower end and j into the upper one,
   for all i and j, fewest merges first (tails are where few families are); the last drops the axis.
4. It does not know how contributions are computed, nor which level is shown.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import polars as pl

from linker.tables import target_rules
from linker.tables.target_rules import TargetGroup

AXIS_TOTAL = "total"
# Columns that every released table has beside its axes.
_RESERVED = frozenset({"contributor", "measure", "unit", "status", "integer", "real", "value"})


class Unit(StrEnum):
    """What a measure's number is."""

    COUNT = "count"
    AMOUNT_ORE = "amount_ore"
    MEAN_ORE = "mean_ore"
    SHARE = "share"
    MEAN = "mean"


class RegistryError(ValueError):
    """The registry contradicts itself; names table or axis and what is wrong."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One way of dividing a table.

    `total` is the name of the sum over all categories, empty when there is none.
    `subtotals` name sums over some categories. `levels[k]` maps every category to its
    group at level k, or to `total` when the level drops the axis. `titles_da` has a
    Danish name for categories, groups, subtotals and total; a missing one is the code.
    """

    name: str
    title_da: str
    title_en: str
    categories: tuple[str, ...]
    total: str
    levels: tuple[Mapping[str, str], ...]
    subtotals: Mapping[str, tuple[str, ...]]
    titles_da: Mapping[str, str]
    numeric: tuple[int, int] | None = None

    def groups(self, level: int) -> tuple[str, ...]:
        """Return the groups shown at `level`, in order; none when the level drops the axis."""
        mapping = self.levels[level]
        return tuple(dict.fromkeys(mapping[name] for name in self.categories if mapping[name] != self.total))

    def category(self, number: pl.Expr) -> pl.Expr:
        """Return the category (String) of an integer expression, on a numeric axis.

        Raises:
            RegistryError: the axis is not numeric.
        """
        if self.numeric is None:
            raise RegistryError(f"axis {self.name} is not numeric")
        first, last = self.numeric
        return (
            pl.when(number <= first)
            .then(pl.lit(self.categories[0]))
            .when(number >= last)
            .then(pl.lit(self.categories[-1]))
            .otherwise(number.cast(pl.String))
        )


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of each cell.

    `column` is summed over the contributions of the cell. A share or mean divides by
    `denominator`: a column of the contributions, or, when the table has denominator
    axes, the number of contributors in the families frame. A count or amount has none.
    """

    name: str
    title_da: str
    unit: Unit
    column: str
    denominator: str | None


@dataclass(frozen=True, slots=True)
class RegisteredTable:
    """A table's definition.

    With `margins` every total is shown as well, and no cell may be withheld alone. Without
    them nothing sums to a cell, and unsafe cells are withheld one by one.
    """

    table_id: str
    version: int
    title_da: str
    title_en: str
    axes: tuple[Axis, ...]
    measures: tuple[Measure, ...]
    universe: str
    target_group: str | None
    denominator_axes: tuple[str, ...]
    notes_da: tuple[str, ...]
    margins: bool
    target_group_version: int = 0

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that contributions must have beside `contributor` and the axes."""
        names = [measure.column for measure in self.measures]
        if not self.denominator_axes:
            names += [measure.denominator for measure in self.measures if measure.denominator]
        return tuple(dict.fromkeys(names))

    @property
    def universe_text(self) -> str:
        """The universe in words, with the target group's name and version."""
        if self.target_group is None:
            return self.universe
        return f"{self.universe}; target group {self.target_group} version {self.target_group_version}"

    def axis(self, name: str) -> Axis:
        """Return the axis called `name`; KeyError when the table has none."""
        return {axis.name: axis for axis in self.axes}[name]


def load(path: Path) -> tuple[RegisteredTable, ...]:
    """Read the registry, in the file's order; a target group's definition joins the table's notes.

    Raises:
        RegistryError: an unknown axis, category, unit or target group, a repeated id, a table with margins on an
            axis without total, or a level that a subtotal does not follow.
    """
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    axes = {name: _axis(name, entry) for name, entry in document["axes"].items()}
    tables = tuple(_table(entry, axes) for entry in document["table"])
    ids = [table.table_id for table in tables]
    if len(set(ids)) != len(ids):
        raise RegistryError("a table id is given twice")
    return tables


def _axis(name: str, entry: Mapping[str, Any]) -> Axis:
    total = entry.get("total", "")
    numeric = (int(entry["first"]), int(entry["last"])) if "first" in entry else None
    categories = _numbers(*numeric) if numeric else tuple(entry["categories"])
    identity = {category: category for category in categories}
    merges = (
        _end_merges(*numeric, total)
        if numeric
        else [_level(name, identity, total, level) for level in entry.get("levels", [])]
    )
    subtotals = {key: tuple(parts) for key, parts in entry.get("subtotals", {}).items()}
    levels = (identity, *merges)
    if name in _RESERVED:
        raise RegistryError(f"axis {name}: the name is taken")
    if any(set(parts) - set(categories) for parts in subtotals.values()):
        raise RegistryError(f"axis {name}: a subtotal names a category that is not registered")
    for mapping in levels:
        for parts in subtotals.values():
            inside = {mapping[part] for part in parts}
            outside = {group for category, group in mapping.items() if category not in parts}
            if inside & outside:
                raise RegistryError(f"axis {name}: a level cuts across a subtotal")
    return Axis(
        name,
        entry["title_da"],
        entry["title_en"],
        categories,
        total,
        levels,
        subtotals,
        entry.get("titles_da", {}),
        numeric,
    )


def _level(name: str, identity: Mapping[str, str], total: str, level: str | Mapping[str, list[str]]) -> dict[str, str]:
    if level == AXIS_TOTAL and total:
        return dict.fromkeys(identity, total)
    if isinstance(level, str):
        raise RegistryError(f"axis {name}: a level is groups of categories, or the word total on an axis with a total")
    groups = {member: group for group, members in level.items() for member in members}
    if set(groups) - set(identity) or len(groups) != sum(len(members) for members in level.values()):
        raise RegistryError(f"axis {name}: a level names a category twice, or one that is not registered")
    return {**identity, **groups}


def _numbers(first: int, last: int) -> tuple[str, ...]:
    return (f"≤{first}", *(str(number) for number in range(first + 1, last)), f"≥{last}")


def _end_merges(first: int, last: int, total: str) -> list[dict[str, str]]:
    """Return all ways to merge i + 1 categories below and j + 1 above, i + j > 0, fewest first; then no axis."""
    categories = _numbers(first, last)
    merges = [(i, j) for i in range(last - first) for j in range(last - first - i) if i + j]
    levels = []
    for i, j in sorted(merges, key=lambda merge: (sum(merge), merge[1])):
        level = {category: category for category in categories}
        level.update(dict.fromkeys(categories[: i + 1], f"≤{first + i}"))
        level.update(dict.fromkeys(categories[len(categories) - j - 1 :], f"≥{last - j}"))
        levels.append(level)
    return [*levels, dict.fromkeys(categories, total)]


def _table(entry: Mapping[str, Any], axes: Mapping[str, Axis]) -> RegisteredTable:
    table_id, margins = entry["id"], entry.get("margins", True)
    unknown = [name for name in entry["axes"] if name not in axes]
    if unknown:
        raise RegistryError(f"table {table_id}: axis {unknown[0]} is not registered")
    table_axes = tuple(axes[name] for name in entry["axes"])
    if margins and not all(axis.total for axis in table_axes):
        raise RegistryError(f"table {table_id}: a table with margins needs a total on every axis")
    denominator_axes = tuple(entry.get("denominator_axes", ()))
    if set(denominator_axes) - set(entry["axes"]):
        raise RegistryError(f"table {table_id}: a denominator axis is not an axis of the table")
    target_group, notes = entry.get("target_group"), list(entry.get("notes_da", ()))
    group = _target_group(table_id, target_group) if target_group else None
    if group:
        notes.append(f"Målgruppe: {group.title_da}, version {group.version}. {' '.join(group.text_da.split())}")
    return RegisteredTable(
        table_id=table_id,
        version=int(entry["version"]),
        title_da=entry["title_da"],
        title_en=entry["title_en"],
        axes=table_axes,
        measures=tuple(_measure(table_id, measure) for measure in entry["measure"]),
        universe=entry["universe"],
        target_group=target_group,
        denominator_axes=denominator_axes,
        notes_da=tuple(notes),
        margins=margins,
        target_group_version=group.version if group else 0,
    )


def _target_group(table_id: str, name: str) -> TargetGroup:
    try:
        return target_rules.load(name)
    except target_rules.TargetGroupError as error:
        raise RegistryError(f"table {table_id}: {error}") from None


def _measure(table_id: str, entry: Mapping[str, Any]) -> Measure:
    try:
        unit = Unit(entry["unit"])
    except ValueError:
        raise RegistryError(f"table {table_id}: a unit is one of {', '.join(Unit)}") from None
    denominator = entry.get("denominator")
    if (denominator is not None) != (unit in (Unit.SHARE, Unit.MEAN, Unit.MEAN_ORE)):
        raise RegistryError(f"table {table_id}: shares and means have a denominator, counts and amounts none")
    return Measure(entry["name"], entry["title_da"], unit, entry["column"], denominator)
