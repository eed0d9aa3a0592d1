"""Does a run link records without a number by their encodings, and nothing on nothing?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kinlink.encoding.schema import find
from kinlink.pseudonyms import Kind
from linker.store import deliveries, linkages
from linker.store.runs import Stage
from servicekit.database import read
from tests import payer_town
from tests.payer_town import Rates
from tests.unit import linkage_fixtures as given
from tests.unit.linkage_fixtures import POLICY, SOURCE, Place, town

PERIOD = "2014"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def deliver_all(place: Place, encoded: given.EncodedTown | None = None, **payers: Any) -> dict[str, tuple[str, str]]:
    """Deliver the register's and the payers' encodings, and a posting a record; return the deliveries' keys."""
    made = encoded or town()
    place.post(made.records["encoding_id"].to_list())
    register = place.deliver("person_encodings", made.persons, source="folkeregister")
    return {"register": register, "payers": place.deliver("payer_encodings", made.records, **payers)}


def right(place: Place, encoded: given.EncodedTown | None = None) -> float:
    """Return the share of links that are right."""
    truth = (encoded or town()).truth
    return sum(truth[record] == person for record, person in place.linked.items()) / len(place.linked)


def test_records_are_linked_to_their_persons_and_the_quality_is_estimated(place: Place) -> None:
    """Most are linked, almost all of them rightly, and the estimate holds what is true."""
    deliver_all(place)
    quality, notes = place.link()
    in_register = sum(person is not None for person in town().truth.values())
    assert len(place.linked) > 0.85 * in_register
    assert right(place) > 0.98
    assert notes == []
    total, month = quality
    assert (total["source"], total["month"], month["month"]) == (SOURCE, "", "2014-03")
    counted = place.links["status"].value_counts()
    by_status = dict(counted.iter_rows())
    assert (total["records"], total["linked"], total["in_review"]) == (
        given.RECORDS,
        by_status["linked"],
        by_status["review"],
    )
    assert total["precision_low"] <= right(place) <= 1
    assert total["precision_low"] <= total["precision"] <= total["precision_high"]
    assert total["recall_low"] <= total["recall"] <= total["recall_high"]
    assert place.reported == [(Stage.LINKAGE, done, 3) for done in (0, 1, 2, 3)]


def test_a_record_says_which_of_its_fields_are_missing(place: Place) -> None:
    """By the schema's names, as its source is told."""
    deliver_all(place)
    place.link()
    names = [field.name for field in given.given.SCHEMA.fields]
    filled = dict(town().records.select("encoding_id", "fields").iter_rows())
    for record, missing in place.links.select("encoding_id", "missing").iter_rows():
        assert missing == [name for name, value in zip(names, filled[record], strict=True) if value is None]
    assert any(place.links["missing"].list.len())


def test_links_are_the_same_in_whatever_order_and_pieces_rows_were_delivered(place: Place, tmp_path: Path) -> None:
    """Rows backwards, and payers in two deliveries."""
    deliver_all(place)
    place.link()
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")
    made = town()
    other.post(made.records["encoding_id"].to_list()[::-1])
    other.deliver("person_encodings", made.persons.reverse(), source="folkeregister")
    other.deliver("payer_encodings", made.records[100:].reverse(), period="2014-02")
    other.deliver("payer_encodings", made.records[:100], period="2014-01")
    other.link()
    origin = ("delivery_id", "posting_id", "register_id")
    assert other.links.drop(origin).equals(place.links.drop(origin))
    other.close()


def test_nothing_is_done_again_while_nothing_has_changed(place: Place) -> None:
    """The second run makes no snapshot, says so, and shows the same quality; another posting is a change."""
    deliver_all(place)
    quality, _ = place.link()
    snapshot = place.store.current().number
    again, notes = place.link()
    assert (place.store.current().number, again) == (snapshot, quality)
    assert notes == [f"Nothing that links are made from has changed since snapshot {snapshot}: its links stand."]
    place.post(["later"])
    place.link()
    assert place.store.current().number == snapshot + 2


def test_another_policy_links_anew(place: Place) -> None:
    """The controller's numbers count from the next run on."""
    deliver_all(place)
    place.link()
    before = len(place.linked)
    place.policy = given.strict(margin=40.0)
    _, notes = place.link()
    assert notes == []
    assert len(place.linked) < before


def test_without_encodings_there_is_nothing_to_say(place: Place) -> None:
    """A linker that nobody sends encodings makes no snapshot for them."""
    place.post(["a"])
    assert place.link() == ([], [])
    assert place.store.current().number == 1


def test_payers_without_a_register_are_linked_to_nobody(place: Place) -> None:
    """And the operator is told what to deliver."""
    place.deliver("payer_encodings", town().records)
    _, notes = place.link()
    assert notes[0].startswith("Nothing was linked by encodings: the register's are not here.")
    assert place.links.is_empty()


