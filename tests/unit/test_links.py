"""Do links reach the postings they are of, and no others, and is no krone doubled or lost?"""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from linker import frames
from linker.linkage.links import applied
from tests.unit.family_rows import facts


def links(*rows: dict[str, Any]) -> pl.LazyFrame:
    """Return LINKS; what a test does not say is of the source prisme and linked."""
    default = {
        "source": "prisme",
        "delivery_id": "e1",
        "posting_id": "d1",
        "register_id": "r1",
        "status": "linked",
        "missing": [],
    }
    return pl.LazyFrame([{**default, **row} for row in rows], schema=frames.LINKS)


def people(postings: pl.LazyFrame) -> list[int | None]:
    """Return the postings' persons, in order of amount."""
    return postings.sort("amount_ore").collect()["person_id"].to_list()


def test_linked_person_is_put_where_no_cpr_number_stands() -> None:
    """Nobody and a replacement number give way; a CPR number, another source's record and an unlinked one do not."""
    postings = facts(
        "postings",
        {"amount_ore": 1, "encoding_id": "a", "person_kind": None},
        {"amount_ore": 2, "encoding_id": "b", "person_kind": "replacement", "person_id": 900},
        {"amount_ore": 3, "encoding_id": "a", "person_id": 5},
        {"amount_ore": 4, "encoding_id": "a", "person_kind": None, "source": "other"},
        {"amount_ore": 5, "encoding_id": "c", "person_kind": "replacement", "person_id": 901},
        {"amount_ore": 6, "encoding_id": "d", "person_kind": None},
        {"amount_ore": 7, "person_kind": None},
        {"amount_ore": 8, "encoding_id": "a", "person_kind": None, "delivery_id": "d2"},
    )
    linked = links(
        {"encoding_id": "a", "person_id": 11},
        {"encoding_id": "b", "person_id": 12},
        {"encoding_id": "c", "status": "review"},
        {"encoding_id": "d", "status": "unlinked"},
    )
    assert people(applied(postings, linked)) == [11, 12, 5, None, 901, None, None, None]


_POSTING = st.fixed_dictionaries(
    {
        "encoding_id": st.none() | st.sampled_from("abc"),
        "source": st.sampled_from(["prisme", "ks"]),
        "person_kind": st.sampled_from([None, "cpr", "replacement"]),
        "amount_ore": st.integers(-9, 9),
    }
)
_LINK = st.fixed_dictionaries(
    {"encoding_id": st.sampled_from("abc"), "source": st.sampled_from(["prisme", "ks"]), "person_id": st.integers(1, 9)}
)


@given(st.lists(_POSTING, max_size=8), st.lists(_LINK, max_size=4))
def test_no_amount_is_doubled_or_lost_whatever_the_links_are(rows: list[dict[str, Any]], known: list[Any]) -> None:
    """The same postings come out, but for their persons; even if a record had two links."""
    numbered = [{**row, "person_id": 700 if row["person_kind"] else None} for row in rows]
    postings = facts("postings", *numbered)
    after = applied(postings, links(*known)).collect()
    rest = pl.exclude("person_id")
    before = postings.collect()
    assert after.select(rest).sort(pl.all()).equals(before.select(rest).sort(pl.all()))
    exact = pl.col("person_kind") == "cpr"
    assert after.filter(exact)["person_id"].to_list() == [700] * before.filter(exact).height
