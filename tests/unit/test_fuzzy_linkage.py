"""Fuzzy linkage from encoded frames to each record's person: a town, and what must not link."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import polars as pl
import pytest

from kinlink.encoding.encode import Encoder
from kinlink.encoding.keys import EncodingKey
from kinlink.encoding.schema import find
from linker.linkage.fuzzy.assignment import ASSIGNED, LINKED, REVIEW, UNLINKED, Thresholds, assign
from linker.linkage.fuzzy.blocking import Caps, blocks, candidate_pairs
from linker.linkage.fuzzy.comparison import levels
from linker.linkage.fuzzy.encodings import encoded
from linker.linkage.fuzzy.estimates import estimate
from linker.linkage.fuzzy.evaluation import evaluate
from linker.linkage.fuzzy.linking import Basis, Linkage, link
from linker.linkage.fuzzy.plan import Level, plan_of
from linker.linkage.fuzzy.problems import FuzzyLinkageError, Problem
from tests.payer_town import ADDRESS, Town, town

SCHEMA = find("dk-person-1")
PLAN = plan_of(SCHEMA)
LIMITS = Thresholds()
NAMES = ["given_name", "family_name"]


@cache
def encoder() -> Encoder:
    return Encoder(SCHEMA, EncodingKey(bytes(range(1, 33)), "a test", 1))


@cache
def small_town() -> tuple[Town, pl.DataFrame, pl.DataFrame]:
    made = town(6_000, 2_000)
    return made, encoder().encode(made.records), encoder().encode(made.persons)


@cache
def small_linkage() -> Linkage:
    _, records, persons = small_town()
    return link(PLAN, records, persons, LIMITS)


def test_town_is_linked_as_it_is() -> None:
    made, _, _ = small_town()
    found = small_linkage()
    quality = evaluate(found.records, made.truth)
    assert found.basis is Basis.FITTED
    assert found.records.schema == ASSIGNED
    assert quality.precision >= 0.995, "of some 1,500 links"
    assert quality.recall >= 0.94
    assert quality.sure_wrong <= 0.01
    assert quality.calibration_error <= 0.02


def test_equal_dates_by_chance_are_counted_where_payers_are_as_many_as_namesakes_of_a_day() -> None:
    """A payer meets his own birth date among the 6,000 more often than anybody else's: that is no chance."""
    date = PLAN.index("birth_date")
    assert small_linkage().model.u[date][Level.EQUAL] == pytest.approx(1 / 30_000, rel=0.2)


def test_estimates_hold_the_truth_within_their_bounds() -> None:
    made, _, _ = small_town()
    found = small_linkage()
    quality = evaluate(found.records, made.truth)
    [row] = estimate(found.records, refitted=found.refitted).iter_rows(named=True)
    assert row["precision_low"] <= row["precision"] <= row["precision_high"]
    assert row["precision_low"] <= quality.precision
    assert row["recall_low"] <= quality.recall <= row["recall_high"]
    assert len(found.refitted) == 10


def records_of(*groups: tuple[int, float, bool, int | None]) -> pl.DataFrame:
    """Return so many records, linked where their probability is 1, described in full or not, of a likeness."""
    rows = [
        {"status": LINKED if any_ >= 0.9 else UNLINKED, "probability": any_, "any": any_, "described": described}
        | {"likeness": place if likeness is None else 1_000_000 + likeness}
        for place, (any_, described, likeness) in enumerate(group[1:] for group in groups for _ in range(group[0]))
    ]
    return pl.DataFrame([{"record": f"{n:04}", **row} for n, row in enumerate(rows)], schema=ASSIGNED)


def test_of_records_told_in_part_as_many_are_expected_in_the_register_as_of_others() -> None:
    """80 of 100 are registered; so 40 of 50 others, of whom 30 were found. Without the others, all that was seen."""
    found = records_of((80, 1.0, True, None), (20, 0.0, True, None), (30, 1.0, False, None), (20, 0.0, False, None))
    row = estimate(found).row(0, named=True)
    assert row["recall"] == pytest.approx(110 / 120)
    assert row["recall_low"] < 0.89
    assert row["recall_high"] > 0.94
    assert estimate(found.filter("described"))["recall"].item() == 1
    assert estimate(found.filter(~pl.col("described")))["recall"].item() is None, "nothing says how many are"


