"""Which links stand after a run: what answers say, what was compared, and what is kept of before, each record once.

1. An answer decides about its record, whatever else is known of it.
2. A link that was not made anew is kept while its delivery stands (`encoded_deliveries.standing`), and its delivery is
   one of the record's posting (`encoded_deliveries.misfits`).
3. Whom an exclusion takes out is nobody's person any more, while the status stays: it would tell a source who it is.

Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from linker import frames
from linker.linkage import comparable
from linker.linkage.comparable import KEY
from linker.linkage.fuzzy.assignment import LINKED, UNLINKED

_DELIVERY: Final = ("source", "delivery_id")


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What stands beside the encodings: number changes, persons to be left out, answers, postings' weights.

    `answers`: as `comparable.answers`; `posted`: as `comparable.posted`. `reused`: ids (KEY) that name no record.
    `misfits`: MISFITS.
    """

    resolved: pl.DataFrame
    gone: pl.DataFrame
    answers: pl.DataFrame
    posted: pl.DataFrame
    reused: pl.DataFrame
    misfits: pl.DataFrame


def standing_links(
    found: pl.DataFrame,
    compared: pl.DataFrame,
    earlier: pl.LazyFrame,
    replacing: pl.LazyFrame,
    known: Known,
    standing: pl.DataFrame,
) -> pl.DataFrame:
    """Return LINKS, by source and encoding_id.

    `found`: LINKS of what was compared, of the deliveries `compared` (source, delivery_id). `earlier`: LINKS before.
    `replacing`: KEY and delivery_id of all payers that are here. `standing`: as `encoded_deliveries.standing`.
    """
    kept = (
        comparable.fitting(_of_encodings(earlier).drop("posting_id"), known.posted, known.misfits)
        .collect()
        .join(compared, on=list(_DELIVERY), how="anti")
        .join(standing, on=list(_DELIVERY))
        .filter(pl.col("expired") | (pl.col("status") == LINKED))
        .join(found, on=KEY, how="anti")
        .join(known.reused, on=KEY, how="anti")
        .select(frames.LINKS.names())
    )
    alive = standing.select(*_DELIVERY, "replaced_by")
    held = pl.concat([found, kept]).join(alive, on=list(_DELIVERY))
    again = replacing.select(*KEY, replaced_by="delivery_id").collect()
    unanswered = (
        pl.concat(
            [
                held.filter(pl.col("replaced_by").is_null()),
                held.join(again, on=[*KEY, "replaced_by"], how="semi"),
            ]
        )
        .select(frames.LINKS.names())
        .join(alive, left_on="register_id", right_on="delivery_id", how="semi")  # one source delivers the register
        .with_columns(comparable.without(known.gone))
    )
    decided = (
        known.answers.join(unanswered.select(*KEY, "missing"), on=KEY, how="left")
        .join(known.posted.select(*KEY, "posting_id"), on=KEY, how="left")
        .select(
            *KEY,
            "delivery_id",
            "posting_id",
            pl.lit(None, pl.String).alias("register_id"),
            pl.when("somebody").then(pl.lit(LINKED)).otherwise(pl.lit(UNLINKED)).alias("status"),
            "person_id",
            pl.col("missing").fill_null([]),
        )
    )
    return pl.concat([decided, unanswered.join(decided, on=KEY, how="anti")]).sort(KEY)


def left_out(
    found: pl.DataFrame, payers: pl.LazyFrame, answers: pl.LazyFrame, earlier: pl.LazyFrame, known: Known
) -> pl.DataFrame:
    """Return deliveries that a record is not linked by, as they are not of its posting, though their periods meet.

    `payers`, `answers`: FACTS. Columns: why, dataset, source, period; ordered by them.
    """
    notable = known.misfits.filter("stands", pl.col("why") != "apart")
    given = (payers, answers, _of_encodings(earlier))
    held, held_answers, held_links = (comparable.held_back(rows, known.posted, notable) for rows in given)
    decided = pl.concat([found.select(KEY), known.answers.select(KEY), known.reused])
    undecided = pl.concat([held, held_links]).join(decided, on=KEY, how="anti")
    unanswered = held_answers.join(pl.concat([known.answers.select(KEY), known.reused]), on=KEY, how="anti")
    names = ("why", "dataset", "source", "period")
    return pl.concat([undecided, unanswered]).select(names).unique().sort(names)


def _of_encodings(links: pl.LazyFrame) -> pl.LazyFrame:
    return links.filter(pl.col("register_id").is_not_null())
