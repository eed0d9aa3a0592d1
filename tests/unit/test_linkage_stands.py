"""What stands of a record without a number: answers, exclusions, number changes, and the ends of deliveries."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from kinlink.pseudonyms import Kind
from linker.linkage import comparable
from linker.store import deliveries
from linker.store.runs import Stage
from linker.store.tables import LINKS
from linker.store.tables import facts as stored
from tests.unit.linkage_fixtures import TODAY, Place, town
from tests.unit.linker_fixtures import SCHEMA

REGISTER = {"source": "folkeregister"}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.fixture
def keys(place: Place) -> dict[str, tuple[str, str]]:
    """Deliver encodings of everybody, and link; return the deliveries' keys."""
    made = town()
    register = place.deliver("person_encodings", made.persons, **REGISTER)
    payers = place.deliver("payer_encodings", made.records)
    place.link()
    return {"register": register, "payers": payers}


def answer(place: Place, told: dict[str, int | None], period: str = "2014", **how: str) -> tuple[str, str]:
    """Deliver answers."""
    rows = pl.DataFrame({"encoding_id": list(told), "person_id": list(told.values())}, schema_overrides=_ANSWER)
    return place.deliver("review_answers", rows, period, **how)


_ANSWER = {"person_id": pl.UInt32}


def test_an_answer_overrides_what_the_encodings_say(place: Place, keys: dict[str, tuple[str, str]]) -> None:
    """Somebody, nobody, and a record that was never encoded; of others' records nothing changes.

    A run begins from the model of the last: a record at the limit may come to review.
    """
    was = place.linked
    first, second = sorted(was)[:2]
    answer(place, {first: 4_000, second: None, "by hand": 4_001})
    answer(place, {first: 9_999, "other": 5}, source="other")
    place.link()
    own = place.links.filter(source="prisme")
    linked = dict(own.filter(status="linked").select("encoding_id", "person_id").iter_rows())
    assert (linked[first], linked["by hand"]) == (4_000, 4_001)
    assert dict(own.select("encoding_id", "status").iter_rows())[second] == "unlinked"
    rest = set(was) - {first, second}
    assert {linked[record] - was[record] for record in rest & set(linked)} == {0}
    assert len(rest - set(linked)) <= 1
    assert keys


def test_answers_hold_when_records_are_encoded_again_and_the_newest_counts(
    place: Place, keys: dict[str, tuple[str, str]]
) -> None:
    """By period; withdrawn, they leave the record to its encodings again."""
    record, before = sorted(place.linked.items())[0]
    answer(place, {record: 4_001}, "2014-02")
    late = answer(place, {record: 4_000}, "2014-03")
    answer(place, {record: 4_002}, "2014-01")
    place.take_out("payer_encodings", keys["payers"], lambda c, key: deliveries.replace(c, key, "next"))
    place.deliver("payer_encodings", town().records)
    place.link()
    assert place.linked[record] == 4_000
    place.take_out("review_answers", late, deliveries.withdraw)
    place.link()
    assert place.linked[record] == 4_001
    for period in ("2014-01", "2014-02"):
        place.take_out("review_answers", _of_period(place, period), deliveries.withdraw)
    place.link()
    assert place.linked[record] == before


def _of_period(place: Place, period: str) -> tuple[str, str]:
    with place.store.engine.connect() as connection:
        accepted = deliveries.accepted_in_slot(connection, "prisme", "review_answers", period)
    assert accepted is not None
    return accepted.key


def test_answered_records_are_certain_in_the_quality(place: Place, keys: dict[str, tuple[str, str]]) -> None:
    """All answered: precision and recall are 1, and nothing is in review."""
    place.post(list(town().truth))
    place.say_again(keys["payers"])
    answer(place, dict(town().truth))
    (row, _), _ = place.link()
    assert (row["in_review"], row["precision"], row["recall"]) == (0, 1.0, 1.0)
    assert row["linked"] == sum(person is not None for person in town().truth.values())
    assert keys


