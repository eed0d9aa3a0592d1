"""How many of a source's kroner have a person, before its payers are linked and after?"""

from __future__ import annotations

import polars as pl

from linker import frames
from linker.linkage.quality import KRONER, with_kroner
from tests.unit.family_rows import facts

KR = 100


def test_kroner_are_counted_before_and_after_links_in_whole_thousands_and_absolute() -> None:
    """A refund hides nothing; a replacement number is nobody; another delivery's or source's record is not linked."""
    nobody = {"person_kind": None}
    postings = facts(
        "postings",
        {"amount_ore": 5_000 * KR, "person_id": 1},
        {"amount_ore": -2_999 * KR, "person_id": 1},
        {"amount_ore": 3_500 * KR, "encoding_id": "a", "person_kind": "replacement", "person_id": 90},
        {"amount_ore": -1_000 * KR, "encoding_id": "b", **nobody},
        {"amount_ore": 600 * KR, "encoding_id": "c", **nobody},
        {"amount_ore": 8_000 * KR, "encoding_id": "a", "delivery_id": "d2", **nobody},
        {"amount_ore": 1_000 * KR, "source": "other", "encoding_id": "a", **nobody},
    )
    link = {"source": "prisme", "posting_id": "d1", "status": "linked", "missing": []}
    rows = [
        {**link, "encoding_id": "a", "person_id": 1},
        {**link, "encoding_id": "b", "person_id": 2},
        {**link, "encoding_id": "c", "status": "review"},
    ]
    groups = [
        {"source": "other", "month": ""},
        {"source": "prisme", "month": ""},
        {"source": "prisme", "month": "2014-03"},
    ]
    found = with_kroner(groups, postings, pl.LazyFrame(rows, schema=frames.LINKS))
    assert [[row[name] for name in KRONER] for row in found] == [[1_000, 0, 0], [21_000, 7_000, 12_000], [None] * 3]
    assert [(row["source"], row["month"]) for row in found] == [(row["source"], row["month"]) for row in groups]
