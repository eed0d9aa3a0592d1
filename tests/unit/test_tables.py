"""Do services, spending, coverage and contributions keep their docstrings?"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linker.families.families import families_with_children
from linker.tables import catalogue, registry
from linker.tables.contributions import UnknownTableError, table_inputs
from linker.tables.coverage import coverage
from linker.tables.periods import distinct_days, months_before, year_period
from linker.tables.services import family_services
from linker.tables.spending import family_spending
from tests.unit.family_rows import facts, members

D = datetime.date
FAMILY = members((1, 1, "adult", 2), (2, 1, "child", 2))
CATALOGUE = facts(
    "catalogue",
    {"service": "post"},
    {"service": "spell", "cost_basis": "spell", "area": "general"},
    {"service": "money", "type": "transfer", "area": None, "department": "BIF"},
    {"service": "office", "type": "administration", "area": None, "counts": False},
    {"service": "job", "type": "status", "area": None, "counts": False, "cost_basis": "none"},
)


def spent(postings: list[dict[str, Any]], spells: list[dict[str, Any]]) -> list[tuple[str, str | None, int]]:
    rows = family_spending(
        FAMILY,
        facts("postings", *({"person_id": 1, "service": "post"} | row for row in postings)),
        facts("spells", *({"person_id": 2, "service": "spell"} | row for row in spells)),
        CATALOGUE,
        2014,
    )
    return sorted(rows.select("type", "area", "amount_ore").collect().rows(), key=str)


@pytest.mark.parametrize(
    ("postings", "expected"),
    [
        pytest.param([{"amount_ore": 700}, {"amount_ore": -200, "dranst": 2}], [("offer", "special", 500)], id="net"),
        pytest.param([{"amount_ore": 700, "dranst": 5}], [], id="not operation"),
        pytest.param([{"amount_ore": 700, "event_month": D(2013, 12, 1)}], [], id="event before the year"),
        pytest.param(
            [{"amount_ore": 700, "event_month": D(2014, 12, 1), "booked_month": D(2015, 1, 1)}],
            [("offer", "special", 700)],
            id="booked late",
        ),
        pytest.param([{"amount_ore": 700}, {"amount_ore": -700}], [], id="reversed"),
        pytest.param(
            [{"amount_ore": 700, "cost_component": "administration"}],
            [("administration", None, 700)],
            id="administration",
        ),
        pytest.param(
            [{"amount_ore": 700, "service": "money", "cost_component": "administration"}],
            [("administration", None, 700)],
            id="administration of a transfer",
        ),
        pytest.param([{"amount_ore": 700, "service": "office"}], [("administration", None, 700)], id="by type"),
        pytest.param(
            [{"amount_ore": 700, "service": "spell"}], [], id="cost by spells: the posting is not counted too"
        ),
        pytest.param([{"amount_ore": 700, "service": "unknown"}], [], id="unknown service"),
        pytest.param([{"amount_ore": 700, "person_id": 9}], [], id="no member"),
        pytest.param([{"amount_ore": 700, "person_id": None}], [], id="nobody"),
    ],
)
def test_spending_sums_postings(postings: list[dict[str, Any]], expected: list[tuple[str, str | None, int]]) -> None:
    assert spent(postings, []) == expected


@pytest.mark.parametrize(
    ("spell", "amount"),
    [
        pytest.param({"start": D(2014, 1, 1), "end": D(2014, 1, 8)}, 700, id="a week"),
        pytest.param({"start": D(2013, 12, 25), "end": D(2014, 1, 2)}, 100, id="a day of the year"),
        pytest.param({"start": D(2014, 12, 31)}, 100, id="open"),
        pytest.param(
            {"start": D(2014, 1, 1), "end": D(2014, 1, 2), "price_per_week_ore": 10}, 1, id="1.43 rounds down"
        ),
        pytest.param({"start": D(2014, 1, 1), "end": D(2014, 1, 2), "price_per_week_ore": 11}, 2, id="1.57 rounds up"),
        pytest.param({"start": D(2014, 1, 1), "end": D(2014, 1, 2), "price_per_week_ore": -11}, -2, id="negative"),
        pytest.param({"start": D(2014, 1, 2), "end": D(2014, 1, 2)}, 0, id="empty"),
        pytest.param({"start": D(2015, 1, 1)}, 0, id="after"),
        pytest.param({"start": D(2014, 1, 1), "end": D(2014, 1, 8), "price_per_week_ore": None}, 0, id="no price"),
        pytest.param({"start": D(2014, 1, 1), "end": D(2014, 1, 8), "service": "post"}, 0, id="cost is posted"),
    ],
)
def test_spending_prices_spells_by_their_days_in_the_year(spell: dict[str, Any], amount: int) -> None:
    expected = [("offer", "general", amount)] if amount else []
    assert spent([], [{"price_per_week_ore": 700} | spell]) == expected


def test_services_count_once_for_a_family_with_any_evidence() -> None:
    postings = facts(
        "postings",
        {"person_id": 1, "service": "post", "amount_ore": 0},
        {"person_id": 2, "service": "post", "amount_ore": 5},
        {"person_id": 1, "service": "office", "amount_ore": 5},
        {"person_id": 1, "service": "unknown", "amount_ore": 5},
        {"person_id": 1, "service": "money", "amount_ore": 5, "event_month": D(2015, 1, 1)},
    )
    spells = facts("spells", {"person_id": 2, "service": "spell"}, {"person_id": 2, "service": "job"})
    found = family_services(FAMILY, postings, spells, CATALOGUE, 2014).sort("service").collect()
    assert found.rows() == [(1, "SOF", "post"), (1, "SOF", "spell")]


def test_catalogue_gives_one_row_a_service_and_names_contradictions() -> None:
    by_law = [
        {"service": "a", "legal_code": code, "flags": flags} for code, flags in (("x", ["p", "q"]), ("y", ["q", "p"]))
    ]
    assert catalogue.services(facts("catalogue", *by_law)).collect()["flags"].to_list() == [["p", "q"]]
    with pytest.raises(catalogue.CatalogueError, match=r"contradict each other: a$"):
        catalogue.services(facts("catalogue", *by_law, {"service": "a", "counts": False}, {"service": "b"}))


@pytest.mark.parametrize(
    ("spells", "days"),
    [
        pytest.param([(D(2014, 1, 1), D(2014, 1, 11))], 10, id="one"),
        pytest.param([(D(2014, 1, 1), D(2014, 1, 11)), (D(2014, 1, 6), D(2014, 1, 16))], 15, id="overlap"),
        pytest.param([(D(2014, 1, 1), D(2014, 2, 1)), (D(2014, 1, 6), D(2014, 1, 16))], 31, id="inside"),
        pytest.param(
            [(D(2014, 1, 1), D(2014, 2, 1)), (D(2014, 1, 6), D(2014, 1, 16)), (D(2014, 1, 20), D(2014, 2, 2))],
            32,
            id="the longest still covers after a shorter one ended",
        ),
        pytest.param([(D(2014, 1, 1), D(2014, 1, 2)), (D(2014, 3, 1), D(2014, 3, 2))], 2, id="gap"),
        pytest.param([(D(2009, 12, 1), D(2010, 1, 2))], 1, id="begins before the window"),
        pytest.param([(D(2014, 12, 31), None)], 1, id="open"),
        pytest.param([(D(2014, 5, 1), D(2014, 5, 1))], None, id="empty"),
        pytest.param([(D(2015, 1, 1), None)], None, id="after"),
    ],
)
def test_distinct_days_count_each_day_once(spells: list[tuple[D, D | None]], days: int | None) -> None:
    rows = facts("spells", *({"person_id": 1, "service": "s", "start": start, "end": end} for start, end in spells))
    found = distinct_days(rows, months_before(D(2015, 1, 1), 60)).collect()
    assert found.rows() == ([(1, days)] if days else [])


def test_months_before_reaches_over_years() -> None:
    assert months_before(D(2015, 1, 1), 12) == year_period(2014)
    assert months_before(D(2015, 3, 1), 14) == (D(2014, 1, 1), D(2015, 3, 1))


def test_coverage_counts_every_row_and_absolute_amounts() -> None:
    postings = facts(
        "postings",
        {"person_id": 1, "service": "post", "amount_ore": 700},
        {"person_id": 1, "service": "unknown", "amount_ore": -200},
        {"person_id": 9, "service": "post", "amount_ore": 50},
        {"person_id": None, "service": "post", "amount_ore": 30},
    )
    spells = facts(
        "spells", {"person_id": 1, "service": "spell", "price_per_week_ore": 7, "end": D(2014, 1, 2), "source": "dubu"}
    )
    found = coverage(postings, spells, FAMILY.select("person_id"), 2014).sort("contributor", "source").collect()
    assert found.rows() == [
        (1, "dubu", "exact", 1, 1, 1, 1),
        (1, "prisme", "exact", 2, 2, 900, 900),
        (3, "prisme", "exact", 1, 0, 30, 0),
        (4, "prisme", "exact", 1, 0, 50, 0),
    ]


def inputs(tables: tuple[registry.RegisteredTable, ...]) -> dict[str, pl.DataFrame]:
    postings = facts("postings", {"person_id": 1, "service": "money", "amount_ore": 700})
    spells = facts("spells", {"person_id": 2, "service": "spell", "price_per_week_ore": 700, "end": D(2014, 1, 8)})
    town = pl.concat([FAMILY, members((5, 5, "adult", 2), (6, 5, "child", 2), (7, 7, "adult", 1))])
    given = table_inputs(
        tables,
        families_with_children(town),
        family_services(town, postings, spells, CATALOGUE, 2014),
        family_spending(town, postings, spells, CATALOGUE, 2014),
        {"copenhagen_analysis": pl.LazyFrame({"family_id": [1, 5]}, schema={"family_id": pl.UInt32})},
        coverage(postings, spells, town.select("person_id"), 2014),
    )
    assert all(one.contributions.schema == one.schema for one in given)
    return {one.table.table_id: one.contributions for one in given}


def test_table_inputs_have_what_the_registry_asks_for() -> None:
    tables = registry.load(Path(registry.__file__).parent.parent / "registry.toml")
    found = inputs(tables)
    assert list(found) == [table.table_id for table in tables]
    groups = found["family_characteristics"].select("contributor", "group", "families", "persons", "single_providers")
    assert groups.rows() == [(1, "target", 1, 2, 1), (5, "target", 1, 2, 1)]
    assert found["spending_per_family"].rows() == [
        (1, "target", "BIF", "transfer", "none", 700),
        (1, "target", "SOF", "offer", "general", 700),
    ]
    assert found["services_by_departments"].rows() == [(1, "≤5", "≤3", 1), (5, "≤5", "≤3", 1)]  # 5 has no service


def test_table_inputs_refuse_a_table_that_nothing_computes() -> None:
    table = registry.load(Path(registry.__file__).parent.parent / "registry.toml")[0]
    unknown = registry.RegisteredTable(
        **{name: getattr(table, name) for name in table.__slots__} | {"table_id": "more"}
    )
    with pytest.raises(UnknownTableError, match="table more"):
        inputs((unknown,))
