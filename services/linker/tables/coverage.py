"""How much of what a source delivered could be linked.

1. All delivered rows count: postings and spells, of any service (also one that the
   catalogue does not know) and any year.
2. A row is linked when its person is one of the given people (residents of the
   municipality on the reference date); method `exact` is the only one so far.
3. Amounts are absolute: a posting's amount, a spell's cost in the year. So a refund
   does not hide the payment it belongs to.
4. A contributor is the person of linked rows, and each unlinked row by itself: it is
   not known which of them are one person's. Numbers of unlinked rows start above
   all person ids, so that no two contributors share one.
"""

from __future__ import annotations

import polars as pl

from linker import frames
from linker.tables.periods import overlaps, year_period
from linker.tables.spending import spell_cost_ore

# Key: contributor, source, method.
COVERAGE = pl.Schema(
    {
        "contributor": frames.ID,
        "source": pl.String(),
        "method": pl.String(),
        "rows": pl.Int64(),
        "rows_linked": pl.Int64(),
        "amount_ore": pl.Int64(),
        "amount_linked_ore": pl.Int64(),
    }
)


def coverage(postings: pl.LazyFrame, spells: pl.LazyFrame, people: pl.LazyFrame, year: int) -> pl.LazyFrame:
    """Return delivered and linked rows and amounts.

    Args:
        postings, spells: FACTS after aliases and exclusions.
        people: person_id of those a row can be linked to; key person_id.
        year: for the cost of spells.

    Returns:
        COVERAGE, in no order.

    Raises:
        SchemaError: an input has not the columns of its schema.
    """
    period = year_period(year)
    known = frames.check(people, {"person_id": frames.ID}, "coverage: people").with_columns(linked=pl.lit(value=True))
    posted = frames.check(postings, frames.FACTS["postings"], "coverage: postings").select(
        "person_id", "source", pl.col("amount_ore").abs()
    )
    cost = pl.when(overlaps(period)).then(spell_cost_ore(period)).fill_null(0).abs()
    ran = frames.check(spells, frames.FACTS["spells"], "coverage: spells").select(
        "person_id", "source", cost.alias("amount_ore")
    )
    rows = pl.concat([posted, ran]).join(known, on="person_id", how="left")
    sums = (pl.len().cast(pl.Int64).alias("rows"), pl.col("amount_ore").sum())
    linked = (
        rows.filter(pl.col("linked").is_not_null())
        .group_by("source", contributor="person_id")
        .agg(*sums)
        .with_columns(rows_linked="rows", amount_linked_ore="amount_ore")
    )
    unlinked = (
        rows.filter(pl.col("linked").is_null())
        .select("source", "amount_ore")
        .sort("source", "amount_ore")
        .with_row_index("number")
        .join(known.select(pl.col("person_id").max().fill_null(0).alias("greatest")), how="cross")
        .select(
            "source",
            (pl.col("greatest") + 1 + pl.col("number")).cast(frames.ID).alias("contributor"),
            pl.lit(1, pl.Int64).alias("rows"),
            "amount_ore",
            pl.lit(0, pl.Int64).alias("rows_linked"),
            pl.lit(0, pl.Int64).alias("amount_linked_ore"),
        )
    )
    found = pl.concat([linked, unlinked], how="diagonal").with_columns(method=pl.lit("exact"))
    return frames.check(found, COVERAGE, "coverage")
