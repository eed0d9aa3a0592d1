"""The example of how a table with hidden numbers is read: does the real gate release just those two tables?"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from linker.disclosure.facts import FactFrame
from linker.disclosure.release import CellStatus, Release
from tests.unit import gate_fixtures as g

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = (DOCS / "how-to" / "read-a-suppressed-table.md", DOCS / "da" / "laes-en-tabel-med-skjulte-tal.md")
DEPARTMENTS, DISTRICTS = ("SOF", "BIF", "KFF"), ("Nord", "Syd", "Vest")
TABLE = g.table("t", [g.axis("department", DEPARTMENTS), g.axis("district", DISTRICTS)], g.FAMILIES)
FIRST = {"SOF": (41, 38, 27), "BIF": (3, 52, 41), "KFF": (19, 19, 11)}
SECOND = {**FIRST, "SOF": (48, 39, 29)}


def facts(counts: dict[str, tuple[int, ...]]) -> FactFrame:
    """Return families that keep their number from month to month; new ones get new numbers."""
    rows = []
    for line, department in enumerate(DEPARTMENTS):
        for column, district in enumerate(DISTRICTS):
            start = 1_000 * (10 * line + column)
            rows += [(start + each, department, district, 1) for each in range(counts[department][column])]
    return g.facts("families", ["department", "district"], ["families"], rows)


def printed(release: Release) -> list[list[str]]:
    """Return the rows of a released table as the page writes them, without their names."""
    cells = g.cells(release)
    rows = []
    for department in (*DEPARTMENTS, "all"):
        row = []
        for district in (*DISTRICTS, "all"):
            cell = cells[department, district]
            mark = f" r{cell.revision}" if cell.status is CellStatus.CARRIED else ""
            row.append(".." if cell.value is None else f"{cell.value}{mark}")
        rows.append(row)
    return rows


def examples(page: Path) -> list[list[list[str]]]:
    """Return the tables of a page, without headings and names of rows."""
    fences = re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    tables = [fence.splitlines()[1:] for fence in fences if "SOF" in fence]
    number = re.compile(r"\.\.|\d+(?: r\d+)?")
    return [[number.findall(line) for line in lines] for lines in tables]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_example_is_what_the_gate_releases(page: Path) -> None:
    first = g.protect(TABLE, facts(FIRST))
    second = g.protect(TABLE, facts(SECOND), history=[g.past(first)], reference_date=date(2015, 2, 1))
    assert examples(page) == [printed(first), printed(second)]


def test_example_fits_every_number_that_the_page_says_it_fits() -> None:
    """The hidden four follow from one of them by the shown numbers; the last column's total then holds for all."""
    fits = []
    for bif_north in range(100):
        bif_west = 96 - 52 - bif_north
        kff_north = 63 - 41 - bif_north
        kff_west = 49 - 19 - kff_north
        hidden = (bif_north, bif_west, kff_north, kff_west)
        if min(hidden) >= 0 and 27 + bif_west + kff_west == 79:
            fits.append(bif_north)
            assert hidden == (bif_north, 44 - bif_north, 22 - bif_north, 8 + bif_north)
    assert fits == list(range(23))
