"""Statistical tables for those who have the rows: made of the same coded rows, so that adding up tells nothing new.

1. They are a function of the rows that are shown and of the policy's bands, of nothing else.
2. A band of the total stands for one amount: its middle (of the logarithm from the second band on); the top band for
   one and a half times its start; below the first start is nothing. Rounded amounts stand for themselves, and a hidden
   total for the mean of those shown.
3. All cells are shown: each is a sum of rows, and no row is one family's alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise, product

import polars as pl

from linker.disclosure.family_table.columns import HIDDEN, SOME, TOTAL, Bands
from linker.disclosure.family_table.rounding import SUFFIX
from linker.disclosure.release import CellStatus, ReleasedAxis, ReleasedCell, ReleasedMeasure, ReleasedTable
from linker.tables.registered_table import Axis, Unit

_STEP_ORE = 100_000
_HIDDEN_DA = "Skjult"
_ALL_DA = "I alt"
_SOME_DA = "Beløb, størrelsen er skjult"
_NOTE = "Beregnet af familietabellens kodede rækker, ikke af de præcise tal: for den, som har familietabellen."
_AMOUNT_NOTE = "Et interval regnes som sin midte, og et skjult beløb som gennemsnittet; tallene er derfor tilnærmede."
UNIVERSE = "families with children, from the coded rows of the family table"


@dataclass(frozen=True, slots=True)
class Definition:
    """What a coded table is, before there are any."""

    table_id: str
    title_da: str
    title_en: str
    notes_da: tuple[str, ...]
    version: int = 1


CODED_FAMILIES = Definition(
    "coded_families",
    "Børnefamilier og deres nettoudgift efter børn og enlig forsørger (kodet)",
    "Families and their net spending by children and single provider (coded)",
    (_NOTE, _AMOUNT_NOTE),
)
CODED_DEPARTMENTS = Definition(
    "coded_departments",
    "Børnefamilier efter forvaltning og nettoudgiftens interval (kodet)",
    "Families by department and band of net spending (coded)",
    (_NOTE,),
)
DEFINITIONS = (CODED_FAMILIES, CODED_DEPARTMENTS)

_CHILDREN = ReleasedAxis(
    "children", "Hjemmeboende børn", ("1", "2", "≥3", HIDDEN), (), "all", {HIDDEN: _HIDDEN_DA, "all": _ALL_DA}
)
_SINGLE = ReleasedAxis(
    "single_provider",
    "Enlig forsørger",
    ("yes", "no", HIDDEN),
    (),
    "all",
    {"yes": "Ja", "no": "Nej", HIDDEN: _HIDDEN_DA, "all": _ALL_DA},
)
_FAMILIES = ReleasedMeasure("families", "Familier", Unit.COUNT)


def totals_ore(coded: pl.DataFrame, bands: Bands) -> pl.Series:
    """Return the øre (Int64) that each row's total stands for."""
    if TOTAL + SUFFIX in coded.columns:
        known = coded[TOTAL + SUFFIX] * 100
    else:
        known = coded[TOTAL].replace_strict(_stands_for_ore(bands), default=None, return_dtype=pl.Int64)
    mean = known.cast(pl.Float64).mean()
    return known.fill_null(0 if mean is None else round(mean)).alias(TOTAL)  # type: ignore[arg-type]


def _stands_for_ore(bands: Bands) -> dict[str, int]:
    found = {bands.labels[0]: 0}
    for place, (low, high) in enumerate(pairwise(bands.starts_ore)):
        middle = (low + high) / 2 if place == 0 or low <= 0 else (high - low) / math.log(high / low)
        found[bands.labels[place + 1]] = round(middle)
    return {**found, bands.labels[-1]: bands.starts_ore[-1] * 3 // 2}


def coded_tables(
    coded: pl.DataFrame,
    totals: pl.Series,
    bands: Bands,
    department: Axis | None,
    period: str,
    reference_date: date,
) -> tuple[ReleasedTable, ...]:
    """Return the tables of coded rows; `totals` as `totals_ore`, of the same rows."""
    families = _families(coded.select("children", "single_provider", totals), period, reference_date)
    if department is None:
        return (families,)
    return families, _departments(coded, bands, department, period, reference_date)


def _families(rows: pl.DataFrame, period: str, reference_date: date) -> ReleasedTable:
    axes = (_CHILDREN, _SINGLE)
    groups = list(rows.group_by("children", "single_provider").agg(pl.len(), pl.col(TOTAL).sum()).iter_rows())
    counts = _summed({(first, second): count for first, second, count, _ in groups}, axes)
    amounts = _summed(
        {(first, second): (amount + _STEP_ORE // 2) // _STEP_ORE * _STEP_ORE for first, second, _, amount in groups},
        axes,
    )
    measures = (
        _FAMILIES,
        ReleasedMeasure("amount", "Nettoudgift", Unit.AMOUNT_ORE),
        ReleasedMeasure("amount_per_family", "Nettoudgift pr. familie", Unit.MEAN_ORE),
    )
    cells: list[ReleasedCell] = []
    for key, count in counts.items():
        mean = (2 * amounts[key] + count) // (2 * count) if count else 0
        numbers = (count, amounts[key], mean)
        cells += [
            ReleasedCell(key, measure.name, CellStatus.PUBLISHED, number)
            for measure, number in zip(measures, numbers, strict=True)
        ]
    return _table(CODED_FAMILIES, axes, measures, cells, period, reference_date)


def _departments(
    coded: pl.DataFrame, bands: Bands, department: Axis, period: str, reference_date: date
) -> ReleasedTable:
    # A family may use several departments: they do not add up, so the axis has no total.
    first = ReleasedAxis(
        department.name, department.title_da, department.categories, (), "", dict(department.titles_da)
    )
    titles = {HIDDEN: _HIDDEN_DA, SOME: _SOME_DA, "all": _ALL_DA}
    second = ReleasedAxis("band", "Nettoudgift, kr.", (*bands.labels, SOME, HIDDEN), (), "all", titles)
    cells: list[ReleasedCell] = []
    for code in first.categories:
        counts: dict[str, int] = dict(coded.group_by(f"{TOTAL}_{code}").len().iter_rows())
        numbers = {**{band: counts.get(band, 0) for band in second.categories}, second.total: coded.height}
        cells += [
            ReleasedCell((code, band), _FAMILIES.name, CellStatus.PUBLISHED, number) for band, number in numbers.items()
        ]
    return _table(CODED_DEPARTMENTS, (first, second), (_FAMILIES,), cells, period, reference_date)


def _summed(
    leaves: Mapping[tuple[str, str], int], axes: tuple[ReleasedAxis, ReleasedAxis]
) -> dict[tuple[str, ...], int]:
    """Return all cells in order, margins included."""
    found: dict[tuple[str, ...], int] = dict.fromkeys(product(*((*axis.categories, axis.total) for axis in axes)), 0)
    for (first, second), number in leaves.items():
        for key in product((first, axes[0].total), (second, axes[1].total)):
            found[key] += number
    return found


def _table(
    what: Definition,
    axes: tuple[ReleasedAxis, ...],
    measures: tuple[ReleasedMeasure, ...],
    cells: Sequence[ReleasedCell],
    period: str,
    reference_date: date,
) -> ReleasedTable:
    return ReleasedTable(
        release_id="",
        table_id=what.table_id,
        version=what.version,
        revision=1,
        title_da=what.title_da,
        title_en=what.title_en,
        universe=UNIVERSE,
        notes_da=what.notes_da,
        period=period,
        reference_date=reference_date,
        axes=axes,
        measures=measures,
        cells=tuple(cells),
        digest="",
    ).sealed()
