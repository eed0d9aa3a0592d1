from __future__ import annotations

from dataclasses import replace
from datetime import date
from itertools import product

import polars as pl
import pytest

from linker.disclosure.release import ReleasedTable
from tests.unit import gate_fixtures as g

GROUP = g.axis("group", ["target", "others"])
DEPARTMENT = g.axis("department", ["SOF", "SUF", "KFF"], {"SUF": "SUF+KFF", "KFF": "SUF+KFF"})
COUNTS = g.table("t", [GROUP], g.FAMILIES)
BY_DEPARTMENT = g.table("t", [DEPARTMENT], g.FAMILIES)
AMOUNTS = g.table("t", [GROUP], g.AMOUNT)
SHARES = g.table("t", [GROUP], g.SHARE)
MEANS = g.table("t", [GROUP, DEPARTMENT], g.MEAN, denominator_axes=["group"])


@pytest.mark.parametrize(
    ("target", "others", "released"),
    [
        (5, 5, True),
        (4, 5, False),
        (5, 1, False),
        (0, 5, True),  # nobody is no secret
        (0, 0, True),
    ],
)
def test_count_is_released_when_no_cell_has_one_to_four_families(target: int, others: int, released: bool) -> None:
    release = g.protect(g.counts(COUNTS, {("target",): target, ("others",): others}))
    assert bool(release.tables) is released
    if released:
        assert g.shown(release) == {("target",): target, ("others",): others, ("all",): target + others}


def test_empty_cell_is_unsafe_when_the_policy_says_that_zeros_are_disclosive() -> None:
    strict = replace(g.POLICY, zeros_are_disclosive=True)
    release = g.protect(g.counts(COUNTS, {("target",): 0, ("others",): 5}), policy=strict)
    assert g.outcome(release).startswith("refused")


@pytest.mark.parametrize(
    ("amounts", "released"),
    [
        ([1, 1, 1, 1, 12], True),  # 12 of 16: just 75 %
        ([1, 1, 1, 1, 13], False),
        ([1, 1, 1, 1, -13], False),  # income dominates as spending does
        ([-1, -1, 1, 1, 12], True),
        ([0, 1, 1, 1, 1], False),  # four contribute
        ([1, 1, 1, 1], False),
        ([], True),
    ],
)
def test_amount_is_released_when_no_family_dominates(amounts: list[int], released: bool) -> None:
    rows = [(number, "target", amount) for number, amount in enumerate(amounts)]
    rows += [(100 + number, "others", 1) for number in range(40)]
    assert bool(g.protect(g.given(AMOUNTS, rows)).tables) is released


def test_dominance_is_judged_at_the_margin_by_a_familys_net_amount() -> None:
    areas = g.axis("area", ["general", "special"])
    definition = g.table("t", [areas], g.AMOUNT)
    # In each cell family 0 has half; at the margin its amounts cancel for the others and add up for it.
    rows = [(0, "general", 50), (0, "special", 50)]
    rows += [(number, "general", 10) for number in range(1, 6)] + [(number, "special", -9) for number in range(1, 6)]
    assert "the total" in g.outcome(g.protect(g.given(definition, rows)))


@pytest.mark.parametrize(
    ("single", "families", "released"),
    [
        (5, 10, True),
        (4, 10, False),  # few in the numerator
        (6, 10, False),  # few in the complement
        (0, 10, True),
        (10, 10, True),
        (2, 4, False),
    ],
)
def test_share_is_released_when_numerator_denominator_and_complement_are_safe(
    single: int, families: int, released: bool
) -> None:
    rows = [(number, "target", int(number < single), 1) for number in range(families)]
    rows += [(100 + number, "others", number % 2, 1) for number in range(20)]
    release = g.protect(g.given(SHARES, rows))
    assert bool(release.tables) is released
    if released:
        assert g.shown(release, measure="share")["target",] == single / families


def test_mean_divides_by_all_families_of_the_group() -> None:
    rows = [(number, "target", "SOF", 100) for number in range(6)]
    rows += [(100 + number, "others", "SOF", 3) for number in range(6)]
    families = [(number, "target") for number in range(9)] + [(100 + number, "others") for number in range(6)]
    release = g.protect(g.given(MEANS, rows, families))
    means = g.shown(release, measure="mean")
    assert means["target", "SOF"] == 67  # 600 / 9, rounded
    assert means["all", "all"] == 41  # 618 / 15
    assert means["target", "KFF"] == 0