@pytest.mark.parametrize("which", ["register", "payers"])
def test_links_stay_when_encodings_expire(place: Place, keys: dict[str, tuple[str, str]], which: str) -> None:
    """Of the payers or of the register: what was found out is no encoding."""
    before = place.linked
    dataset = {"register": "person_encodings", "payers": "payer_encodings"}[which]
    place.take_out(dataset, keys[which], deliveries.expire)
    place.link()
    assert place.linked == before


@pytest.mark.parametrize("which", ["register", "payers"])
def test_links_go_when_encodings_are_withdrawn(place: Place, keys: dict[str, tuple[str, str]], which: str) -> None:
    """Of the payers or of the register: what they said is not so."""
    dataset = {"register": "person_encodings", "payers": "payer_encodings"}[which]
    place.take_out(dataset, keys[which], deliveries.withdraw)
    place.link()
    assert place.links.is_empty()


def test_links_go_with_a_replaced_delivery_and_come_with_the_next(
    place: Place, keys: dict[str, tuple[str, str]]
) -> None:
    """Records that the new delivery does not have are gone."""
    place.take_out("payer_encodings", keys["payers"], lambda c, key: deliveries.replace(c, key, "next"))
    place.deliver("payer_encodings", town().records[50:])
    place.link()
    assert set(place.statuses) == set(town().records["encoding_id"][50:])


def test_links_stand_while_a_source_is_encoded_under_a_new_key_and_the_register_is_not_yet(
    place: Place, keys: dict[str, tuple[str, str]]
) -> None:
    """Those of records that were encoded anew; once they can be compared, what was replaced is gone."""
    before = place.linked
    gone = min(before)
    anew = town().records.filter(pl.col("encoding_id") != gone)
    for _ in range(2):
        with place.store.engine.connect() as connection:
            old = deliveries.accepted_in_slot(connection, "prisme", "payer_encodings", "2014")
        assert old is not None
        place.take_out("payer_encodings", old.key, lambda c, key: deliveries.replace(c, key, "next"))
        place.deliver("payer_encodings", anew, keys={Kind.ENCODING: 2})
        _, notes = place.link()
        assert place.linked == {record: person for record, person in before.items() if record != gone}
        assert "earlier links of theirs stand" in notes[0]
    place.take_out("person_encodings", keys["register"], lambda c, key: deliveries.replace(c, key, "next"))
    place.deliver("person_encodings", town().persons[:1], keys={Kind.ENCODING: 2}, **REGISTER)
    place.link()
    assert set(place.linked.values()) <= {town().persons["person_id"][0]}


def test_links_stand_while_the_register_is_encoded_under_a_new_key_and_sources_are_not_yet(
    place: Place, keys: dict[str, tuple[str, str]]
) -> None:
    """A key's rotation takes weeks: nothing falls out of the tables meanwhile, and what was in review waits."""
    before = place.linked
    place.take_out("person_encodings", keys["register"], lambda c, key: deliveries.replace(c, key, "next"))
    place.deliver("person_encodings", town().persons, keys={Kind.ENCODING: 2}, **REGISTER)
    _, notes = place.link()
    assert "Encode and deliver them anew" in notes[0]
    assert place.linked == before
    assert set(place.statuses.values()) == {"linked"}


def test_nobody_excluded_is_compared_and_links_to_them_vanish(place: Place, keys: dict[str, tuple[str, str]]) -> None:
    """From the day it begins, under a former number too, whether linked by encodings or by an answer.

    Who was answered for stays answered for: else a source would learn of an exclusion by answering.
    """
    first, second, third = sorted(place.linked.items())[:3]
    answer(place, {second[0]: 6_000})
    aliases = pl.DataFrame({"former_id": [first[1]], "current_id": [5_000]}, schema_overrides=_ALIAS)
    place.deliver("aliases", aliases, **REGISTER)
    place.link()
    assert place.linked[first[0]] == 5_000
    begins = [TODAY, TODAY, TODAY + datetime.timedelta(days=1)]
    rows = {"person_id": [5_000, 6_000, third[1]], "scope": "objection", "valid_from": begins}
    place.deliver("exclusions", pl.DataFrame(rows, schema_overrides=_ANSWER), **REGISTER)
    place.link()
    assert place.statuses[first[0]] != "linked"
    assert place.statuses[second[0]] == "linked"
    assert second[0] not in place.linked
    assert place.linked[third[0]] == third[1]
    place.link(TODAY + datetime.timedelta(days=1))
    assert place.statuses[third[0]] != "linked"
    assert not set(place.linked.values()) & {first[1], 5_000, 6_000, third[1]}
    assert keys


