"""Do services, spending, coverage and facts keep their docstrings?"""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from linker.disclosure.facts import FactFrame
from linker.families.families import families_with_children
from linker.tables import catalogue, registry
from linker.tables.contributions import coverage_facts, family_facts, grouped, needed, spending_facts
from linker.tables.coverage import coverage
from linker.tables.periods import distinct_days, months_before, year_period, year_to
from linker.tables.registered_table import PeriodType, RegistryError
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
    summed = rows.group_by("type", "area").agg(pl.col("amount_ore").sum())
    return sorted(summed.collect().rows(), key=str)


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


def test_spending_stands_in_its_months_and_stops_after_the_last() -> None:
    postings = facts(
        "postings",
        {"person_id": 1, "service": "post", "amount_ore": 700, "event_month": D(2014, 3, 1)},
        {"person_id": 1, "service": "post", "amount_ore": -700, "event_month": D(2014, 4, 1)},
        {"person_id": 2, "service": "post", "amount_ore": 5, "event_month": D(2014, 5, 1)},
    )
    spells = facts(
        "spells",
        {"person_id": 2, "service": "spell", "start": D(2014, 1, 31), "end": D(2014, 3, 2), "price_per_week_ore": 10},
    )

    def months(through_month: int) -> list[tuple[int, str, int]]:
        rows = family_spending(FAMILY, postings, spells, CATALOGUE, 2014, through_month).collect()
        return sorted(rows.select("month", "area", "amount_ore").rows())

    # A day costs 1.43: 1 until January, 41.43 until February (29 days), 42.86 until March (30).
    of_spell = [(1, "general", 1), (2, "general", 40), (3, "general", 2)]
    assert months(2) == of_spell[:2]
    assert months(3) == [*of_spell, (3, "special", 700)]
    assert months(12) == [*of_spell, (3, "special", 700), (4, "special", -700), (5, "special", 5)]


def test_services_count_until_the_month() -> None:
    postings = facts("postings", {"person_id": 1, "service": "post", "event_month": D(2014, 7, 1)})
    spells = facts("spells", {"person_id": 2, "service": "spell", "start": D(2014, 6, 30)})
    found = {
        month: family_services(FAMILY, postings, spells, CATALOGUE, 2014, month).collect()["service"].sort().to_list()
        for month in (5, 6, 7)
    }
    assert found == {5: [], 6: ["spell"], 7: ["post", "spell"]}


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


def test_a_year_until_a_month_ends_where_the_next_begins() -> None:
    assert year_to(2014, 6) == (D(2014, 1, 1), D(2014, 7, 1))
    assert year_to(2014, 12) == year_period(2014)


