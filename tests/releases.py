"""Releases made by hand, for tests of what stores, serves and reads them.

The table: families by group and department. Revision 2 carries a cell of revision 1 and suppresses three; all numbers
are synthetic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date

from linker.disclosure.release import (
    CellStatus,
    DisclosureRecord,
    Release,
    ReleasedAxis,
    ReleasedCell,
    ReleasedMeasure,
    ReleasedTable,
    TableOutcome,
    TableRecord,
)
from linker.tables.registered_table import Axis, Measure, PeriodType, RegisteredTable, Unit

TABLE_ID = "families_by_department"
POLICY_DIGEST = hashlib.sha256(b"policy").hexdigest()
PRIMARY, SECONDARY, CHANGES, LONE = 880_001, 880_002, 880_003, 880_004
"""Internal counts, of sizes that nothing else in a test has."""

_TITLES = {"target": "Målgruppen", "others": "Øvrige", "all": "Alle"}
GROUP = ReleasedAxis("group", "Gruppe", ("target", "others"), (), "all", _TITLES)
DEPARTMENT = ReleasedAxis("department", "Forvaltning", ("SOF", "KFF"), (), "all", {"all": "Alle forvaltninger"})
FAMILIES = ReleasedMeasure("families", "Familier", Unit.COUNT)
MEAN = ReleasedMeasure("mean", "Kr. pr. familie", Unit.MEAN_ORE)
SHARE = ReleasedMeasure("share", "Andel enlige", Unit.SHARE)

Shown = int | float | None | tuple[int | float, int]
"""A published number, None where suppressed, or a carried number with its revision."""


def registered(table_id: str = TABLE_ID, period: PeriodType = PeriodType.YEAR) -> RegisteredTable:
    """Return the definition that the door knows of a table made by `table`."""
    axes = tuple(
        Axis(axis.name, axis.title_da, axis.name, axis.categories, axis.total, {}, axis.titles_da)
        for axis in (GROUP, DEPARTMENT)
    )
    measure = Measure(FAMILIES.name, FAMILIES.title_da, FAMILIES.unit, "families", None)
    return RegisteredTable(
        table_id=table_id,
        version=1,
        title_da="Familier efter forvaltning",
        title_en="Families by department",
        axes=axes,
        measures=(measure,),
        universe="families with children",
        target_group=None,
        target_group_version=0,
        within={},
        period=period,
        policy="standard",
        notes_da=("Barn: under 18 år.",),
        margins=True,
    )


def cell(place: tuple[str, ...], measure: str, shown: Shown) -> ReleasedCell:
    """Return a cell that shows this."""
    match shown:
        case None:
            return ReleasedCell(place, measure, CellStatus.SUPPRESSED, None)
        case (value, revision):
            return ReleasedCell(place, measure, CellStatus.CARRIED, value, revision)
    return ReleasedCell(place, measure, CellStatus.PUBLISHED, shown)


NUMBERS: Mapping[tuple[str, str], Shown] = {
    ("target", "SOF"): 12,
    ("target", "KFF"): None,
    ("target", "all"): 15,
    ("others", "SOF"): 200,
    ("others", "KFF"): None,
    ("others", "all"): 241,
    ("all", "SOF"): 212,
    ("all", "KFF"): 44,
    ("all", "all"): 256,
}


def table(
    numbers: Mapping[tuple[str, str], Shown] = NUMBERS,
    *,
    table_id: str = TABLE_ID,
    period: str = "2014",
    revision: int = 1,
    reference_date: date = date(2015, 1, 1),
    measure: ReleasedMeasure = FAMILIES,
) -> ReleasedTable:
    """Return a table of groups by departments that shows these numbers."""
    return ReleasedTable(
        release_id="",
        table_id=table_id,
        version=1,
        revision=revision,
        title_da="Familier efter forvaltning",
        title_en="Families by department",
        universe="families with children",
        notes_da=("Barn: under 18 år.",),
        period=period,
        reference_date=reference_date,
        axes=(GROUP, DEPARTMENT),
        measures=(measure,),
        cells=tuple(cell(place, measure.name, shown) for place, shown in numbers.items()),
        digest="",
    ).sealed()


def revised(revision: int = 2) -> ReleasedTable:
    """Return a later revision: the total is one more, and (target, SOF) carries revision 1."""
    numbers = {**NUMBERS, ("all", "all"): 257, ("others", "all"): None, ("target", "SOF"): (12, 1)}
    return table(numbers, revision=revision, reference_date=date(2015, 2, 1))


def release(*tables: ReleasedTable, follows: str = "", basis: bytes = b"what was known") -> Release:
    """Return a release of tables, with a record whose internal counts are easy to find."""
    content = "".join([follows, *(each.digest for each in tables)])
    release_id = hashlib.sha256(content.encode()).hexdigest()[:32]
    records = {}
    for each in tables:
        count = [entry.status for entry in each.cells].count
        shown = (count(CellStatus.PUBLISHED), count(CellStatus.CARRIED), count(CellStatus.SUPPRESSED))
        records[each.table_id] = TableRecord(len(each.cells), *shown, PRIMARY, SECONDARY, CHANGES)
    return Release(
        release_id=release_id,
        period=tables[0].period,
        reference_date=tables[0].reference_date,
        policy_digest=POLICY_DIGEST,
        tables=tuple(ReleasedTable.from_content(each.content(), release_id) for each in tables),
        outcomes=tuple(TableOutcome(each.table_id, release_id, "released") for each in tables),
        coverage=(),
        record=DisclosureRecord(records, {"outsider": 1, "lone contributor": LONE}, 700, 30, 0, 0, 1.5),
        basis=basis,
        follows=follows,
    )