_ALIAS = {"former_id": pl.UInt32, "current_id": pl.UInt32}


def test_encodings_of_somebody_excluded_are_not_among_those_compared(place: Place) -> None:
    """Under the current or a former number."""
    register = place.deliver("person_encodings", town().persons, **REGISTER)
    first, second, *rest = town().persons["person_id"].to_list()
    resolved = pl.DataFrame({"former_id": [first], "resolved_id": [5_000]}, schema_overrides=_RESOLVED)
    gone = pl.DataFrame({"person_id": [second, 5_000]}, schema_overrides=_ANSWER)
    with place.store.pin() as pinned:
        found = comparable.persons(pinned.scan(stored("person_encodings")), register, resolved, gone, SCHEMA)
    assert found.select(comparable.person_of("record"))["record"].sort().to_list() == sorted(rest)


_RESOLVED = {"former_id": pl.UInt32, "resolved_id": pl.UInt32}


def test_an_expired_link_to_somebody_excluded_vanishes_too(place: Place, keys: dict[str, tuple[str, str]]) -> None:
    """Nothing is compared any more, but the link names a person; its status, which the source is told, stays."""
    place.take_out("payer_encodings", keys["payers"], deliveries.expire)
    record, person = sorted(place.linked.items())[0]
    rows = {"person_id": [person], "scope": "erasure", "valid_from": [TODAY]}
    place.deliver("exclusions", pl.DataFrame(rows, schema_overrides=_ANSWER), **REGISTER)
    place.link()
    assert place.statuses[record] == "linked"
    assert record not in place.linked
    assert person not in place.linked.values()


def test_a_person_with_two_numbers_is_not_his_own_runner_up(place: Place) -> None:
    """The register has everybody under a former number as well, with the same name and address."""
    made = town()
    again = made.persons.with_columns(pl.col("person_id") + 10_000)
    twice = pl.concat([made.persons, again])
    pairs = twice.select(former_id=pl.col("person_id"), current_id=pl.col("person_id") + 10_000)[: len(made.persons)]
    place.deliver("person_encodings", twice, **REGISTER)
    place.deliver("payer_encodings", made.records)
    place.link()
    assert not place.linked
    place.deliver("aliases", pairs, **REGISTER)
    place.link()
    assert len(place.linked) > len(made.records) / 2
    right = [person - 10_000 == made.truth[record] for record, person in place.linked.items()]
    assert sum(right) > 0.98 * len(right)


def test_a_person_who_stands_twice_in_the_register_counts_once(place: Place, keys: dict[str, tuple[str, str]]) -> None:
    """Whichever row comes first, the same one is taken; a record at the limit may come to review."""
    before = place.linked
    place.deliver("person_encodings", pl.concat([town().persons, town().persons]), "2015", **REGISTER)
    place.link()
    assert place.linked.items() <= before.items()
    assert len(place.linked) >= len(before) - 1
    assert keys


class StopError(Exception):
    """The process ends here."""


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_a_stop_at_any_step_leaves_all_links_or_none_and_the_next_run_makes_them(place: Place, step: int) -> None:
    """Links are one snapshot."""

    def stopping(stage: Stage, done: int, total: int) -> None:
        assert (stage, total) == (Stage.LINKAGE, 3)
        if done == step:
            raise StopError

    made = town()
    place.deliver("person_encodings", made.persons, **REGISTER)
    place.deliver("payer_encodings", made.records)
    report, place.report = place.report, stopping
    with pytest.raises(StopError):
        place.link()
    assert place.links.height == (made.records.height if step == 3 else 0)
    place.report = report
    quality, _ = place.link()
    assert place.links.height == made.records.height
    assert quality[0]["records"] == made.records.height
    with place.store.pin() as pinned:
        assert pinned.scan(LINKS).select(pl.struct("source", "encoding_id").is_unique().all()).collect().item()
