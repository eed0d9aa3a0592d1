from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import product

import pytest

from kinlink.cli.table_text import render
from kinlink.cli.table_words import number
from kinlink.released import Axis, Cell, Measure, Table, TableDefinition


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1353, "count", "1.353"),
        (11_300_000, "mean_ore", "113.000 kr."),
        (11_300_050, "mean_ore", "113.001 kr."),
        (-49, "amount_ore", "0 kr."),
        (-12_345_678, "amount_ore", "-123.457 kr."),
        (0.6912, "share", "69,1 %"),
        (2.2108, "mean", "2,21"),
        (None, "count", ".."),
        (0, "count", "0"),
    ],
)
def test_number_is_written_the_danish_way(value: float | None, unit: str, text: str) -> None:
    assert number(value, unit).replace("\u00a0", " ") == text


GROUP = Axis("group", "Gruppe", ("target", "others"), (), "all", {"target": "Målgruppen", "all": "Alle"})
DEPARTMENT = Axis("department", "Forvaltning", ("SOF", "KFF"), (), "all", {"all": "Alle forvaltninger"})
TYPE = Axis("type", "Type", ("offer", "transfer"), ("sum",), "all", {"offer": "Tilbud", "all": "I alt"})
AREA = Axis("area", "Område", ("general", "special"), (), "all", {"general": "Almen", "all": "Alle områder"})


def table(axes: list[Axis], values: dict[tuple[str, ...], int | None], default: int = 100) -> Table:
    places = product(*(axis.names for axis in axes))
    cells = [
        Cell(place, "families", *(("suppressed", None, 0) if value is None else ("published", value, 1)))
        for place, value in ((place, values.get(place, default)) for place in places)
    ]
    definition = TableDefinition("t", 1, "En tabel", "A table", "families", ["Familie: en note."], ["2014"])
    return Table(
        definition, "id", "00", "2014", 1, date(2015, 1, 1), datetime(2015, 6, 1, tzinfo=UTC), axes,
        [Measure("families", "Familier", "count")], cells,
    )  # fmt: skip


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_first_axis_goes_across_and_zero_rows_are_left_out() -> None:
    nothing = {(group, "KFF"): 0 for group in GROUP.names}
    found = lines(render(table([GROUP, DEPARTMENT], nothing), 100))
    assert ["Forvaltning", "Målgruppen", "others", "Alle"] in found
    assert ["SOF", "100", "100", "100"] in found
    assert not any(line[:1] == ["KFF"] for line in found)
    assert ["-", "Rækker,", "hvor", "alt", "er", "0,", "er", "udeladt."] in found


def test_suppressed_row_is_shown() -> None:
    hidden = {(group, "KFF"): None for group in GROUP.names}
    assert ["KFF", "..", "..", ".."] in lines(render(table([GROUP, DEPARTMENT], hidden), 100))


def test_row_of_carried_zeros_is_shown() -> None:
    whole = table([GROUP, DEPARTMENT], {})
    cells = [
        replace(cell, status="carried", value=0, revision=1) if cell.categories[1] == "KFF" else cell
        for cell in whole.cells
    ]
    assert ["KFF", *["0", "r1"] * 3] in lines(render(replace(whole, cells=cells), 100))


def test_axis_that_is_too_wide_goes_down() -> None:
    wide = Axis("n", "Antal", tuple(f"number-{n}" for n in range(30)), (), "all", {})
    found = lines(render(table([wide, DEPARTMENT], {}), 100))
    assert ["Antal", "SOF", "KFF", "Alle", "forvaltninger"] in found or ["number-0", "100", "100", "100"] in found


def test_total_over_one_category_and_division_of_sums_are_left_out_of_long_tables() -> None:
    empty = {(*place, "general"): 0 for place in product(GROUP.names, DEPARTMENT.names, ["transfer"])}
    found = lines(render(table([GROUP, DEPARTMENT, TYPE, AREA], empty), 100))
    assert ["transfer", "special", "100", "100", "100"] in found
    assert not any(line[:1] == ["transfer"] and "Alle" in line for line in found)
    assert found.count(["I", "alt", "Alle", "områder", "100", "100", "100"]) == 3
    assert not any(line[:3] == ["I", "alt", "Almen"] for line in found)


def test_table_wider_than_the_page_is_not_cut_short() -> None:
    text = render(table([GROUP, DEPARTMENT], {}, default=10**60), 80)
    assert "…" not in text
    assert max(map(len, text.splitlines())) > 80