def test_payers_under_another_schema_or_key_version_are_not_compared(place: Place) -> None:
    """They are named; those under the register's are linked."""
    made = town()
    place.deliver("person_encodings", made.persons, source="folkeregister")
    place.deliver("payer_encodings", made.records[:220])
    place.deliver("payer_encodings", made.records[220:260], period="2013", schema_id=find("febrl-1").id)
    place.deliver("payer_encodings", made.records[260:], period="2012", keys={Kind.ENCODING: 2})
    _, notes = place.link()
    assert set(place.statuses) == set(made.records["encoding_id"][:220])
    assert "prisme 2012, prisme 2013" in notes[0]


def test_a_schema_that_the_linker_has_not_links_nothing(place: Place) -> None:
    """As after another version of it was installed; the run goes on with a note."""
    made = town()
    place.deliver("person_encodings", made.persons, source="folkeregister", schema_id="dk-person-1.0000000000000000")
    place.deliver("payer_encodings", made.records, schema_id="dk-person-1.0000000000000000")
    _, notes = place.link()
    assert "another version" in notes[0]
    assert place.links.is_empty()


def test_the_newest_of_registers_and_of_a_records_encodings_counts(place: Place) -> None:
    """By period, whenever they came; who is in an older register alone is linked to nobody."""
    made = town()
    place.deliver("person_encodings", made.persons[:500], period="2014-12", source="folkeregister")
    place.deliver("person_encodings", made.persons, period="2014-06", source="folkeregister")
    mixed = made.records.with_columns(pl.col("fields", "tokens").reverse())
    place.deliver("payer_encodings", made.records, period="2014-02")
    place.deliver("payer_encodings", mixed, period="2014-01")
    place.link()
    assert set(place.linked.values()) <= set(made.persons["person_id"][:500])
    assert right(place) > 0.98


def test_encodings_of_another_period_are_not_those_of_a_posting(place: Place) -> None:
    """A source numbers its rows anew each month; this month's payers are here before this month's postings."""
    january, february = town().records[:150], town().records[150:]
    ids = january["encoding_id"]
    place.post(ids.to_list(), period="2014-01")
    place.deliver("person_encodings", town().persons, source="folkeregister")
    place.deliver("payer_encodings", january, "2014-01")
    place.link()
    before = place.linked
    assert right(place) > 0.97
    renumbered = february.with_columns(ids)
    place.deliver("payer_encodings", renumbered, "2014-02")
    place.link()
    assert place.linked == before


def test_a_record_linked_before_its_posting_came_is_not_that_of_another_period(place: Place) -> None:
    """Its encodings are of February; then a posting of January has its id."""
    place.deliver("person_encodings", town().persons, source="folkeregister")
    place.deliver("payer_encodings", town().records, "2014-02")
    place.link()
    record = min(place.linked)
    place.post([record], period="2014-01")
    place.link()
    assert len(place.linked) > 1
    assert record not in place.statuses


def test_an_id_that_stands_in_postings_of_several_deliveries_names_no_record(place: Place) -> None:
    """Rows numbered anew each month: nobody pays for another month's payer, whoever answered; splits are no reuse."""
    deliver_all(place)
    place.link()
    first, second, third = sorted(place.linked)[:3]
    told = pl.DataFrame({"encoding_id": [second], "person_id": [4_000]}, schema_overrides={"person_id": pl.UInt32})
    place.deliver("review_answers", told)
    place.post([first, second], month=given.D(2014, 4, 1))
    place.post(["x", "x"])
    _, notes = place.link()
    assert not {first, second} & set(place.statuses)
    assert third in place.linked
    assert any(note.startswith("Not linked: 2 records of prisme, whose ids stand in") for note in notes)


def test_a_refusal_is_not_tried_again_while_nothing_has_changed(place: Place) -> None:
    """And its note is said again."""
    made = town()
    place.deliver("person_encodings", made.persons, source="folkeregister")
    nothing = made.records.with_columns(tokens=pl.lit([], pl.List(pl.Binary)))
    place.deliver("payer_encodings", nothing.with_columns(pl.col("fields").list.eval(pl.element().filter(False))))
    _, notes = place.link()
    snapshot = place.store.current().number
    _, again = place.link()
    assert place.store.current().number == snapshot
    assert again[:-1] == notes
    assert notes[0].startswith("Nothing was linked by encodings: ")


def test_three_postings_are_linked_by_what_is_expected_and_that_is_said(place: Place) -> None:
    """No model is fitted to them, none is kept, and no quality is shown of so few."""
    made = town()
    deliver_all(place, given.EncodedTown(made.persons, made.records[:3], made.truth))
    quality, notes = place.link()
    assert quality == []
    assert any("too few records for a model of their own: what the linkage schema expects" in note for note in notes)
    assert all(made.truth[record] == person for record, person in place.linked.items())
    with read(place.store.engine) as connection:
        assert linkages.newest(connection).model == ""  # type: ignore[union-attr]


