"""The gate, on facts made by hand."""

from __future__ import annotations

import dataclasses

import pytest

from linker.disclosure.facts import ContributionError
from linker.disclosure.release import ReleasedTable
from linker.tables.registered_table import PeriodType
from tests.unit import gate_fixtures as g

ROWS, COLUMNS = g.axis("row", ["x", "y", "z"]), g.axis("column", ["p", "q"])
TABLE = g.table("t", [ROWS, COLUMNS], g.FAMILIES)
SAFE = {("x", "p"): 10, ("x", "q"): 8, ("y", "p"): 7, ("y", "q"): 9, ("z", "p"): 20, ("z", "q"): 11}
FEW = {**SAFE, ("x", "q"): 3}
INSIDERS = g.with_rules(insiders=True, p_percent=None, dominance=(), interval_minimum=100)


def test_safe_table_is_shown_with_all_sums() -> None:
    shown = g.shown(g.protect(TABLE, g.families(["row", "column"], SAFE)))
    assert shown["x", "all"] == 18
    assert shown["all", "p"] == 37
    assert shown["all", "all"] == 65
    assert None not in shown.values()


def test_few_families_are_hidden_with_what_would_give_them_away() -> None:
    release = g.protect(TABLE, g.families(["row", "column"], FEW))
    hidden = {cell for cell, value in g.shown(release).items() if value is None}
    assert ("x", "q") in hidden
    assert any(len({row for row, column in hidden if column == each}) > 1 for each in "pq")
    record = release.record.tables["t"]
    assert (record.primary, record.secondary, record.changes) == (1, len(hidden) - 1, 0)
    assert record.cells == record.shown + record.suppressed == 12
    assert release.record.failures == release.record.unchecked == 0


def test_empty_cell_is_shown_as_0() -> None:
    release = g.protect(TABLE, g.families(["row", "column"], {**SAFE, ("x", "q"): 0}))
    assert g.shown(release)["x", "q"] == 0


def test_table_without_margins_has_no_sums() -> None:
    table = g.table("t", [g.axis("row", ["x", "y"], total="")], g.FAMILIES, margins=False)
    assert g.shown(g.protect(table, g.families(["row"], {("x",): 3, ("y",): 7}))) == {("x",): None, ("y",): 7}


def test_mean_is_shown_where_amount_and_families_are() -> None:
    table = g.table("t", [ROWS, COLUMNS], g.MEAN)
    few = g.families(["row"], {("x",): 8, ("y",): 9, ("z",): 3})
    families = g.families(["row"], {("x",): 8, ("y",): 9, ("z",): 13})
    spending = g.facts(
        "spending",
        ["row", "column"],
        ["amount_ore"],
        [(n, "x", "p", month, 500) for n in range(8) for month in (1, 2)]
        + [(n, "y", "q", 3, -1000) for n in range(8, 17)],
        flow=True,
    )
    shown = g.shown(g.protect(table, families, spending), measure="mean")
    assert shown["x", "p"] == 1000
    assert shown["y", "q"] == -1000
    assert shown["x", "q"] == shown["z", "p"] == 0
    of_few = g.shown(g.protect(table, few, spending), measure="mean")
    assert of_few["z", "p"] is None  # nobody spent, but it would tell that somebody is there


def test_tables_that_share_families_are_protected_together() -> None:
    by_row, by_column = g.table("rows", [ROWS], g.FAMILIES), g.table("both", [ROWS, COLUMNS], g.FAMILIES)
    release = g.protect([by_row, by_column], g.families(["row", "column"], FEW))
    both, rows = g.shown(release, "both"), g.shown(release, "rows")
    for row in ("x", "y", "z", "all"):
        assert both[row, "all"] == rows[row,]


def test_amount_dominated_by_one_family_is_hidden() -> None:
    table = g.table("t", [ROWS], g.AMOUNT)
    rows = [(n, "x", 1, 1000) for n in range(9)] + [(9, "x", 1, 10**6)]
    rows += [(n, "y", 1, 10**6 + n) for n in range(10, 30)] + [(n, "z", 1, 10**6 + n) for n in range(30, 60)]
    shown = g.shown(
        g.protect(table, g.facts("spending", ["row"], ["amount_ore"], rows, flow=True), policy=g.POLICY),
        measure="amount",
    )
    assert shown["x",] is None
    assert list(shown.values()).count(None) == 2


def test_combination_of_counts_that_few_make_up_is_not_given_away() -> None:
    counts = tuple(
        dataclasses.replace(g.FAMILIES, name=name, column=name) for name in ("adults", "families", "singles")
    )
    table = g.table("t", [g.axis("row", ["x", "y"])], *counts)
    plain = [(n, "x" if n < 60 else "y", 2 - n % 2, 1, n % 2) for n in range(120)]
    odd = [(200 + n, "x", 1, 1, 0) for n in range(2)]  # one adult who is no single provider
    columns = ["adults", "families", "singles"]
    assert None not in g.shown(g.protect(table, g.facts("f", ["row"], columns, plain)), measure="adults").values()
    release = g.protect(table, g.facts("f", ["row"], columns, plain + odd))
    for row in ("x", "all"):
        values = [g.shown(release, measure=name)[row,] for name in columns]
        assert None in values


