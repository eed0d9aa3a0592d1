from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from linker.disclosure import policy
from linker.disclosure.policy import PolicyError
from linker.tables import registry
from linker.tables.registry import RegistryError
from tests.unit import gate_fixtures as g

AXIS = """
[axes.department]
title_da = "Forvaltning"
title_en = "Department"
categories = ["SOF", "SUF", "KFF"]
total = "all"
"""
TABLE = """
[[table]]
id = "t"
version = 1
title_da = "T"
title_en = "T"
universe = "families"
axes = ["department"]
[[table.measure]]
name = "families"
title_da = "Familier"
unit = "count"
column = "families"
"""


def load(tmp_path: Path, text: str) -> tuple[registry.RegisteredTable, ...]:
    path = tmp_path / "registry.toml"
    path.write_text(text, encoding="utf-8")
    return registry.load(path)


def test_shipped_registry_has_the_four_tables_with_danish_notes() -> None:
    assert list(g.REGISTRY) == ["family_characteristics", "spending_per_family", "services_by_departments", "coverage"]
    for table in g.REGISTRY.values():
        assert table.notes_da
        for axis in table.axes:
            names = {*axis.categories, *axis.subtotals, axis.total} - {""}
            assert axis.numeric or names <= set(axis.titles_da) | set(axis.categories)


def test_table_says_its_target_groups_version_and_definition() -> None:
    table = g.REGISTRY["services_by_departments"]
    assert table.universe_text == "target families; target group copenhagen_analysis version 1"
    assert table.notes_da[-1].startswith("Målgruppe: Udsatte familier (Københavns analyse), version 1. Familier")
    assert "\n" not in table.notes_da[-1]
    assert g.REGISTRY["coverage"].universe_text == "delivered rows"


def test_every_level_maps_every_category_and_is_no_finer_than_the_first() -> None:
    for table in g.REGISTRY.values():
        for axis in table.axes:
            assert axis.groups(0) == axis.categories
            for number, level in enumerate(axis.levels):
                assert set(level) == set(axis.categories)
                assert len(axis.groups(number)) < len(axis.categories) or number == 0


def test_numeric_axis_merges_both_ends_fewest_first_and_at_last_drops() -> None:
    axis = g.REGISTRY["services_by_departments"].axis("n_services")
    assert axis.categories[:2] == ("≤5", "6")
    assert axis.categories[-2:] == ("20", "≥21")
    sizes = [len(axis.groups(level)) for level in range(len(axis.levels))]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 0
    wanted = ("≤10", "11", "12", "13", "14", "15", "16", "≥17")
    assert wanted in [axis.groups(level) for level in range(len(axis.levels))]


def test_number_stands_in_its_category_open_at_both_ends() -> None:
    axis = g.REGISTRY["services_by_departments"].axis("n_services")
    found = pl.select(axis.category(pl.Series([0, 5, 6, 20, 21, 40]))).to_series().to_list()
    assert found == ["≤5", "≤5", "6", "20", "≥21", "≥21"]


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (AXIS + TABLE + TABLE, "given twice"),
        ("axes = {}" + TABLE.replace('axes = ["department"]', 'axes = ["district"]'), "district is not"),
        (AXIS.replace('total = "all"', "") + TABLE, "needs a total"),
        (AXIS + 'levels = [{ "SUF+KFF" = ["SUF", "ABC"] }]' + TABLE, "not registered"),
        (AXIS + 'levels = [{ x = ["SUF"], y = ["SUF"] }]' + TABLE, "twice"),
        (AXIS + 'levels = ["nothing"]' + TABLE, "the word total"),
        (AXIS + 'subtotals = { s = ["SUF"] }\nlevels = [{ "SUF+KFF" = ["SUF", "KFF"] }]' + TABLE, "cuts across"),
        (AXIS + 'subtotals = { s = ["ABC"] }' + TABLE, "not registered"),
        (AXIS.replace("axes.department", "axes.status") + TABLE, "taken"),
        (AXIS + TABLE.replace("axes = [", 'target_group = "nobody"\naxes = ['), "none is called"),
        (AXIS + TABLE.replace('"count"', '"kroner"'), "a unit is one of"),
        (AXIS + TABLE.replace('"count"', '"share"'), "have a denominator"),
        (AXIS + TABLE.replace("axes = [", 'denominator_axes = ["group"]\naxes = ['), "denominator axis"),
    ],
)  # fmt: skip
def test_registry_that_contradicts_itself_is_refused(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(RegistryError, match=wrong):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("threshold = 5", ""),
        ("threshold = 5", "threshold = 1"),
        ("dominance_percent = 75", "dominance_percent = 101"),
        ("months_between = 12", "months_between = 12\nmonths = 1"),
        ("[releases]", "[release]"),
    ],
)
def test_policy_out_of_form_is_refused(tmp_path: Path, old: str, new: str) -> None:
    text = (g.LINKER / "disclosure.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "disclosure.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(PolicyError):
        policy.load(path)


def test_shipped_policy_is_the_controllers() -> None:
    assert (g.POLICY.threshold, g.POLICY.dominance_percent, g.POLICY.zeros_are_disclosive) == (5, 75, False)
