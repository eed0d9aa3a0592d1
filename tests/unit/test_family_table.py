"""The family table: columns, coding, amounts, ids, and what refuses it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import polars as pl
import pytest

from linker.disclosure.family_table import FamilyTable, Refusal
from linker.disclosure.family_table.coded_tables import totals_ore
from linker.disclosure.family_table.columns import HIDDEN, PROPERTIES, SOME, TOTAL, Bands, amounts, properties
from linker.disclosure.policy import Policy, Spending
from linker.disclosure.release import CellStatus, ReleasedAxis, ReleasedCell, ReleasedMeasure, ReleasedTable
from linker.tables.registered_table import GROUP, RegisteredTable
from tests import family_towns as f

TOWN = f.town(1500)
TABLE = f.table(TOWN)
BANDS = Bands(f.POLICY.family_table.bands_ore)
ROUNDED = f.asking(spending=Spending.ROUNDED)
SECRET = b"s" * 32


def test_bands_name_whole_kroner_and_hold_their_amounts() -> None:
    assert BANDS.labels[:3] == ("<1", "1-24999", "25000-49999")
    assert BANDS.labels[-1] == "≥3200000"
    cases = {-5: "<1", 0: "<1", 1: "1-24999", 2_499_999: "1-24999", 2_500_000: "25000-49999", 10**12: "≥3200000"}
    found = pl.DataFrame({"amount": list(cases)}).select(BANDS.label(pl.col("amount"))).to_series().to_list()
    assert found == list(cases.values())
    for amount, label in cases.items():
        low, high = BANDS.limits_ore(label)
        assert low is None or low <= amount
        assert high is None or amount <= high


def test_properties_are_banded_by_hand() -> None:
    members = TOWN.members.filter(pl.col("family_id") == 0).with_columns(
        age=pl.when(pl.col("role") == "child").then(9).otherwise(41).cast(pl.Int16)
    )
    families = TOWN.families.filter(pl.col("family_id") == 0).with_columns(
        n_persons=pl.lit(6, pl.UInt32), n_children=pl.lit(4, pl.UInt32), single_provider=pl.lit(value=False)
    )
    services = TOWN.services.clear()
    expected = dict(zip(PROPERTIES, ("≥3", "no", "5-9", "≥5", "0-1", "40-49", "0-1"), strict=True), family_id=0)
    assert properties(members, families, services).row(0, named=True) == expected
    used = pl.DataFrame([(0, "SOF", str(n)) for n in range(5)], schema=services.schema, orient="row")
    row = properties(members.filter(role="child"), families, used).row(0, named=True)
    assert (row["services"], row["departments"], row["oldest_adult"]) == ("4-6", "0-1", "none")


def test_amounts_of_a_department_add_up_and_a_family_without_has_none() -> None:
    found = amounts(TOWN.families, TOWN.spending, f.DEPARTMENTS)
    assert found["family_id"].to_list() == sorted(TOWN.families["family_id"])
    assert found[TOTAL].sum() == TOWN.total_ore
    assert (found[TOTAL] == found.select(pl.sum_horizontal(f"{TOTAL}_{d}" for d in f.DEPARTMENTS)).to_series()).all()


def test_rows_have_no_district_group_service_or_id() -> None:
    assert TABLE.rows.columns == [*PROPERTIES, TOTAL, *(f"{TOTAL}_{d}" for d in f.DEPARTMENTS), "families"]
    assert not {"district", GROUP, "family_id", "person_id", "household_id"} & set(TABLE.rows.columns)
    assert "Nord" not in TABLE.content()


def test_every_family_stands_in_one_row_and_every_row_for_k() -> None:
    assert TABLE.rows["families"].sum() == TOWN.families.height
    assert TABLE.rows["families"].min() >= 5  # type: ignore[operator]
    assert not TABLE.rows.select(pl.exclude("families")).is_duplicated().any()


def test_order_of_rows_and_numbers_of_families_do_not_matter() -> None:
    for seed in (1, 2):
        assert f.table(TOWN.shuffled(seed)).content() == TABLE.content()


def test_sensitive_policy_asks_for_more_alike() -> None:
    table = f.table(TOWN, f.asking(sensitive=True))
    assert table.record.k == 10
    assert table.rows["families"].min() >= 10  # type: ignore[operator]
    assert table.rows["families"].max() > TABLE.rows["families"].min()  # type: ignore[operator]


def test_class_shows_as_many_totals_as_asked_or_none() -> None:
    classes = TABLE.rows.group_by(PROPERTIES).agg(pl.col(TOTAL).unique())
    for totals in classes[TOTAL].to_list():
        assert len(totals) >= 3 or totals == [HIDDEN]


def test_department_shows_bands_only_in_a_class_with_as_many() -> None:
    for name in (f"{TOTAL}_{d}" for d in f.DEPARTMENTS):
        shown = TABLE.rows.filter(~pl.col(name).is_in([HIDDEN, SOME])).group_by(PROPERTIES).agg(pl.col(name).unique())
        for bands in shown[name].to_list():
            assert len(bands) >= 3 or bands == ["<1"]


def test_less_useful_properties_are_hidden_first() -> None:
    hidden = TABLE.rows.select((pl.col(name) == HIDDEN).alias(name) for name in PROPERTIES).unique()
    for row in hidden.iter_rows():
        assert list(row) == sorted(row)


@pytest.mark.parametrize("families", [0, 1, 4])
def test_too_few_families_are_refused_with_what_to_do(families: int) -> None:
    found = f.made(f.town(families))
    assert isinstance(found, Refusal)
    assert "fewer than 5 families" in str(found)
    assert "; next: " in str(found)


def test_few_families_stand_in_the_residue_with_everything_hidden() -> None:
    found = f.table(f.town(6))
    assert found.rows.select(pl.exclude("families")).unique().row(0) == (HIDDEN,) * (found.rows.width - 1)
    assert found.record.residue == found.record.families == 6


def test_residue_holds_k_or_nobody() -> None:
    for seed in range(12):
        record = f.table(f.town(60 + 17 * seed, seed)).record
        assert record.residue == 0 or record.residue >= 5
        assert min(record.smallest_class, record.fewest_alike) >= 5


def test_table_reads_back_as_it_was_written() -> None:
    for table in (TABLE, f.table(TOWN, ROUNDED)):
        again = FamilyTable.from_content(table.content(), "r", table.record_content())
        assert again.rows.equals(table.rows)
        assert (again.digest, again.record) == (table.digest, table.record)
        assert [each.digest for each in again.coded] == [each.digest for each in table.coded]


def test_ids_of_two_consumers_and_two_releases_share_nothing() -> None:
    first, same = TABLE.for_consumer("a", SECRET), TABLE.for_consumer("a", SECRET)
    assert first.equals(same)
    assert first.height == TOWN.families.height == first["row_id"].n_unique()
    assert first["row_id"].is_sorted()
    for other in (TABLE.for_consumer("b", SECRET), TABLE.for_consumer("a", b"t" * 32)):
        assert not set(first["row_id"]) & set(other["row_id"])
        columns = PROPERTIES
        assert not first.select(columns).equals(other.select(columns))  # the order differs too
        assert first.select(columns).sort(columns).equals(other.select(columns).sort(columns))


def test_rounded_amounts_are_whole_thousands_and_five_share_the_top() -> None:
    table = f.table(TOWN, ROUNDED)
    quantile = amounts(TOWN.families, TOWN.spending, f.DEPARTMENTS)[TOTAL].quantile(0.995, "lower")
    rows = table.for_consumer("a", SECRET)
    assert (rows[f"{TOTAL}_kr"].drop_nulls() % 1000 == 0).all()
    assert rows[f"{TOTAL}_kr"].max() <= quantile / 100 + 500  # type: ignore[operator]
    for name in (TOTAL, *(f"{TOTAL}_{d}" for d in f.DEPARTMENTS)):
        amount = pl.col(f"{name}_kr")
        tops = rows.filter(amount.is_not_null()).group_by(PROPERTIES).agg((amount == amount.max()).sum())
        assert tops.height
        assert tops[f"{name}_kr"].min() >= 5
        assert (
            rows.filter(pl.col(name).is_in([HIDDEN, SOME]))[f"{name}_kr"].null_count()
            == rows.filter(pl.col(name).is_in([HIDDEN, SOME])).height
        )
    assert f.table(TOWN, ROUNDED).record.fewest_alike >= 5


def test_coded_totals_are_near_the_truth_and_a_function_of_the_rows() -> None:
    for policy, tolerance in ((f.POLICY, 0.1), (ROUNDED, 0.1)):
        table = f.table(TOWN, policy)
        families, departments = table.coded
        cells = {(cell.categories, cell.measure): cell.value for cell in families.cells}
        assert cells[("all", "all"), "families"] == TOWN.families.height
        total = cells[("all", "all"), "amount"]
        assert total is not None
        assert abs(total / TOWN.total_ore - 1) < tolerance
        rows = table.for_consumer("a", SECRET)
        assert totals_ore(rows, BANDS).sum() == pytest.approx(total, rel=0.001)
        for cell in (*families.cells, *departments.cells):
            assert cell.status is CellStatus.PUBLISHED
            assert cell.measure != "families" or cell.value == 0 or cell.value >= 5  # type: ignore[operator]
        band = {cell.categories: cell.value for cell in departments.cells}
        assert band["BUF", SOME] == rows.filter(pl.col(f"{TOTAL}_BUF") == SOME).height


def test_record_counts_what_was_done() -> None:
    record = TABLE.record
    altered = TABLE.rows.filter(
        pl.any_horizontal(pl.col(name).is_in([HIDDEN, SOME]) for name in TABLE.rows.columns if name != "families")
    )["families"].sum()
    assert record.share_altered == round(altered / 1500, 4)
    assert 0 < record.share_moved < 0.5
    assert set(record.candidates) == {"1", "2", "3"}
    assert min(record.candidates.values()) >= 5
    assert record.attempts > 500


def hiding(definition: RegisteredTable, *hidden: tuple[tuple[str, ...], str], period: str = "2014") -> ReleasedTable:
    """Return a released table that shows all but these."""
    total = tuple(axis.total for axis in definition.axes)
    places = {total, *(place for place, _ in hidden)}
    return ReleasedTable(
        release_id="r",
        table_id=definition.table_id,
        version=1,
        revision=1,
        title_da="",
        title_en="",
        universe="",
        notes_da=(),
        period=period,
        reference_date=date(2015, 1, 1),
        axes=tuple(
            ReleasedAxis(axis.name, "", axis.categories, tuple(axis.subtotals), axis.total, {})
            for axis in definition.axes
        ),
        measures=tuple(ReleasedMeasure(each.name, "", each.unit) for each in definition.measures),
        cells=tuple(
            ReleasedCell(place, each.name, CellStatus.SUPPRESSED, None)
            if (place, each.name) in hidden
            else ReleasedCell(place, each.name, CellStatus.PUBLISHED, 1)
            for place in sorted(places)
            for each in definition.measures
        ),
        digest="",
    ).sealed()


CHARACTERISTICS = next(each for each in f.REGISTRY if each.table_id == "family_characteristics")
TO_DATE = next(each for each in f.REGISTRY if each.table_id == "spending_to_date")


def test_rows_that_tell_a_hidden_number_of_families_are_refused() -> None:
    found = f.made(
        TOWN, released=(hiding(CHARACTERISTICS, *((("all",), each.name) for each in CHARACTERISTICS.measures)),)
    )
    assert isinstance(found, Refusal)
    assert "family_characteristics: " in str(found)
    of_target = hiding(CHARACTERISTICS, (("target",), "families"), (("others",), "families"))
    assert isinstance(f.made(TOWN, released=(of_target,)), FamilyTable)


WIDE = replace(f.POLICY.policies["standard"].protection, interval_percent=20)
"""A hidden amount must be uncertain by a fifth: bands are, rounded amounts are not."""


def asking_wide(policy: Policy) -> Policy:
    return replace(policy, policies={"standard": replace(policy.policies["standard"], protection=WIDE)})


def test_rounded_amounts_that_tell_a_hidden_total_are_refused_and_bands_are_not() -> None:
    [measure] = TO_DATE.measures
    total = tuple(axis.total for axis in TO_DATE.axes)
    released = hiding(TO_DATE, (total, measure.name), period="2014M01-12")
    assert isinstance(f.made(TOWN, asking_wide(f.POLICY), (released,)), FamilyTable)
    refused = f.made(TOWN, asking_wide(ROUNDED), (released,))
    assert isinstance(refused, Refusal)
    assert "spending_to_date: amount_ore of all families" in str(refused)
    assert "bands" in refused.next
    shown = hiding(TO_DATE, period="2014M01-12")  # another table shows it: then it is no secret
    assert isinstance(f.made(TOWN, asking_wide(ROUNDED), (released, shown)), FamilyTable)


def test_department_that_is_hidden_is_looked_for_in_its_own_column() -> None:
    [measure] = TO_DATE.measures
    place = tuple("BUF" if axis.name == "department" else axis.total for axis in TO_DATE.axes)
    released = hiding(TO_DATE, (place, measure.name), period="2014M01-12")
    assert isinstance(f.made(TOWN, released=(released,)), FamilyTable)
    nearly_all = replace(WIDE, interval_percent=98)
    strict = replace(f.POLICY, policies={"standard": replace(f.POLICY.policies["standard"], protection=nearly_all)})
    assert "spending_to_date: amount_ore of BUF" in str(f.made(TOWN, strict, (released,)))


def test_outcome_says_how_the_attack_went_also_when_nobody_has_a_service() -> None:
    assert str(TABLE.record).endswith("the linkage attack leaves at least 5 candidates")
    idle = replace(TOWN, services=TOWN.services.clear())
    assert str(f.table(idle).record).endswith("has nothing to go on: no family uses a service")