def test_records_that_are_alike_are_wrong_together() -> None:
    """Ten records with one payer's one description are ten mistakes, or none."""
    apart, together = (estimate(records_of((10, 0.9, True, kind), (990, 1.0, True, None))) for kind in (None, 7))
    assert apart["precision"].item() == together["precision"].item()
    assert together["precision_low"].item() < apart["precision_low"].item() - 0.005


def test_one_record_that_outweighs_all_others_has_bounds_around_its_estimate() -> None:
    """It is right or wrong: the lower quantile alone would say that it is right."""
    made = records_of((1, 0.99, True, None), (3, 1.0, True, None))
    heavy = made.select("record", pl.when(pl.int_range(pl.len()) == 0).then(1_000_000.0).otherwise(1.0).alias("weight"))
    row = estimate(made, weights=heavy).row(0, named=True)
    assert row["precision_low"] <= row["precision"] <= row["precision_high"]


def test_estimates_by_month_count_amounts() -> None:
    found = small_linkage()
    months = found.records.select("record", pl.col("record").str.slice(-1).alias("month"))
    amounts = found.records.select("record", pl.lit(250.0).alias("weight"))
    by_month = estimate(found.records, groups=months, weights=amounts, refitted=found.refitted)
    assert by_month["month"].to_list() == [*"0123456789"]
    assert by_month["weight"].sum() == 250 * 2_000
    whole = estimate(found.records)
    assert by_month["precision"].mean() == pytest.approx(whole["precision"].item(), abs=0.001)


def test_order_of_rows_changes_nothing() -> None:
    _, records, persons = small_town()
    shuffled = link(PLAN, records.sample(fraction=1, shuffle=True, seed=3), persons.reverse(), LIMITS)
    assert shuffled.records.equals(small_linkage().records)
    assert shuffled.model == small_linkage().model


def test_three_records_are_linked_by_what_is_expected_and_only_on_evidence() -> None:
    made, _, persons = small_town()
    known, other = made.persons.row(7, named=True), made.persons.row(4_000, named=True)
    nobody = dict.fromkeys(known)
    rows = [
        {**known, "record": "all"},
        {**nobody, "record": "names", **{name: other[name] for name in NAMES}, "postcode": other["postcode"]},
        {**nobody, "record": "nothing"},
    ]
    found = link(PLAN, encoder().encode(pl.DataFrame(rows)), persons, LIMITS)
    by_record = {row["record"]: row for row in found.records.iter_rows(named=True)}
    assert found.basis is Basis.EXPECTED
    assert (by_record["all"]["status"], by_record["all"]["person"]) == (LINKED, known["record"])
    assert by_record["names"]["status"] != LINKED
    assert (by_record["nothing"]["status"], by_record["nothing"]["person"]) == (UNLINKED, None)


def test_three_records_are_linked_with_a_kept_model() -> None:
    _, records, persons = small_town()
    found = link(PLAN, records.head(3), persons, LIMITS, kept=small_linkage().model)
    assert found.basis is Basis.KEPT
    assert found.model.m == small_linkage().model.m


def test_two_equal_persons_share_the_probability_and_neither_is_linked() -> None:
    _, records, persons = small_town()
    right = small_linkage().records.filter(pl.col("probability") > 0.999).row(0, named=True)
    twin = persons.filter(pl.col("record") == right["person"]).with_columns(pl.lit("another").alias("record"))
    found = link(PLAN, records, pl.concat([persons, twin]), LIMITS).records.filter(pl.col("record") == right["record"])
    assert found["probability"].item() == pytest.approx(0.5, abs=0.001)
    assert found["margin"].item() == pytest.approx(0, abs=0.001)
    assert found["status"].item() == REVIEW


