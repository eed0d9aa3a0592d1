"""Does the registry refuse what contradicts itself, and say what a run's months make?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from linker.tables import registry
from linker.tables.registered_table import PeriodType, RegisteredTable, RegistryError

SHIPPED = Path(registry.__file__).parent.parent / "registry.toml"
REGISTRY = {table.table_id: table for table in registry.load(SHIPPED)}

AXIS = """
[axes.department]
title_da = "Forvaltning"
title_en = "Department"
categories = ["SOF", "SUF", "KFF", "BUF"]
total = "all"
"""
GROUP = """
[axes.group]
title_da = "Gruppe"
title_en = "Group"
categories = ["target", "others"]
total = "all"
"""
NUMBER = """
[axes.n_services]
title_da = "Ydelser"
title_en = "Services"
first = 2
last = 4
total = "all"
of_period = true
"""
TABLE = """
[[table]]
id = "t"
version = 1
title_da = "T"
title_en = "T"
universe = "families"
period = "year"
policy = "standard"
axes = ["department"]
[[table.measure]]
name = "families"
title_da = "Familier"
unit = "count"
column = "families"
"""


def load(tmp_path: Path, text: str) -> tuple[RegisteredTable, ...]:
    path = tmp_path / "registry.toml"
    path.write_text(text, encoding="utf-8")
    return registry.load(path)


def test_shipped_registry_has_six_tables_with_danish_notes_and_titles() -> None:
    assert {table_id: (table.period, table.policy) for table_id, table in REGISTRY.items()} == {
        "family_characteristics": ("year", "standard"),
        "spending_per_family": ("year", "standard"),
        "services_by_departments": ("year", "standard"),
        "spending_to_date": ("year_to_date", "standard"),
        "spending_by_quarter": ("quarter", "standard"),
        "coverage": ("year", "standard"),
    }
    for table in REGISTRY.values():
        assert table.notes_da
        for axis in table.axes:
            names = {*axis.categories, *axis.subtotals, axis.total} - {""}
            assert axis.numeric or names <= set(axis.titles_da) | set(axis.categories)


def test_shipped_columns_mean_one_fact_whatever_the_table() -> None:
    amounts = {name: [c for c in table.columns if c.endswith("_ore")] for name, table in REGISTRY.items()}
    assert amounts == {
        "family_characteristics": [],
        "spending_per_family": ["amount_ore"],
        "services_by_departments": [],
        "spending_to_date": ["amount_ore"],
        "spending_by_quarter": ["amount_ore"],
        "coverage": ["linked_ore", "delivered_ore"],
    }


def test_table_says_its_target_groups_version_and_definition() -> None:
    table = REGISTRY["services_by_departments"]
    assert table.universe_text == "target families; target group copenhagen_analysis version 1"
    assert table.notes_da[-1].startswith("Målgruppe: Udsatte familier (Københavns analyse), version 1. Familier")
    assert "\n" not in table.notes_da[-1]
    assert table.within == {"group": ("target",)}
    assert REGISTRY["coverage"].universe_text == "delivered rows"


def test_number_stands_in_its_category_open_at_both_ends() -> None:
    axis = REGISTRY["services_by_departments"].axis("n_services")
    assert axis.categories[:2] == ("≤5", "6")
    assert axis.categories[-2:] == ("20", "≥21")
    assert axis.of_period
    found = pl.select(axis.category(pl.Series([0, 5, 6, 20, 21, 40]))).to_series().to_list()
    assert found == ["≤5", "≤5", "6", "20", "≥21", "≥21"]
    with pytest.raises(RegistryError, match="axis group is not numeric"):
        REGISTRY["spending_to_date"].axis("group").category(pl.lit(1))


def test_subtotals_are_leaves_however_deep_the_hierarchy(tmp_path: Path) -> None:
    subtotals = 'subtotals = { health = ["SUF", "SOF"], adults = ["health", "KFF"] }\n'
    (table,) = load(tmp_path, AXIS + subtotals + TABLE)
    assert table.axis("department").subtotals == {"health": ("SOF", "SUF"), "adults": ("SOF", "SUF", "KFF")}


@pytest.mark.parametrize(
    ("month", "made"),
    [
        (1, {"year_to_date": ("2014M01-01", (1,))}),
        (3, {"year_to_date": ("2014M01-03", (1, 2, 3)), "quarter": ("2014Q1", (1, 2, 3))}),
        (5, {"year_to_date": ("2014M01-05", (1, 2, 3, 4, 5))}),
        (6, {"year_to_date": ("2014M01-06", (1, 2, 3, 4, 5, 6)), "quarter": ("2014Q2", (4, 5, 6))}),
        (
            12,
            {
                "year": ("2014", tuple(range(1, 13))),
                "year_to_date": ("2014M01-12", tuple(range(1, 13))),
                "quarter": ("2014Q4", (10, 11, 12)),
            },
        ),
    ],
)
def test_a_runs_months_say_which_periods_it_makes(month: int, made: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    due = [period for period in PeriodType if period.is_due(month)]
    assert {period.value: (period.label(2014, month), period.months(month)) for period in due} == made
    found = registry.due(tuple(REGISTRY.values()), month)
    assert [table.table_id for table in found] == [name for name, table in REGISTRY.items() if table.period in made]


WRONG: Mapping[str, tuple[str, str]] = {
    "an id twice": (AXIS + TABLE + TABLE, "table t: the id is given twice"),
    "no axes": ("axes = {}" + TABLE, "table t: axis department is not registered"),
    "an axis twice": (
        AXIS + TABLE.replace('["department"]', '["department", "department"]'),
        "table t: axes is a list of registered axes, each once",
    ),
    "no total": (
        AXIS.replace('total = "all"', "") + TABLE,
        "table t: a table with margins needs a total on every axis",
    ),
    "no version": (AXIS + TABLE.replace("version = 1", ""), "table t: version is missing"),
    "version 0": (AXIS + TABLE.replace("version = 1", "version = 0"), "table t: version must be .* at least 1"),
    "an unknown key": (AXIS + TABLE.replace("version = 1", "version = 1\nlevel = 2"), "table t: unknown key 'level'"),
    "levels": (AXIS + 'levels = ["total"]' + TABLE, "axis department: unknown key 'levels'"),
    "a part that is unknown": (AXIS + 'subtotals = { s = ["ABC"] }' + TABLE, "axis department: subtotal s: 'ABC' is"),
    "a part that comes later": (
        AXIS + 'subtotals = { s = ["r", "SOF"], r = ["SUF", "KFF"] }' + TABLE,
        "subtotal s: 'r' is neither a category nor a subtotal above it",
    ),
    "a part twice": (
        AXIS + 'subtotals = { s = ["SOF", "SUF"], r = ["s", "SUF"] }' + TABLE,
        "subtotal r: it sums a category twice",
    ),
    "a subtotal of one": (AXIS + 'subtotals = { s = ["SUF"] }' + TABLE, "subtotal s: it is the same sum as SUF"),
    "a subtotal of all": (
        AXIS + 'subtotals = { s = ["SOF", "SUF", "KFF", "BUF"] }' + TABLE,
        "subtotal s: it is the same sum as all",
    ),
    "one subtotal under two names": (
        AXIS + 'subtotals = { s = ["SOF", "SUF"], r = ["SUF", "SOF"] }' + TABLE,
        "subtotal r: it is the same sum as s",
    ),
    "a subtotal with a category's name": (
        AXIS + 'subtotals = { SOF = ["SUF", "KFF"] }' + TABLE,
        "subtotal SOF: the name is a category's",
    ),
    "a category twice": (AXIS.replace('"SUF"', '"SOF"') + TABLE, "axis department: categories are texts, each once"),
    "a category like the total": (AXIS.replace('"SUF"', '"all"') + TABLE, "other than the total"),
    "a title of nothing": (AXIS + 'titles_da = { XYZ = "X" }' + TABLE, "axis department: titles_da names 'XYZ'"),
    "a taken name": (AXIS.replace("axes.department", "axes.month") + TABLE, "axis month: the name is taken"),
    "a range of one": (NUMBER.replace("last = 4", "last = 2") + TABLE, "axis n_services: first must be less than last"),
    "an unknown unit": (AXIS + TABLE.replace('"count"', '"kroner"'), "table t, measure 1: unit is one of count,"),
    "a share without denominator": (
        AXIS + TABLE.replace('"count"', '"share"'),
        "measure families: shares and means have",
    ),
    "a count with denominator": (AXIS + TABLE + 'denominator = "families"', "counts and amounts none"),
    "no measure": (AXIS + TABLE.partition("[[table.measure]]")[0], "table t: it has at least one"),
    "an unknown period": (
        AXIS + TABLE.replace('"year"', '"month"'),
        "table t: period is one of year, year_to_date, quar",
    ),
    "no policy": (AXIS + TABLE.replace('policy = "standard"', ""), "table t: policy is missing"),
    "a quarter of what is about the year": (
        NUMBER + TABLE.replace("department", "n_services").replace('"year"', '"quarter"'),
        "table t: a quarter has no axis n_services",
    ),
    "an unknown target group": (
        GROUP + TABLE.replace('axes = ["department"]', 'target_group = "nobody"\naxes = ["group"]'),
        "table t: target group: none is called",
    ),
    "a group without target group": (
        GROUP + TABLE.replace("department", "group"),
        "table t: target_group is given exac",
    ),
    "a target group without group": (
        AXIS + TABLE.replace("version = 1", 'version = 1\ntarget_group = "star"'),
        "table t: target_group is given exactly when axes or within names group",
    ),
    "two target groups": (
        GROUP
        + TABLE.replace('axes = ["department"]', 'target_group = "star"\naxes = ["group"]')
        + TABLE.replace('axes = ["department"]', 'target_group = "hedensted"\naxes = ["group"]').replace('"t"', '"u"'),
        "axis group: one target group in all tables; found hedensted, star",
    ),
    "within an axis of its own": (
        AXIS + TABLE.replace("version = 1", 'version = 1\nwithin = { department = ["SOF"] }'),
        "table t: within names department, which must be a registered axis that the table does not show",
    ),
    "within all": (
        AXIS + NUMBER + TABLE.replace("version = 1", 'version = 1\nwithin = { n_services = ["≤2", "3", "≥4"] }'),
        "table t: within n_services is some, not all, of its categories",
    ),
    "within a subtotal": (
        AXIS + NUMBER + TABLE.replace("version = 1", 'version = 1\nwithin = { n_services = ["all"] }'),
        "table t: within n_services is some, not all, of its categories",
    ),
    "no TOML": ("[", "is not TOML"),
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_registry_that_contradicts_itself_is_refused(tmp_path: Path, name: str) -> None:
    text, wrong = WRONG[name]
    with pytest.raises(RegistryError, match=wrong):
        load(tmp_path, text)


@pytest.mark.parametrize("text", [AXIS + TABLE, AXIS + NUMBER + TABLE, AXIS + 'titles_da = { SOF = "X" }' + TABLE])
def test_registry_that_does_not_is_taken(tmp_path: Path, text: str) -> None:
    assert [table.table_id for table in load(tmp_path, text)] == ["t"]


def test_registry_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"nowhere\.toml cannot be read"):
        registry.load(tmp_path / "nowhere.toml")


def test_table_of_an_unknown_policy_is_refused() -> None:
    tables = tuple(REGISTRY.values())
    registry.check_policies(tables, ["sensitive", "standard"])
    with pytest.raises(RegistryError, match=r"table family_characteristics: policy is one of .*: sensitive$"):
        registry.check_policies(tables, ["sensitive"])
