"""How much of what a source delivered could be linked.

1. All delivered rows count: postings and spells, of any service (also one that the
   catalogue does not know) and any year.
2. A row is linked when its person is one of the given people (residents of the municipality on the reference date).
   Rows that name a record without a usable CPR number are of method `encoded`, linked or not, all others `exact`.
3. Amounts are absolute: a posting's amount, a spell's cost in the year. So a refund
   does not hide the payment it belongs to.
4. A contributor is the person of linked rows, by its id, and each unlinked row by itself: it is not known which of
   them are one person's. An unlinked row's number is below 0 and made of its source, method, amount and how many like
   it came before it, so that a row which is delivered again next month has the same number, wherever it stands.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from linker import frames
from linker.tables.periods import overlaps, year_period
from linker.tables.spending import spell_cost_ore

# Key: contributor, source, method.
COVERAGE = pl.Schema(
    {
        "contributor": pl.Int64(),
        "source": pl.String(),
        "method": pl.String(),
        "rows": pl.Int64(),
        "rows_linked": pl.Int64(),
        "delivered_ore": pl.Int64(),
        "linked_ore": pl.Int64(),
    }
)
_Words = npt.NDArray[np.uint64]
_LOW: Final = np.uint64(2**62 - 1)
EXACT: Final = "exact"
ENCODED: Final = "encoded"


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
    encoded = pl.col("encoding_id").is_not_null()
    posted = frames.check(postings, frames.FACTS["postings"], "coverage: postings").select(
        "person_id",
        "source",
        pl.col("amount_ore").abs(),
        method=pl.when(encoded).then(pl.lit(ENCODED)).otherwise(pl.lit(EXACT)),
    )
    cost = pl.when(overlaps(period)).then(spell_cost_ore(period)).fill_null(0).abs()
    ran = frames.check(spells, frames.FACTS["spells"], "coverage: spells").select(
        "person_id", "source", cost.alias("amount_ore"), method=pl.lit(EXACT)
    )
    rows = pl.concat([posted, ran]).join(known, on="person_id", how="left")
    linked = (
        rows.filter(pl.col("linked").is_not_null())
        .group_by("source", "method", contributor=pl.col("person_id").cast(pl.Int64))
        .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("amount_ore").sum().alias("delivered_ore"))
        .with_columns(rows_linked="rows", linked_ore="delivered_ore")
    )
    unlinked = (
        rows.filter(pl.col("linked").is_null())
        .select("source", "method", delivered_ore="amount_ore")
        .with_columns(occurrence=pl.int_range(pl.len(), dtype=pl.Int64).over("source", "method", "delivered_ore"))
        .map_batches(_numbered, schema=_NUMBERED, streamable=False)
        .with_columns(rows=pl.lit(1, pl.Int64), rows_linked=pl.lit(0, pl.Int64), linked_ore=pl.lit(0, pl.Int64))
    )
    return frames.check(pl.concat([linked, unlinked], how="diagonal"), COVERAGE, "coverage")


_NUMBERED = pl.Schema(
    {"source": pl.String(), "method": pl.String(), "delivered_ore": pl.Int64(), "contributor": pl.Int64()}
)


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with their numbers: 62 bits of source, method, amount and occurrence, mixed; -1 and below.

    Two of a million rows share a number with a chance of 1 in 10 million; they count as one contributor then.
    """
    origins = rows.select("source", "method").unique()
    words = [int.from_bytes(sha256(_origin(*origin)).digest()[:8], "big") for origin in origins.iter_rows()]
    of_origin = origins.with_columns(word=pl.Series(words, dtype=pl.UInt64))
    mixed = rows.join(of_origin, on=["source", "method"], how="left", maintain_order="left")["word"].to_numpy()
    for column in ("delivered_ore", "occurrence"):
        mixed = _mix(mixed ^ rows[column].to_numpy().astype(np.uint64))
    number = -1 - (mixed & _LOW).astype(np.int64)
    return rows.select("source", "method", "delivered_ore", pl.Series("contributor", number, pl.Int64))


def _origin(source: str, method: str) -> bytes:
    return (source if method == EXACT else f"{source}/{method}").encode()


def _mix(words: _Words) -> _Words:
    """Return splitmix64's mixing of each word: every bit of the input changes half of the output's."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