def test_many_records_may_have_one_person() -> None:
    _, records, persons = small_town()
    sure = small_linkage().records.filter(pl.col("probability") > 0.999).row(0, named=True)
    again = records.filter(pl.col("record") == sure["record"]).with_columns(pl.lit("again").alias("record"))
    found = link(PLAN, pl.concat([records, again]), persons, LIMITS).records
    assert found.filter(pl.col("record").is_in(["again", sure["record"]]))["person"].to_list() == [sure["person"]] * 2


def test_token_of_half_the_population_neither_explodes_nor_hides_others() -> None:
    _, records, persons = small_town()
    common = [bytes(range(8))]

    def marked(frame: pl.DataFrame) -> pl.DataFrame:
        half = pl.int_range(pl.len()) % 2 == 0
        extra = pl.when(half).then(pl.lit(common, dtype=pl.List(pl.Binary))).otherwise(pl.lit([], pl.List(pl.Binary)))
        return frame.with_columns(pl.col("tokens").list.concat(extra))

    found = link(PLAN, marked(records), marked(persons), LIMITS)
    assert found.dropped == small_linkage().dropped + 1
    assert found.records.equals(small_linkage().records)


def test_pairs_stay_within_their_budget() -> None:
    _, records, persons = small_town()
    both = encoded(PLAN, records, persons)
    found = blocks(both, Caps(pairs=500))
    assert 0 < sum(len(left) for left, _ in candidate_pairs(both, found)) <= 500
    assert found.dropped > 0


def test_empty_field_everywhere_links_on_the_others() -> None:
    made, records, persons = small_town()
    without = pl.lit(None, pl.Binary).alias("birth_date")
    found = link(PLAN, records.with_columns(without), persons.with_columns(without), LIMITS)
    assert not found.model.compared[PLAN.index("birth_date")]
    assert evaluate(found.records, made.truth).precision >= 0.99


def test_amounts_decide_which_records_the_expected_error_allows() -> None:
    """A doubtful record of much money is left out where small ones are let in."""
    _, records, persons = small_town()
    both = encoded(PLAN, records.head(3), persons)
    scored = pl.DataFrame(
        {"left": [0, 1, 2], "right": [0, 1, 2], "weight": [40.0, 30, 25], "probability": [1.0, 0.97, 0.95]}
        | {"at_home": [40.0, 30, 25], "moved": [20.0, 20, 20]},
        schema_overrides={"left": pl.UInt32, "right": pl.UInt32},
    )
    ids = both.left.to_list()
    even = assign(both, scored, Thresholds(expected_error=0.03))
    assert even["status"].to_list() == [LINKED] * 3
    heavy = pl.DataFrame({"record": ids, "weight": [1, 1, 100]})
    assert assign(both, scored, Thresholds(expected_error=0.03), heavy)["status"].to_list() == [LINKED, LINKED, REVIEW]


def test_one_name_crosswise_says_nothing_of_the_other() -> None:
    """A swapped name of several words: its first is the surname, its last another given name."""
    described = dict.fromkeys(field.name for field in SCHEMA.fields)
    person = described | {"record": "p", "given_name": "Anne Marie", "family_name": "Skovfeldt"}
    told = [
        described | {"record": "1", "given_name": "Skovfeldt", "family_name": "Anne"},
        described | {"record": "2", "given_name": "Skovfeldt", "family_name": "Anne Marie"},
        described | {"record": "3", "given_name": "Bodil", "family_name": "Anne"},
        described | {"record": "4", "given_name": "Bodil", "family_name": "Marie"},
    ]
    both = encoded(PLAN, *(encoder().encode(pl.DataFrame(rows)) for rows in (told, [person])))
    found = levels(both, np.arange(4), np.zeros(4, np.int64))[:, [PLAN.index(name) for name in NAMES]]
    assert found[:3].tolist() == [[Level.SWAPPED, Level.NULL], [Level.NULL, Level.SWAPPED], [Level.SWAPPED, Level.NULL]]
    assert Level.SWAPPED not in found[3]