def covered(postings: list[dict[str, Any]], spells: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    found = coverage(facts("postings", *postings), facts("spells", *spells), FAMILY.select("person_id"), 2014)
    return sorted(found.collect().rows())


def test_coverage_counts_every_row_and_absolute_amounts() -> None:
    found = covered(
        [
            {"person_id": 1, "service": "post", "amount_ore": 700},
            {"person_id": 1, "service": "unknown", "amount_ore": -200},
            {"person_id": 9, "service": "post", "amount_ore": 50},
            {"person_id": None, "service": "post", "amount_ore": 30},
        ],
        [{"person_id": 1, "service": "spell", "price_per_week_ore": 7, "end": D(2014, 1, 2), "source": "dubu"}],
    )
    assert found[2:] == [(1, "dubu", "exact", 1, 1, 1, 1), (1, "prisme", "exact", 2, 2, 900, 900)]
    unlinked = sorted(row[1:] for row in found[:2])
    assert unlinked == [("prisme", "exact", 1, 0, 30, 0), ("prisme", "exact", 1, 0, 50, 0)]
    assert all(number < 0 for number, *_ in found[:2])


def test_an_unlinked_row_has_the_same_number_next_month_and_no_other_rows() -> None:
    once = [{"person_id": None, "amount_ore": ore, "source": source} for source in "ab" for ore in (0, 30, 30, 50)]
    before = covered(once, [])
    assert len({number for number, *_ in before}) == len(once)
    more = [{"person_id": None, "amount_ore": ore, "source": "a"} for ore in (10, 30)]
    after = covered([*more, *reversed(once)], [])
    assert set(before) < set(after)
    assert len(after) == len(once) + len(more)


def test_rows_of_a_record_without_a_number_are_of_their_own_method_and_numbered_apart() -> None:
    """Linked or not; a person may have rows of both, and an exact row keeps the number it had without them."""
    exact = [{"person_id": 1, "amount_ore": 70}, {"person_id": None, "amount_ore": 30}]
    encoded = [
        {"person_id": 1, "amount_ore": 20, "encoding_id": "a", "person_kind": None},
        {"person_id": None, "amount_ore": 30, "encoding_id": "b", "person_kind": None},
        {"person_id": 900, "amount_ore": 5, "encoding_id": "c", "person_kind": "replacement"},
    ]
    found = covered([*encoded, *exact], [])
    assert set(covered(exact, [])) < set(found)
    assert len({number for number, *_ in found}) == 4
    methods = {"exact": [(2, 1, 100, 70)], "encoded": [(3, 1, 55, 20)]}
    for method, sums in methods.items():
        rows = [row[3:] for row in found if row[2] == method]
        assert [tuple(map(sum, zip(*rows, strict=True)))] == sums


REGISTRY = registry.load(Path(registry.__file__).parent.parent / "registry.toml")
NO_ALIASES = pl.LazyFrame(schema={"former_id": pl.UInt32, "resolved_id": pl.UInt32})


def all_facts(aliases: pl.LazyFrame = NO_ALIASES) -> dict[str, FactFrame]:
    postings = facts("postings", {"person_id": 1, "service": "money", "amount_ore": 700, "event_month": D(2014, 5, 1)})
    spells = facts("spells", {"person_id": 2, "service": "spell", "price_per_week_ore": 700, "end": D(2014, 1, 8)})
    town = pl.concat([FAMILY, members((5, 5, "adult", 2), (6, 5, "child", 2), (7, 7, "adult", 1))])
    target = pl.LazyFrame({"family_id": [1]}, schema={"family_id": pl.UInt32})
    families = grouped(families_with_children(town), target)
    services = family_services(town, postings, spells, CATALOGUE, 2014)
    spending = family_spending(town, postings, spells, CATALOGUE, 2014)
    found = (
        family_facts(REGISTRY, families, services, town, aliases),
        spending_facts(families, spending, town, aliases),
        coverage_facts(coverage(postings, spells, town.select("person_id"), 2014), aliases),
    )
    return {one.name: one for one in found}


def test_facts_are_families_spending_by_month_and_coverage() -> None:
    found = all_facts()
    families = found["families"].frame.sort("contributor")
    assert families.rows() == [
        (1, "target", "≤5", "≤3", 1, 2, 1, 1, 1),
        (5, "others", "≤5", "≤3", 1, 2, 1, 1, 1),  # without a service
    ]
    assert families.columns == ["contributor", *found["families"].axes, *found["families"].columns]
    assert found["families"].counted == found["families"].nonnegative == set(found["families"].columns)
    assert found["spending"].frame.sort("month").rows() == [
        (1, "target", "SOF", "offer", "general", 1, 700),
        (1, "target", "BIF", "transfer", "none", 5, 700),
    ]
    assert found["spending"].flow
    assert not found["spending"].counted | found["spending"].nonnegative
    assert found["coverage"].frame.height == 2
    assert found["coverage"].counted == {"rows", "rows_linked"}


def test_a_family_is_known_by_its_members_and_by_their_former_numbers() -> None:
    aliases = pl.LazyFrame({"former_id": [80, 81, 82], "resolved_id": [2, 2, 7]}, schema=NO_ALIASES.collect_schema())
    found = all_facts(aliases)
    for name in ("families", "spending"):
        people = set(found[name].members.rows())
        assert people == {(1, 1), (2, 1), (80, 1), (81, 1), (5, 5), (6, 5)}  # 7 has no child
    assert set(found["coverage"].members.rows()) == {(1, 1), (2, 2), (80, 2), (81, 2)}


@pytest.mark.parametrize(
    ("table_id", "expected"),
    [
        ("family_characteristics", {"families"}),
        ("spending_per_family", {"spending", "families"}),
        ("services_by_departments", {"families"}),
        ("spending_to_date", {"spending"}),
        ("spending_by_quarter", {"spending"}),
        ("coverage", {"coverage"}),
    ],
)
def test_tables_need_the_frames_of_their_columns(table_id: str, expected: set[str]) -> None:
    assert needed([table for table in REGISTRY if table.table_id == table_id]) == expected


@pytest.mark.parametrize(
    ("table_id", "changes"),
    [
        ("spending_to_date", {"axes": (REGISTRY[2].axes[0],)}),
        ("spending_to_date", {"within": {"source": ("prisme",)}}),
        ("coverage", {"measures": (replace(REGISTRY[5].measures[0], column="amount_ore"),)}),
        ("coverage", {"measures": (replace(REGISTRY[5].measures[0], denominator="amount_ore"),)}),
        ("family_characteristics", {"period": PeriodType.QUARTER}),
    ],
)
def test_a_table_that_nothing_computes_is_refused_by_name(table_id: str, changes: dict[str, Any]) -> None:
    table = next(table for table in REGISTRY if table.table_id == table_id)
    with pytest.raises(RegistryError, match=f"table {table_id}: nothing computes it"):
        needed([replace(table, **changes)])