def test_mean_is_suppressed_where_there_is_no_family_to_divide_by() -> None:
    rows = [(100 + number, "others", "SOF", 3) for number in range(6)]
    families = [(100 + number, "others") for number in range(6)]
    means = g.shown(g.protect(g.given(MEANS, rows, families)), measure="mean")
    assert means["target", "SOF"] is None
    assert means["others", "SOF"] == 3


def test_mean_rounds_halves_away_from_zero() -> None:
    rows = [(number, "target", "SOF", amount) for number, amount in enumerate([-1, -1, -1, -1, -1])]
    families = [(number, "target") for number in range(10)]
    families += [(100 + number, "others") for number in range(6)]
    assert g.shown(g.protect(g.given(MEANS, rows, families)), measure="mean")["target", "SOF"] == -1


def test_unsafe_cell_is_coarsened_away_with_all_margins_shown() -> None:
    release = g.protect(g.counts(BY_DEPARTMENT, {("SOF",): 9, ("SUF",): 7, ("KFF",): 2}))
    assert g.shown(release) == {("SOF",): 9, ("SUF+KFF",): 9, ("all",): 18}
    assert g.outcome(release) == "released, coarsened: department as SOF, SUF+KFF"
    assert release.audit["t"] == {"cells": 3, "withheld": 0, "unsafe_at_finest": 1, "level.department": 1}


def test_table_unsafe_at_every_level_is_refused_by_name_without_numbers() -> None:
    release = g.protect(g.counts(BY_DEPARTMENT, {("SOF",): 3, ("SUF",): 7, ("KFF",): 2}))
    assert release.tables == ()
    assert release.release_id == ""
    text = g.outcome(release)
    assert text.startswith("refused: a cell of department")
    assert not any(character.isdigit() for character in text)


def test_shared_axis_is_shown_at_one_level_in_all_tables() -> None:
    crossed = g.table("u", [DEPARTMENT, GROUP], g.FAMILIES)
    alone = g.counts(BY_DEPARTMENT, {("SOF",): 20, ("SUF",): 20, ("KFF",): 20})
    few = {("SOF", "target"): 20, ("SUF", "target"): 14, ("SUF", "others"): 6, ("KFF", "target"): 17}
    assert ("KFF",) in g.shown(g.protect(alone))
    release = g.protect(alone, g.counts(crossed, {**few, ("KFF", "others"): 3}))
    assert g.shown(release).keys() == {("SOF",), ("SUF+KFF",), ("all",)}
    assert g.shown(release, "u")["SUF+KFF", "others"] == 9


def test_table_refused_for_itself_does_not_coarsen_the_others() -> None:
    hopeless = g.table("u", [DEPARTMENT], g.FAMILIES)
    release = g.protect(
        g.counts(BY_DEPARTMENT, {("SOF",): 9, ("SUF",): 7, ("KFF",): 7}), g.counts(hopeless, {("SOF",): 1}, start=90)
    )
    assert g.outcome(release, "u").startswith("refused")
    assert ("KFF",) in g.shown(release)


def test_second_table_of_a_slightly_smaller_universe_is_refused() -> None:
    whole = g.table("t", [GROUP], g.FAMILIES)
    size = g.axis("size", ["small", "large"])
    part = g.table("u", [size], g.FAMILIES)
    everybody = g.counts(whole, {("target",): 20, ("others",): 20})
    without_two = g.counts(part, {("small",): 10, ("large",): 8})  # of the target's 20
    release = g.protect(everybody, without_two)
    assert g.outcome(release, "u") == "refused: with the other tables of this release it would single out few families"
    assert g.outcome(release) == "released as registered"


def test_two_counts_of_one_cell_that_differ_for_few_families_are_refused() -> None:
    adults = replace(g.FAMILIES, name="adults", column="adults")
    definition = g.table("t", [GROUP], g.FAMILIES, adults)
    rows = [(number, "target", 1, 2 if number < 3 else 1) for number in range(20)]
    assert g.protect(g.given(definition, rows)).tables == ()
    rows = [(number, "target", 1, 2 if number < 7 else 1) for number in range(20)]
    assert g.shown(g.protect(g.given(definition, rows)), measure="adults")["target",] == 27


