"""Which pairs are looked at: those that share a blocking token, unless the token says nothing.

1. A token that more persons have than the cap, or more than a share of them, blocks nobody: half the population under
   one token is no evidence. So is a block (its records times its persons) above the block cap.
2. Of what is left the smallest tokens are used first, until the pairs that they could make reach the budget. So
   work and memory have a bound, whatever is delivered; what was left out is counted.
3. Pairs come in slices of whole records, each pair once, ordered by record and person.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from linker.linkage.fuzzy.encodings import Encoded

Rows = npt.NDArray[np.int64]
SLICE = 2_000_000  # pairs before those that share several tokens are counted once


@dataclass(frozen=True, slots=True)
class Caps:
    """Bounds. `persons`: most persons under a token; `share`: the same of all persons; `block`: most pairs of a token.

    `pairs`: most pairs of all tokens together, before pairs that share several are counted once.
    """

    persons: int = 1_000
    share: float = 0.1
    block: int = 2_000_000
    pairs: int = 80_000_000


CAPS = Caps()


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Tokens in use: `left` and `right` rows, sorted by token; where each token's persons are, and how many.

    `starts`, `counts`: per row of `left`, into `right`. `dropped`: shared tokens that the caps left out.
    `unblocked`: left records without a token in use.
    """

    left: Rows
    starts: Rows
    counts: Rows
    right: Rows
    dropped: int
    unblocked: int


def blocks(encoded: Encoded, caps: Caps) -> Blocks:
    """Return the tokens that both sides have, within the caps. Cost: one sort and one join of the tokens."""
    persons = encoded.right_tokens
    most = min(caps.persons, max(int(caps.share * len(encoded.right)), 2))
    held = persons.with_row_index("start").group_by("token").agg(pl.col("start").min(), pl.len().alias("persons"))
    records = encoded.left_tokens.group_by("token").agg(pl.len().alias("records"))
    shared = held.join(records, on="token").with_columns(
        (pl.col("persons").cast(pl.Int64) * pl.col("records")).alias("pairs")
    )
    if encoded.within:
        shared = shared.filter(pl.col("persons") > 1)
    used = (
        shared.filter(pl.col("persons") <= most, pl.col("pairs") <= caps.block)
        .sort("pairs", "token")
        .filter(pl.col("pairs").cum_sum() <= caps.pairs)
    )
    rows = encoded.left_tokens.join(used.select("token", "start", "persons"), on="token").sort("row", "token")
    return Blocks(
        rows["row"].to_numpy().astype(np.int64),
        rows["start"].to_numpy().astype(np.int64),
        rows["persons"].to_numpy().astype(np.int64),
        persons["row"].to_numpy().astype(np.int64),
        len(shared) - len(used),
        len(encoded.left) - rows["row"].n_unique(),
    )


def candidate_pairs(encoded: Encoded, found: Blocks) -> Iterator[tuple[Rows, Rows]]:
    """Yield (left rows, right rows) of distinct pairs, about `SLICE` at a time, each left row in one slice."""
    ends = np.cumsum(found.counts)
    start = 0
    while start < len(found.left):
        before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, before + SLICE, side="right"))
        stop = max(stop, start + 1)
        # A record's tokens stay together, so that its pairs are counted once.
        stop = int(np.searchsorted(found.left, found.left[stop - 1], side="right"))
        counts = found.counts[start:stop]
        left = np.repeat(found.left[start:stop], counts)
        within = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts)
        right = found.right[np.repeat(found.starts[start:stop], counts) + within]
        if encoded.within:
            later = left < right
            left, right = left[later], right[later]
        pairs = np.unique(left * len(encoded.right) + right)
        start = stop
        if len(pairs):
            yield pairs // len(encoded.right), pairs % len(encoded.right)
