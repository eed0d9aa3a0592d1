"""Is nobody ever made to pay for another's row, however a source's extracts and deliveries follow each other?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.extracts_over_time import NAMES, Extracts

FIRST, RENUMBERED = NAMES[:6], NAMES[6:8] + NAMES[:5]
YEAR = "2014"


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Extracts]:
    made = Extracts(tmp_path)
    yield made
    made.close()


def linked(source: Extracts) -> set[str]:
    """Run; return who pays. Nobody pays for another's row."""
    source.run()
    paid = source.paid()
    assert {amount: payer for amount, payer in paid.items() if payer not in (None, source.truth[amount])} == {}
    return {payer for payer in paid.values() if payer}


def unused(source: Extracts) -> str:
    """Return the note about what was not used; "" without one."""
    return next((note for note in source.notes if note.startswith("Not used")), "")


def begin(source: Extracts) -> None:
    """Send both files of one extract, postings first, and run."""
    source.extract(YEAR, FIRST)
    source.send_postings(YEAR)
    source.send_payers(YEAR)
    assert linked(source) == set(FIRST)
    assert unused(source) == ""


def test_postings_replaced_under_new_numbers_have_no_payers_until_these_are_sent_too(source: Extracts) -> None:
    begin(source)
    source.extract(YEAR, RENUMBERED)
    source.send_postings(YEAR)
    assert source.state("1") == ["not seen"], "the number may be another record's by now"
    assert linked(source) == set()
    assert unused(source).startswith("Not used: payer_encodings of prisme 2014. They are older than the postings")
    source.send_payers(YEAR)
    assert linked(source) == set(RENUMBERED)
    assert source.state("1") == ["linked"]
    assert unused(source) == ""


def test_payers_who_stayed_the_same_count_again_once_they_are_sent_again(source: Extracts) -> None:
    """An amount was corrected, and no row numbered anew: the client has nothing new to send, and says just that."""
    begin(source)
    source.rows[YEAR][0] = (500_000, FIRST[0])
    source.truth[500_000] = FIRST[0]
    source.send_postings(YEAR)
    assert linked(source) == set()
    source.send_payers(YEAR)
    assert linked(source) == set(FIRST)
    source.send_postings(YEAR)
    assert linked(source) == set(FIRST), "sent again, they are as they were"


def test_payers_sent_before_their_postings_count_once_they_are_sent_again(source: Extracts) -> None:
    source.extract(YEAR, FIRST)
    source.send_payers(YEAR)
    linked(source)
    source.send_postings(YEAR)
    assert linked(source) == set()
    assert unused(source).startswith("Not used: payer_encodings of prisme 2014.")
    source.send_payers(YEAR)
    assert linked(source) == set(FIRST)


def test_payers_replaced_under_new_numbers_are_nobodys_until_their_postings_are_sent(source: Extracts) -> None:
    """In the wrong order, with a run in between: what was linked stays so."""
    begin(source)
    source.extract(YEAR, RENUMBERED)
    source.send_payers(YEAR)
    assert linked(source) == set(FIRST)
    assert "They took the place of others, and the postings stayed as they were." in unused(source)
    source.send_postings(YEAR)
    assert linked(source) == set()
    source.send_payers(YEAR)
    assert linked(source) == set(RENUMBERED)


def test_payers_described_better_count_once_their_postings_are_sent_again(source: Extracts) -> None:
    begin(source)
    source.send_payers(YEAR, floor_door="st tv")
    assert linked(source) == set(FIRST), "by what was said before"
    assert "They took the place of others" in unused(source)
    source.send_postings(YEAR)
    assert linked(source) == set(FIRST)
    assert unused(source) == ""


def test_an_answer_is_not_that_of_another_record_of_its_number(source: Extracts) -> None:
    """Of postings replaced since, or of another month; sent again, it counts."""
    source.extract("2014-01", FIRST)
    source.send_postings("2014-01")
    source.send_answers("2014-01")
    assert linked(source) == set(FIRST)
    source.extract("2014-01", RENUMBERED)
    source.send_postings("2014-01")
    assert linked(source) == set()
    assert unused(source).startswith("Not used: review_answers of prisme 2014-01. They are older than the postings")
    source.withdraw("postings", "2014-01")
    source.extract("2014-02", RENUMBERED)
    source.send_postings("2014-02")
    assert linked(source) == set()
    assert unused(source) == "", "they are of another month"
    source.extract("2014-01", FIRST)
    source.withdraw("postings", "2014-02")
    source.send_postings("2014-01")
    source.send_answers("2014-01")
    assert linked(source) == set(FIRST)


def test_links_whose_encodings_expired_are_not_of_postings_replaced_since(source: Extracts) -> None:
    begin(source)
    source.expire()
    assert linked(source) == set(FIRST)
    source.extract(YEAR, RENUMBERED)
    source.send_postings(YEAR)
    assert linked(source) == set()
    assert unused(source).startswith("Not used: payer_encodings of prisme 2014.")


def test_late_payers_of_single_months_are_those_of_a_years_postings(source: Extracts) -> None:
    source.extract(YEAR, FIRST)
    source.send_postings(YEAR)
    source.rows["2014-01"] = source.rows[YEAR]
    source.send_payers("2014-01")
    assert linked(source) == set(FIRST)
    source.rows["2014-02"] = [*source.rows[YEAR][:3]]
    source.send_payers("2014-02")
    assert linked(source) == set(FIRST)
    assert unused(source) == ""


def test_payers_left_behind_by_withdrawn_postings_are_not_those_of_others_of_their_period(source: Extracts) -> None:
    """January stood already when its source sent the year, saw that January counted twice, and took the year back."""
    source.extract("2014-01", FIRST)
    source.send_postings("2014-01")
    source.extract(YEAR, RENUMBERED)
    source.send_postings(YEAR)
    source.send_payers(YEAR)
    source.withdraw("postings", YEAR)
    assert linked(source) == set()
    assert unused(source).startswith("Not used: payer_encodings of prisme 2014. They are older than the postings")
    source.send_payers("2014-01")
    source.withdraw("payer_encodings", YEAR)
    assert linked(source) == set(FIRST)
    assert unused(source) == ""


def test_payers_of_a_year_are_sent_again_when_a_month_is_taken_back(source: Extracts) -> None:
    """The numbers of what is left may have been January's."""
    for month, payers in (("2014-01", FIRST), ("2014-02", RENUMBERED)):
        source.extract(month, payers)
        source.send_postings(month)
    source.rows[YEAR] = source.rows["2014-01"]
    source.send_payers(YEAR)
    linked(source)
    source.withdraw("postings", "2014-01")
    assert linked(source) == set()
    source.rows[YEAR] = source.rows["2014-02"]
    source.send_postings("2014-02")
    source.send_payers(YEAR)
    assert linked(source) == set(RENUMBERED)
