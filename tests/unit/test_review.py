"""What a source is told of its own records: the use cases over a real store, and the advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinlink.encoding.schema import find
from linker.review import Explanation, Review, State
from linker.store.memory import MemoryTables
from linker.store.snapshots import Snapshots
from tests.unit import linker_fixtures
from tests.unit.review_fixtures import Left, leave

FIELDS = tuple(field.name for field in find("dk-person-1").fields)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    return linker_fixtures.store(tmp_path_factory.mktemp("review"))


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    return linker_fixtures.store(tmp_path_factory.mktemp("memory"), MemoryTables())


Leave = Callable[..., Review]


@pytest.fixture(scope="module")
def left(store: Snapshots) -> Leave:
    def write(*records: Left) -> Review:
        leave(store, *records)
        return Review(store)

    return write


def listed(review: Review, source: str = "prisme", limit: int = 10) -> list[str]:
    """Return the ids of all pages."""
    found: list[str] = []
    while page := review.page(source, limit=limit, after=found[-1] if found else ""):
        assert len(page) <= limit
        assert page[0].encoding_id not in found, "a page begins after the one before"
        found += [each.encoding_id for each in page]
    return found


def states(review: Review, *ids: str, source: str = "prisme") -> list[str]:
    return [each.state.value for each in review.explain(source, ids)]


def test_each_record_has_its_state_in_the_order_asked(left: Leave) -> None:
    review = left(Left("a", "linked"), Left("b", "review"), Left("c", "unlinked"))
    assert states(review, "c", "x", "a", "b", "a") == ["not linked", "not seen", "linked", "in review", "linked"]


def test_missing_fields_come_as_the_run_left_them(left: Leave) -> None:
    review = left(Left("a", "unlinked", ["birth_date", "street"]), Left("b", "linked", ["floor_door"]))
    assert [each.missing_fields for each in review.explain("prisme", ["b", "a"])] == [
        ("floor_door",),
        ("birth_date", "street"),
    ]


def test_only_records_in_review_are_listed_in_the_order_of_their_ids(left: Leave) -> None:
    review = left(*(Left(each) for each in ("ø", "b", "10", "9", "a b")), Left("c", "linked"), Left("d", "unlinked"))
    assert listed(review) == sorted(["ø", "b", "10", "9", "a b"])


def test_an_empty_store_has_nothing_in_review_and_has_seen_nothing(tmp_path: Path) -> None:
    review = Review(linker_fixtures.store(tmp_path))
    assert (listed(review), states(review, "a")) == ([], ["not seen"])


def test_another_sources_record_answers_as_one_that_does_not_exist(left: Leave) -> None:
    review = left(Left("a", source="ky"), Left("b", "linked", ["street"], source="ky"), Left("c"))
    assert listed(review) == ["c"]
    strangers = [(each.state, each.missing_fields, each.advice) for each in review.explain("prisme", ["a", "b", "x"])]
    assert len(set(strangers)) == 1
    assert strangers[0][0] is State.NOT_SEEN
    assert states(review, "a", "b", source="ky") == ["in review", "linked"]


def test_two_sources_may_have_the_same_id(left: Leave) -> None:
    review = left(Left("a", "linked"), Left("a", "unlinked", source="ky"))
    assert states(review, "a") == ["linked"]
    assert states(review, "a", source="ky") == ["not linked"]


@pytest.mark.parametrize("status", ["linked", "review", "unlinked"])
@pytest.mark.parametrize("amount_ore", [None, 0])
def test_a_record_without_money_answers_as_one_that_does_not_exist(
    left: Leave, status: str, amount_ore: int | None
) -> None:
    review = left(Left("a", status, ["street"], amount_ore=amount_ore), Left("b", status, ["street"], amount_ore=-1))
    unknown, [without, money] = review.explain("prisme", ["a"]), review.explain("prisme", ["a", "b"])
    assert unknown == [without] == [Explanation("a", State.NOT_SEEN)]
    assert money.state is not State.NOT_SEEN
    assert listed(review) == (["b"] if status == "review" else [])


def test_money_under_another_sources_equal_id_does_not_count(left: Leave) -> None:
    review = left(Left("a", amount_ore=None), Left("a", source="ky"))
    assert (listed(review), states(review, "a")) == ([], ["not seen"])


def test_a_record_whose_posting_was_replaced_since_the_run_is_not_seen_yet(left: Leave) -> None:
    review = left(Left("a", fresh=True))
    assert (listed(review), states(review, "a")) == ([], ["not seen"])


def test_advice_follows_from_state_and_missing_fields_alone_and_is_short() -> None:
    for state, n in product(State, range(len(FIELDS) + 1)):
        said = {Explanation(each, state, FIELDS[:n]).advice for each in ("a", "b")}
        assert len(said) == 1
        (advice,) = said
        assert bool(advice) == (state is not State.LINKED)
        assert len(advice) < 250
        assert "_" not in advice


def test_advice_names_the_missing_fields_where_filling_them_in_would_help() -> None:
    missing = ("birth_date", "street")
    for state in (State.IN_REVIEW, State.NOT_LINKED):
        assert "birth date, street" in Explanation("a", state, missing).advice
    assert "street" not in Explanation("a", State.NOT_SEEN, missing).advice


def test_no_answer_holds_more_than_id_state_and_missing_fields() -> None:
    assert list(Explanation.__dataclass_fields__) == ["encoding_id", "state", "missing_fields"]


IDS = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=4), unique=True, max_size=12
)


@settings(max_examples=25, deadline=None)
@given(ids=IDS, limit=st.integers(1, 5), data=st.data())
def test_pages_hold_each_record_in_review_once_whatever_the_ids(
    memory: Snapshots, ids: Sequence[str], limit: int, data: st.DataObject
) -> None:
    statuses = {each: data.draw(st.sampled_from(["review", "review", "linked", "unlinked"])) for each in ids}
    leave(memory, *(Left(each, status) for each, status in statuses.items()))
    review = Review(memory)
    assert listed(review, limit=limit) == sorted(each for each in ids if statuses[each] == "review")
    explained = review.explain("prisme", list(reversed(ids)))
    assert [each.encoding_id for each in explained] == list(reversed(ids))
    assert all(each.state is not State.NOT_SEEN for each in explained)


def test_what_is_listed_does_not_depend_on_the_order_of_the_rows(left: Leave, store: Snapshots) -> None:
    records = [Left(f"{n:02}", missing=FIELDS[: n % 3]) for n in range(9)]
    pages = []
    for order in (records, records[::-1]):
        review = left(*order)
        pages.append(review.page("prisme", limit=20))
    assert pages[0] == pages[1]
    with store.pin() as pinned:
        assert pinned.scan("links").select(pl.len()).collect().item() == len(records)