@pytest.mark.parametrize(("married", "released"), [(3, False), (5, True), (0, True)])
def test_combination_of_counts_that_singles_out_few_families_is_refused(married: int, released: bool) -> None:
    names = ("adults", "single")
    counts = [replace(g.FAMILIES, name=name, column=name) for name in names]
    definition = g.table("t", [GROUP], g.FAMILIES, *counts)
    # Two adults; or one, a single provider; or one who is married: adults + single - 2 families finds those.
    rows = [(number, "target", 1, 2, 0) for number in range(20)]
    rows += [(100 + number, "target", 1, 1, 1) for number in range(20)]
    rows += [(200 + number, "target", 1, 1, 0) for number in range(married)]
    assert bool(g.protect(g.given(definition, rows)).tables) is released


def test_amount_is_summed_by_one_table_with_margins() -> None:
    rows = [(number, "target", 1) for number in range(6)]
    release = g.protect(g.given(AMOUNTS, rows), g.given(replace(AMOUNTS, table_id="u"), rows))
    assert g.outcome(release, "u") == "refused: another table with margins sums the same amount"
    assert len(release.tables) == 1


@pytest.mark.parametrize(
    ("rows", "wrong"),
    [
        ([(1, "elsewhere", 1)], "a category that is not registered"),
        ([(1, "target", 1), (1, "others", 1)], "stands in two cells of a count"),
        ([(1, None, 1)], "without nulls"),
        ([(1, "target", None)], "without nulls"),
    ],
)
def test_contributions_that_do_not_fit_are_refused_without_the_value(
    rows: list[tuple[object, ...]], wrong: str
) -> None:
    text = g.outcome(g.protect(g.given(COUNTS, rows)))
    assert wrong in text
    assert "elsewhere" not in text


def test_published_cross_tab_is_released_with_row_totals_and_612() -> None:
    release = g.protect(g.published_cross_tab())
    numbers = g.shown(release, "services_by_departments")
    services = ["≤10", "11", "12", "13", "14", "15", "16", "≥17"]
    grouped = [[sum(row[:6]), *row[6:12], sum(row[12:])] for row in g.PUBLISHED["families"]]
    for place, name in enumerate(["≤3", "4", "≥5"]):
        assert [numbers[each, name] for each in services] == grouped[place]
        assert numbers["all", name] == g.PUBLISHED["row_totals"][place]
    assert numbers["all", "all"] == g.PUBLISHED["total"] == 612
    assert len(numbers) == 9 * 4
    assert release.audit["services_by_departments"]["unsafe_at_finest"] == 13


def test_subtotal_is_shown_beside_the_total() -> None:
    kind = g.axis("type", ["offer", "transfer", "administration"], subtotals={"without": ("offer", "transfer")})
    definition = g.table("t", [kind], g.AMOUNT)
    rows = [(n, name, amount) for n in range(6) for name, amount in product(["offer", "administration"], [10])]
    numbers = g.shown(g.protect(g.given(definition, rows)), measure="amount")
    assert numbers == {
        ("offer",): 60,
        ("transfer",): 0,
        ("administration",): 60,
        ("without",): 60,
        ("all",): 120,
    }


def coverage(linked: int, unlinked: int, source: str = "prisme") -> list[tuple[object, ...]]:
    """Return rows of the coverage table, one row of 10,00 kr. each."""
    columns = g.REGISTRY["coverage"].columns
    assert columns == ("rows_linked", "amount_linked_ore", "rows", "amount_ore")
    rows: list[tuple[object, ...]] = [(n, source, "exact", 1, 1000, 1, 1000) for n in range(linked)]
    return rows + [(1000 + n, source, "exact", 0, 0, 1, 1000) for n in range(unlinked)]


@pytest.mark.parametrize(
    ("linked", "unlinked", "share"),
    [(95, 5, 0.95), (97, 3, None), (3, 97, None), (100, 0, 1.0), (0, 100, 0.0), (3, 0, None)],
)
def test_coverage_is_withheld_when_few_are_linked_or_few_are_not(
    linked: int, unlinked: int, share: float | None
) -> None:
    rows = coverage(linked, unlinked) + coverage(50, 50, "ky")
    release = g.protect(g.given(g.REGISTRY["coverage"], rows))
    shares = {(row.source, row.method): row.share_rows for row in release.coverage}
    assert shares == {("prisme", "exact"): share, ("ky", "exact"): 0.5}