def test_department_that_knows_its_column_is_an_attacker_when_the_policy_says_so() -> None:
    table = g.table("t", [ROWS, g.axis("department", ["p", "q"])], g.FAMILIES)
    facts = g.families(["row", "department"], FEW)
    guarded = g.protect(table, facts, policy=INSIDERS)
    assert guarded.record.attackers["insider of p"] == guarded.record.attackers["insider of q"] == 1
    assert g.shown(g.protect(table, facts))["x", "all"] == 13  # of which who works for p knows 10
    assert g.shown(guarded)["x", "all"] is None


def test_what_cannot_be_proven_is_refused_by_table_and_cell_group() -> None:
    axes = [ROWS, g.axis("department", ["p", "q"])]
    safe = [(n, *place, 1, 500) for n, place in enumerate([("y", "p"), ("y", "q"), ("z", "p"), ("z", "q")] * 9)]
    back = [(100, "x", "p", 1, 700), (100, "x", "q", 1, -700)]  # nothing in x, which is shown as 0: q subtracts
    facts = g.facts("spending", ["row", "department"], ["amount_ore"], safe + back, flow=True)
    tables = [g.table("t", axes, g.AMOUNT), g.table("other", [ROWS], g.AMOUNT)]
    release = g.protect(tables, facts, policy=INSIDERS)
    assert release.tables == ()
    assert release.release_id == ""
    assert release.basis == b""
    assert release.record.failures > 0
    for name in ("t", "other"):
        assert g.outcome(release, name).startswith("refused: not proven for ")
        assert "x" in g.outcome(release, name)
        assert not set("0123456789") & set(g.outcome(release, name))


def test_what_all_is_one_department_is_no_secret_from_its_own_people() -> None:
    """A sum to which no other department gives anything was once asked to be uncertain to them, and all refused."""
    table = g.table("t", [ROWS, g.axis("department", ["p", "q"])], g.FAMILIES)
    facts = g.families(["row", "department"], {**FEW, ("x", "p"): 0})
    shown = g.shown(g.protect([table, g.table("other", [ROWS], g.FAMILIES)], facts, policy=INSIDERS), "t")
    assert shown["x", "p"] == 0
    assert shown["x", "q"] is shown["x", "all"] is None
    assert len([value for value in shown.values() if value is not None]) > 5


def test_order_of_rows_and_numbers_of_families_do_not_matter() -> None:
    facts = g.families(["row", "column"], FEW)
    shuffled = g.facts(
        "families",
        ["row", "column"],
        ["families"],
        [(1000 - row[0], *row[1:]) for row in facts.frame.sample(fraction=1, shuffle=True, seed=7).rows()],
    )
    assert g.released(g.protect(TABLE, facts)) == g.released(g.protect(TABLE, shuffled))


def test_unknown_category_is_refused_without_its_value() -> None:
    with pytest.raises(ContributionError, match="facts families: axis row") as raised:
        g.protect(TABLE, g.families(["row", "column"], {("secret", "p"): 7}))
    assert "secret" not in str(raised.value)


def test_table_without_facts_is_refused() -> None:
    with pytest.raises(ContributionError, match="no facts have a column amount_ore"):
        g.protect(g.table("t", [ROWS], g.AMOUNT), g.families(["row"], {("x",): 9}))


def test_facts_that_break_what_everybody_knows_of_them_are_refused() -> None:
    families = g.facts("families", ["group"], ["families", "adults"], [(1, "target", 1, 2), (2, "target", 1, 0)])
    with pytest.raises(ContributionError, match="adults and families together must not be below 0"):
        dataclasses.replace(families, bounds=({"adults": 1, "families": -1},))


def test_release_reads_back_as_it_was() -> None:
    table = g.released(g.protect(TABLE, g.families(["row", "column"], FEW)))
    assert ReleasedTable.from_content(table.content(), table.release_id) == table


def test_published_cross_tab_hides_few_cells() -> None:
    release = g.protect(g.REGISTRY["services_by_departments"], g.published_cross_tab(), policy=g.POLICY)
    record = release.record.tables["services_by_departments"]
    assert record.primary == 13
    assert record.secondary <= 10
    shown = g.shown(release, "services_by_departments")
    assert shown["all", "all"] == 612
    departments = release.tables[0].axes[1]
    assert all(shown["all", name] is not None for name in departments.categories)


def test_only_due_tables_are_released() -> None:
    to_date = g.table("to_date", [ROWS], g.AMOUNT, period=PeriodType.YEAR_TO_DATE)
    quarter = g.table("quarter", [ROWS], g.AMOUNT, period=PeriodType.QUARTER)
    year = g.table("year", [ROWS], g.AMOUNT)
    rows = [(n, leaf, month, 1000 + n) for n in range(20) for leaf in "xyz" for month in range(1, 13)]
    facts = g.facts("spending", ["row"], ["amount_ore"], rows, flow=True)
    periods = {
        month: [
            (table.table_id, table.period)
            for table in g.protect([to_date, quarter, year], facts, through_month=month).tables
        ]
        for month in (2, 6, 12)
    }
    assert periods == {
        2: [("to_date", "2014M01-02")],
        6: [("to_date", "2014M01-06"), ("quarter", "2014Q2")],
        12: [("to_date", "2014M01-12"), ("quarter", "2014Q4"), ("year", "2014")],
    }
