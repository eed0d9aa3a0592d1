"""Postings whose payer was linked by encodings, under that person.

1. Only a record without a usable CPR number is linked: a posting under a CPR number keeps its person, whatever the
   links say. A replacement number gives way to the person, since it names nobody outside its source.
2. A link is of the postings of one delivery: those of another may have the same record number by chance.
3. A posting is never doubled or lost, and its amount never changed.

Pure.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from kinlink.delivery.datasets import PersonKind
from linker.frames import FACTS, LINKS, check

LINKED: Final = "linked"
_KEY: Final = ("source", "encoding_id", "delivery_id")


def applied(postings: pl.LazyFrame, links: pl.LazyFrame) -> pl.LazyFrame:
    """Return FACTS["postings"] with the linked person; ids are as delivered, before number changes and exclusions.

    `links`: LINKS. Raises SchemaError if a frame has not its schema.
    """
    linked = (
        check(links, LINKS, "applied: links")
        .filter(status=LINKED)
        .select("source", "encoding_id", delivery_id="posting_id", linked_id="person_id")
        .unique(_KEY, keep="any")
    )
    exact = pl.col("person_id").is_not_null() & pl.col("person_kind").ne_missing(PersonKind.REPLACEMENT.value)
    return check(
        check(postings, FACTS["postings"], "applied: postings")
        .join(linked, on=_KEY, how="left")
        .with_columns(person_id=pl.when(exact).then("person_id").otherwise(pl.coalesce("linked_id", "person_id"))),
        FACTS["postings"],
        "applied",
    )