def test_close_runner_up_goes_to_review() -> None:
    _, records, persons = small_town()
    both = encoded(PLAN, records.head(1), persons)
    scored = pl.DataFrame(
        {"left": [0, 0], "right": [0, 1], "weight": [30.0, 28.0], "probability": [0.95, 0.04]}
        | {"at_home": [30.0, 28.0], "moved": [20.0, 20.0]},
        schema_overrides={"left": pl.UInt32, "right": pl.UInt32},
    )
    generous = Thresholds(expected_error=0.5)
    assert assign(both, scored, generous)["status"].item() == REVIEW
    assert assign(both, scored, Thresholds(expected_error=0.5, margin=1.0))["status"].item() == LINKED


@pytest.mark.parametrize("people", [1_200, 3_000])
def test_namesake_elsewhere_never_wins_over_full_agreement(people: int) -> None:
    """The same names and birth date at another address: the record is of the one at its own, or in review."""
    made = town(people, people // 4)
    who = made.persons.sample(5, seed=1)
    elsewhere = made.persons.select(ADDRESS).sample(5, seed=2)
    namesakes = who.with_columns(*(elsewhere[name] for name in ADDRESS), record=pl.format("other-{}", "record"))
    asked = who.with_columns(record=pl.format("asked-{}", "record"))
    records = encoder().encode(pl.concat([made.records, asked.select(made.records.columns)]))
    persons = encoder().encode(pl.concat([made.persons, namesakes.select(made.persons.columns)]))
    found = link(PLAN, records, persons, LIMITS).records.filter(pl.col("record").str.starts_with("asked-"))
    linked = found.filter(status=LINKED)
    assert (linked["person"] == linked["record"].str.slice(6)).all()
    assert set(found["status"]) <= {LINKED, REVIEW}


def test_token_of_more_persons_than_the_cap_blocks_nobody() -> None:
    _, records, persons = small_town()
    found = blocks(encoded(PLAN, records, persons), Caps(persons=1))
    assert len(found.counts) > 0
    assert set(found.counts) == {1}


BAD: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], Problem]] = {
    "a missing field": (lambda frame: frame.drop("street"), Problem.COLUMNS),
    "a field as text": (lambda frame: frame.with_columns(pl.lit("x").alias("street")), Problem.COLUMNS),
    "no tokens": (lambda frame: frame.drop("tokens"), Problem.COLUMNS),
    "a filter too short": (
        lambda frame: frame.with_columns(pl.lit(b"short").alias("birth_date")),
        Problem.FILTER_LENGTH,
    ),
    "a short token": (lambda frame: frame.with_columns(pl.lit([b"abc"]).alias("tokens")), Problem.TOKENS),
    "a record twice": (lambda frame: pl.concat([frame, frame]), Problem.RECORDS),
    "no records": (lambda frame: frame.clear(), Problem.TOO_FEW_RECORDS),
    "nothing but names": (
        lambda frame: frame.with_columns(
            pl.lit(None, pl.Binary).alias(f.name) for f in PLAN.fields if f.name != "given_name"
        ),
        Problem.TOO_FEW_FIELDS,
    ),
}


@pytest.mark.parametrize("side", ["records", "persons"])
@pytest.mark.parametrize("case", BAD)
def test_bad_frame_is_refused_by_name(case: str, side: str) -> None:
    spoil, problem = BAD[case]
    _, records, persons = small_town()
    frames = (spoil(records), persons) if side == "records" else (records, spoil(persons))
    with pytest.raises(FuzzyLinkageError) as error:
        link(PLAN, *frames, LIMITS)
    assert error.value.problem is problem


def test_frames_of_another_schema_are_refused() -> None:
    _, records, persons = small_town()
    with pytest.raises(FuzzyLinkageError) as error:
        link(plan_of(find("febrl-1")), records, persons, LIMITS)
    assert error.value.problem is Problem.COLUMNS


def test_persons_under_another_key_link_to_nobody() -> None:
    made, records, _ = small_town()
    other = Encoder(SCHEMA, EncodingKey(bytes(range(2, 34)), "a test", 1)).encode(made.persons)
    found = link(PLAN, records, other, LIMITS)
    assert found.pairs == 0
    assert found.records["status"].unique().to_list() == [UNLINKED]
