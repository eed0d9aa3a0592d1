"""What a run left of records without a usable CPR number, for tests of what their sources are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from linker.frames import FACTS, LINKS
from linker.store import tables
from linker.store.snapshots import Snapshots
from tests.unit import linker_fixtures as given


@dataclass(frozen=True, slots=True)
class Left:
    """A record as a run left it. `amount_ore` of its posting: None is no posting. `fresh`: posted after the run."""

    encoding_id: str
    status: str = "review"
    missing: Sequence[str] = ()
    source: str = "prisme"
    amount_ore: int | None = 12_500
    fresh: bool = False


def leave(store: Snapshots, *records: Left) -> None:
    """Let the newest snapshot hold these links, and their postings."""
    origin = {"delivery_id": "d"}
    links = [
        {
            **origin,
            "source": each.source,
            "encoding_id": each.encoding_id,
            "posting_id": "d",
            "register_id": "r",
            "status": each.status,
            "person_id": 7 if each.status == "linked" else None,
            "missing": list(each.missing),
        }
        for each in records
    ]
    with store.change("linkage") as change:
        change.write(tables.LINKS, replace=True, append=pl.LazyFrame(links, LINKS))
        for table, fresh in ((tables.facts("postings"), False), (tables.quarantine("postings"), True)):
            change.write(table, replace=True, append=_postings(records, table, fresh=fresh))
        with change.commit():
            pass


def _postings(records: Sequence[Left], table: str, *, fresh: bool) -> pl.LazyFrame:
    posted = [each for each in records if each.amount_ore is not None and each.fresh == fresh]
    rows = given.postings(*[None] * len(posted)).with_columns(
        pl.Series("encoding_id", [each.encoding_id for each in posted], pl.String),
        pl.Series("amount_ore", [each.amount_ore for each in posted], pl.Int64),
        pl.Series("source", [each.source for each in posted], pl.String),
        pl.lit("new" if fresh else "d").alias("delivery_id"),
        pl.lit(None, FACTS["postings"]["person_id"]).alias("person_id"),
    )
    return rows.lazy().select(list(tables.SCHEMAS[table]))