def test_three_postings_are_linked_by_the_model_of_the_month_before(place: Place) -> None:
    """Which is kept by schema and key version."""
    made = town()
    keys = deliver_all(place)
    place.link()
    place.take_out("payer_encodings", keys["payers"], deliveries.withdraw)
    place.deliver("payer_encodings", made.records[:3], period="2014-02")
    _, notes = place.link()
    assert any("the model of an earlier run was used" in note for note in notes)
    assert len(place.links) == 3


@pytest.mark.parametrize("lost", [("postcode",), ("street", "house_number", "floor_door", "postcode")])
def test_a_field_that_is_empty_everywhere_is_not_compared_and_named(place: Place, lost: tuple[str, ...]) -> None:
    """The rest links as well as it can."""
    drawn = payer_town.town(given.PERSONS, given.RECORDS, 3)
    nothing = [pl.lit(None, pl.String).alias(name) for name in lost]
    made = given.encoded_town(
        payer_town.Town(drawn.records.with_columns(nothing), drawn.persons.with_columns(nothing), drawn.truth)
    )
    deliver_all(place, made)
    _, notes = place.link()
    assert f"Not compared, since the register or all records lack them: {', '.join(lost)}." in notes
    assert right(place, made) > 0.97


def test_records_of_which_nothing_is_known_link_to_nobody(place: Place) -> None:
    """Empty in every field: the run goes on, with a note, and no link is made on nothing."""
    drawn = payer_town.town(given.PERSONS, given.RECORDS, 3)
    nothing = [pl.lit(None, pl.String).alias(name) for name in payer_town.FIELDS]
    made = given.encoded_town(payer_town.Town(drawn.records.with_columns(nothing), drawn.persons, drawn.truth))
    deliver_all(place, made)
    _, notes = place.link()
    assert place.linked == {}
    assert notes[0].startswith("Nothing was linked by encodings: ")


@pytest.mark.parametrize("record", ["r0000008", "r0000032"])
def test_what_one_record_lacks_is_no_note(place: Place, record: str) -> None:
    """Of fewer records than quality is shown of: a note about all would be about each."""
    made = town()
    place.post([record])
    place.deliver("person_encodings", made.persons, source="folkeregister")
    place.deliver("payer_encodings", made.records.filter(encoding_id=record))
    _, notes = place.link()
    assert place.links["missing"].list.len().sum() > 0
    assert [note.split(":")[0] for note in notes] == ["There are too few records for a model of their own"]


def test_many_records_that_agree_with_nobody_are_a_note_without_their_number(place: Place) -> None:
    """Records of another town, as many as quality is shown of: one more or less is not told."""
    other = town(given.PERSONS, POLICY.smallest_group, seed=9).records.with_columns(
        tokens=pl.concat_list(pl.lit(b"8 bytes!"))
    )
    place.deliver("person_encodings", town().persons, source="folkeregister")
    place.deliver("payer_encodings", other)
    _, notes = place.link()
    assert notes[-1].startswith("More than half of the records agree with nobody")


def test_a_token_that_half_the_population_has_links_nobody(place: Place) -> None:
    """It blocks nobody; what else agrees still links."""
    made = town()
    shared = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.concat_list("tokens", pl.lit(b"8 bytes!")))
    persons = made.persons.with_columns(shared.otherwise("tokens").alias("tokens"))
    records = made.records.with_columns(pl.concat_list("tokens", pl.lit(b"8 bytes!")).alias("tokens"))
    deliver_all(place, given.EncodedTown(persons, records, made.truth))
    place.link()
    assert right(place) > 0.98


def test_a_model_whose_meaning_is_lost_links_nobody_and_earlier_links_stand(place: Place) -> None:
    """A month of strangers with the fields mixed up is refused; the month before keeps what it had."""
    deliver_all(place, period="2014-01")
    place.link()
    before = place.linked
    strangers = payer_town.town(given.PERSONS, 2_000, 99, Rates(outside=1.0))
    said = given.encodings(strangers.records).rename({"record": "encoding_id"})
    said = said.with_columns(pl.col("encoding_id").str.replace("r", "s"), pl.col("fields").list.reverse())
    strange = said.with_columns(tokens=pl.lit([], pl.List(pl.Binary)))
    place.deliver("payer_encodings", strange, period="2014-02")
    place.link()
    linked = {record: person for record, person in place.linked.items() if record.startswith("s")}
    assert linked == {}
    assert len(before) * 0.9 < len(place.linked)
