"""What a reader of a released table must know, in Danish: numbers, periods, statuses, footnotes.

Amounts are whole kroner, shares per cent with one decimal, means with two. ".." is a suppressed cell; "12 r1" a number
carried from revision 1. No word tells why a cell is suppressed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod

from kinlink.cli.table_layout import MANY
from kinlink.released import Cell, Table

SUPPRESSED = ".."
NOTHING = "–"
STATUSES = {"published": "vist", "carried": "videreført", "suppressed": "skjult"}
UNITS = {
    "count": "antal",
    "amount_ore": "kr.",
    "mean_ore": "kr. (gennemsnit)",
    "share": "andel",
    "mean": "gennemsnit",
}
_DIVIDED = frozenset({"mean_ore", "share", "mean"})
_MONTHS = (
    "januar februar marts april maj juni juli august september oktober november december".split()  # noqa: SIM905
)
_TO_DATE = re.compile(r"(\d{4})M01-(\d{2})")
_QUARTER = re.compile(r"(\d{4})Q([1-4])")


def number(value: float | None, unit: str) -> str:
    """Return a number the Danish way: 1.353 · 113.000 kr. · 69,1 % · 2,21; None is ".."."""
    if value is None:
        return SUPPRESSED
    match unit:
        case "amount_ore" | "mean_ore":
            return f"{_danish(_kroner(int(value)), 0)}\u00a0kr."
        case "share":
            return f"{_danish(value * 100, 1)}\u00a0%"
        case "mean":
            return _danish(value, 2)
    return _danish(value, 0)


def writer(table: Table) -> Callable[[Cell], str]:
    """Return how the cells of a table are written: a carried number is followed by its revision."""
    units = {measure.name: measure.unit for measure in table.measures}

    def written(cell: Cell) -> str:
        return number(cell.value, units[cell.measure]) + mark(cell)

    return written


def mark(cell: Cell) -> str:
    """Return what follows a carried number, and nothing for others."""
    return f"\u00a0r{cell.revision}" if cell.status == "carried" else ""


def title(table: Table) -> str:
    """Return the table's title with its period, and its revision when it is not the first."""
    revision = f", revision {table.revision}" if table.revision > 1 else ""
    return f"{table.definition.title_da}, {period(table.period)}{revision}"


def period(name: str) -> str:
    """Return a period in words: 2014 · januar–juni 2014 · 2. kvartal 2014; another name as it is."""
    if found := _TO_DATE.fullmatch(name):
        year, month = found[1], int(found[2])
        if not 1 <= month <= len(_MONTHS):
            return name
        return f"januar {year}" if month == 1 else f"januar–{_MONTHS[month - 1]} {year}"
    if found := _QUARTER.fullmatch(name):
        return f"{found[2]}. kvartal {found[1]}"
    return name


def footnotes(table: Table) -> list[str]:
    """Return what must be said of the signs that the table has, and of nothing else."""
    notes = []
    if any(cell.status == "suppressed" for cell in table.cells):
        divided = any(measure.unit in _DIVIDED for measure in table.measures)
        notes += [
            f"{SUPPRESSED} betyder, at tallet findes, men ikke vises af hensyn til de berørte. Det er ikke 0."
            + (" Det står også, hvor gruppen er tom, så der ikke er et gennemsnit eller en andel." if divided else ""),
            "Skjulte tal mangler, når viste tal lægges sammen. Brug tabellens egne totaler.",
        ]
    carried = sorted({cell.revision for cell in table.cells if cell.status == "carried"})
    if carried:
        said = " og ".join(f"r{revision} fra revision {revision}" for revision in carried)
        notes += [
            f"Et tal med r er videreført: {said}. Det nuværende tal vises ikke; det kan være det samme eller et andet.",
            "Videreførte og nye tal er fra hver sin opgørelse og kan ikke lægges sammen eller trækkes fra hinanden.",
        ]
    return notes


def omissions(table: Table) -> list[str]:
    """Return what a layout leaves out or has no number for."""
    notes = []
    if len(table.cells) < len(table.measures) * prod(len(axis.names) for axis in table.axes):
        notes.append(f"{NOTHING} betyder, at der ikke er noget tal, fx ved en kilde, der ikke leverer beløb.")
    if any(cell.value == 0 for cell in table.cells):
        notes.append("Rækker, hvor alt er 0, er udeladt.")
    if len(table.axes) > MANY:
        notes.append("Gentagelser og opdeling af totaler er udeladt her; de findes i de andre formater.")
    return notes


def _kroner(ore: int) -> int:
    whole = (abs(ore) + 50) // 100
    return whole if ore >= 0 else -whole


def _danish(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}".translate(str.maketrans(",.", ".,"))
