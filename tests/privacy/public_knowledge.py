"""What everybody can know of released tables: the registry's definitions, the cells as they are shown, arithmetic.

Nothing here is told by the linker's own linking or suppression. A number is a *term*: a column summed over a region,
which is a set of leaves on some axes (`month` is one of them where amounts flow through a year). A world is all that
is said of the data behind one release.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product

from linker.disclosure.release import CellStatus, ReleasedTable
from linker.tables.registered_table import Axis, RegisteredTable, Unit

Region = tuple[tuple[str, frozenset[str]], ...]
Term = tuple[str, Region]
Rational = int | Fraction


@dataclass(frozen=True, slots=True)
class Column:
    """What everybody knows of a column: where it can be looked at, what it can hold, where nothing can be."""

    axes: Mapping[str, Sequence[str]]
    counted: bool
    nonnegative: bool
    impossible: tuple[Region, ...] = ()


@dataclass(frozen=True, slots=True)
class Statement:
    """A sum of terms lies between two numbers, which are equal where it is told exactly; None is no bound."""

    terms: Mapping[Term, Rational]
    low: Rational | None
    high: Rational | None


@dataclass(frozen=True, slots=True)
class World:
    """What is said of the data behind one release, and of which columns."""

    columns: Mapping[str, Column]
    statements: list[Statement] = field(default_factory=list)

    def told(self, *more: Statement) -> World:
        """Return the world to somebody who knows more."""
        return World(self.columns, [*self.statements, *more])


def region(parts: Mapping[str, Iterable[str]]) -> Region:
    """Return the region of these leaves, in the one way to write it."""
    return tuple(sorted((axis, frozenset(leaves)) for axis, leaves in parts.items()))


def months(period: str) -> frozenset[str]:
    """Return the months of a period as it is written: 2014, 2014M01-06, 2014Q2."""
    match = re.fullmatch(r"(\d{4})(?:M01-(\d\d)|Q([1-4]))?", period)
    assert match, period
    last = int(match[2]) if match[2] else 3 * int(match[3]) if match[3] else 12
    first = last - 2 if match[3] else 1
    return frozenset(f"{match[1]}-{month:02}" for month in range(first, last + 1))


def leaves_of(axis: Axis, name: str, within: Mapping[str, Sequence[str]]) -> frozenset[str]:
    """Return the leaves that a category, subtotal or total of an axis sums."""
    kept = frozenset(within.get(axis.name, axis.categories))
    if name == axis.total:
        return kept
    return kept & frozenset(axis.subtotals.get(name, (name,)))


def equal(term: Term, value: Rational) -> Statement:
    """Return that a term is known."""
    return Statement({term: 1}, value, value)


def ratio(above: Term, below: Term, shown: float, half: Fraction) -> list[Statement]:
    """Return what a rounded ratio tells: it is linear in numerator and denominator, whether they are shown or not."""
    value = Fraction(str(shown))
    return [
        Statement({above: 1, below: -(value - half)}, 0, None),
        Statement({above: 1, below: -(value + half)}, None, 0),
    ]


def atoms(columns: Mapping[str, Column], terms: Iterable[Term]) -> dict[str, list[dict[str, str]]]:
    """Return for each column the finest combinations that can be told apart: leaves, months merged where all merge."""
    used: dict[str, list[Region]] = {}
    for column, where in terms:
        used.setdefault(column, []).append(where)
    found: dict[str, list[dict[str, str]]] = {}
    for column, regions in used.items():
        axes = columns[column].axes
        kinds = {}
        for axis, leaves in axes.items():
            sets = sorted({names for where in regions for name, names in where if name == axis}, key=sorted)
            alike = {tuple(leaf in names for names in sets): leaf for leaf in reversed(leaves)}
            kinds[axis] = {leaf: alike[tuple(leaf in names for names in sets)] for leaf in leaves}
        nobody = columns[column].impossible
        every = (dict(zip(axes, each, strict=True)) for each in product(*axes.values()))
        possible = (atom for atom in every if not any(holds(where, atom) for where in nobody))
        merged = {tuple(kinds[axis][leaf] for axis, leaf in atom.items()): None for atom in possible}
        found[column] = [dict(zip(axes, each, strict=True)) for each in merged]
    return found


def holds(where: Region, atom: Mapping[str, str]) -> bool:
    """Say whether a region holds an atom."""
    return all(atom[axis] in leaves for axis, leaves in where)


def term(
    columns: Mapping[str, Column], table: RegisteredTable, period: str, column: str, categories: Sequence[str]
) -> Term:
    """Return what a column sums in a cell; an axis that the column does not have does not restrict it."""
    axes = columns[column].axes
    parts = {name: frozenset(leaves) for name, leaves in table.within.items() if name in axes}
    for axis, name in zip(table.axes, categories, strict=True):
        if axis.name in axes:
            parts[axis.name] = leaves_of(axis, name, table.within)
    if "month" in axes:
        parts["month"] = months(period)
    return column, region(parts)


def statements(columns: Mapping[str, Column], table: ReleasedTable, registered: RegisteredTable) -> list[Statement]:
    """Return what the shown cells of a table tell of the data behind it; a carried value tells of other data."""
    return _statements(columns, table, registered, {0: CellStatus.PUBLISHED}, 0)


def carried(
    columns: Mapping[str, Column], table: ReleasedTable, registered: RegisteredTable, revision: int
) -> list[Statement]:
    """Return what the carried cells of a table tell of the data behind an earlier revision."""
    return _statements(columns, table, registered, {revision: CellStatus.CARRIED}, revision)


def _statements(
    columns: Mapping[str, Column],
    table: ReleasedTable,
    registered: RegisteredTable,
    wanted: Mapping[int, CellStatus],
    revision: int,
) -> list[Statement]:
    measures = {measure.name: measure for measure in registered.measures}
    found = []
    for cell in table.cells:
        if cell.revision != revision or cell.status is not wanted[revision]:
            continue
        measure = measures[cell.measure]
        assert cell.value is not None
        above = term(columns, registered, table.period, measure.column, cell.categories)
        if measure.denominator is None:
            assert isinstance(cell.value, int)
            found.append(equal(above, cell.value))
        else:
            below = term(columns, registered, table.period, measure.denominator, cell.categories)
            half = Fraction(1, 2) if measure.unit is Unit.MEAN_ORE else Fraction(1, 20_000)
            found += ratio(above, below, cell.value, half)
    return found


def worlds(
    releases: Sequence[Sequence[ReleasedTable]],
    columns: Mapping[str, Column],
    registry: Mapping[str, RegisteredTable],
    common: Sequence[Statement] = (),
) -> list[World]:
    """Return what is told of the data behind each release, oldest first, by all releases together."""
    found = [World(columns, list(common)) for _ in releases]
    made = {
        (table.table_id, table.period, table.revision): number
        for number, tables in enumerate(releases)
        for table in tables
    }
    for number, tables in enumerate(releases):
        for table in tables:
            registered = registry[table.table_id]
            found[number].statements.extend(statements(columns, table, registered))
            for revision in sorted({cell.revision for cell in table.cells} - {0}):
                then = found[made[table.table_id, table.period, revision]]
                then.statements.extend(carried(columns, table, registered, revision))
    return found