def test_coverage_has_no_row_for_a_source_that_delivered_nothing() -> None:
    release = g.protect(g.given(g.REGISTRY["coverage"], coverage(50, 50, "ky")))
    assert [row.source for row in release.coverage] == ["ky"]


def test_share_of_amount_is_withheld_when_one_row_dominates_what_is_not_linked() -> None:
    rows = coverage(50, 50)
    rows[-1] = (*rows[-1][:-1], 1_000_000)
    [row] = g.protect(g.given(g.REGISTRY["coverage"], rows)).coverage
    assert (row.share_rows, row.share_amount) == (0.5, None)


def live(*sizes: int, period: str = "2014", reference_date: date = date(2015, 1, 1)) -> tuple[ReleasedTable, ...]:
    cells = {("target",): sizes[0], ("others",): sizes[1]}
    return g.protect(g.counts(COUNTS, cells), period=period, reference_date=reference_date).tables


def test_identical_recomputation_keeps_the_live_release() -> None:
    history = live(20, 30)
    release = g.protect(g.counts(COUNTS, {("target",): 20, ("others",): 30}), history=history)
    assert release.tables == ()
    assert release.outcomes[0].release_id == history[0].release_id
    assert g.outcome(release) == "unchanged: the live release stands"


def test_live_release_stands_when_only_its_wording_changes() -> None:
    reworded = g.counts(replace(COUNTS, title_da="Ny titel"), {("target",): 20, ("others",): 30})
    assert g.outcome(g.protect(reworded, history=live(20, 30))).startswith("unchanged")


def test_different_recomputation_is_held_back_and_the_live_release_stays() -> None:
    history = live(20, 30)
    release = g.protect(g.counts(COUNTS, {("target",): 21, ("others",): 30}), history=history)
    assert release.tables == ()
    assert release.outcomes[0].release_id == history[0].release_id
    assert g.outcome(release) == (
        "held back: a live release exists for this table and period, and differences between releases are not yet "
        "protected"
    )


def test_new_table_is_held_back_while_a_live_one_of_its_period_has_other_data() -> None:
    new = g.table("u", [g.axis("size", ["small", "large"])], g.FAMILIES)
    numbers = {("small",): 10, ("large",): 10}
    same = g.protect(g.counts(COUNTS, {("target",): 20, ("others",): 30}), g.counts(new, numbers), history=live(20, 30))
    assert [table.table_id for table in same.tables] == ["u"]
    changed = g.protect(
        g.counts(COUNTS, {("target",): 25, ("others",): 30}), g.counts(new, numbers), history=live(20, 30)
    )
    assert changed.tables == ()
    assert g.outcome(changed, "u").startswith("held back: the data no longer give")
    gone = g.protect(g.counts(new, numbers), history=live(20, 30))
    assert gone.tables == ()


@pytest.mark.parametrize(
    ("reference_date", "released"), [(date(2015, 2, 1), False), (date(2015, 1, 1), False), (date(2016, 1, 1), True)]
)
def test_other_period_is_held_back_while_reference_dates_are_close(reference_date: date, released: bool) -> None:
    cells = {("target",): 25, ("others",): 30}
    release = g.protect(g.counts(COUNTS, cells), history=live(20, 30), period="2015", reference_date=reference_date)
    assert bool(release.tables) is released


def test_release_says_its_policy_and_repeats_itself() -> None:
    first, again = (g.protect(g.published_cross_tab()) for _ in range(2))
    assert first == again
    assert first.policy_digest == g.POLICY.digest != replace(g.POLICY, threshold=3).digest
    assert len(first.tables[0].digest) == 64


def test_release_content_survives_writing_and_reading() -> None:
    [table] = g.protect(g.published_cross_tab()).tables
    assert ReleasedTable.from_content(table.content(), table.release_id) == table


def test_shuffled_rows_give_the_same_release() -> None:
    table = g.published_cross_tab()
    shuffled = replace(table, contributions=table.contributions.sample(fraction=1, shuffle=True, seed=7))
    assert g.protect(shuffled) == g.protect(table)
    assert isinstance(table.contributions, pl.DataFrame)
