"""Resolve number changes: from the numbers that were delivered to the person now.

1. A pair says: former is now current. Chains are followed to their end, whatever the
   order the pairs came in, and however many deliveries they are spread over.
2. A pair of equal numbers says nothing.
3. A former number may name several currents, as long as all lead to the same end.
4. What cannot be followed is left as it stands, never guessed: a number that leads into
   a cycle, and a former number whose currents lead apart or all back to it (ambiguous). Both
   are counted, so that the register can be asked.

Pure. Cost: O(n log d) for n pairs and chains of d.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

ID_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "persons": ("person_id", "mother_id", "father_id", "spouse_id"),
    "postings": ("person_id",),
    "spells": ("person_id",),
    "consents": ("person_id",),
    "exclusions": ("person_id",),
}
"""The columns of facts that hold persons, and so follow number changes."""

_Positions = npt.NDArray[np.intp]
_RESOLVED = pl.Schema({"former_id": pl.UInt32(), "resolved_id": pl.UInt32()})


@dataclass(frozen=True, slots=True)
class Aliases:
    """What the alias pairs amount to.

    `resolved`: former_id, resolved_id (UInt32 both); key former_id; one row a number that
    is somebody else's now; no resolved_id is a former_id. `cycles`, `ambiguous`: how many
    rings, and how many former numbers whose currents lead apart, were left alone.
    """

    resolved: pl.DataFrame
    cycles: int
    ambiguous: int


def resolve(pairs: pl.LazyFrame) -> Aliases:
    """Follow all pairs (former_id, current_id, as in FACTS["aliases"]) to their ends.

    Deterministic: neither the order nor the repetition of rows matters.
    """
    distinct = pairs.select("former_id", "current_id").filter(pl.col("former_id") != pl.col("current_id")).unique()
    found = distinct.collect(engine="streaming")
    while True:
        several = pl.col("former_id").is_duplicated()
        resolved, cycles = _follow(found.filter(~several))
        ambiguous = found.filter(several)
        led = apply(ambiguous.lazy(), resolved, ("current_id",)).unique().collect()
        agreed = led.filter(~several & (pl.col("former_id") != pl.col("current_id")))
        if agreed.is_empty():
            return Aliases(resolved, cycles, ambiguous["former_id"].n_unique())
        found = pl.concat([found.filter(~several), agreed, ambiguous.join(agreed, on="former_id", how="anti")])


def apply(rows: pl.LazyFrame, resolved: pl.DataFrame, columns: tuple[str, ...]) -> pl.LazyFrame:
    """Return the rows with the ids in `columns` resolved; ids that no pair names stay."""
    for column in columns:
        rows = (
            rows.join(resolved.lazy(), left_on=column, right_on="former_id", how="left")
            .with_columns(pl.coalesce("resolved_id", column).alias(column))
            .drop("resolved_id")
        )
    return rows


def _follow(pairs: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Follow pairs whose former_id is a key, by pointer jumping; return what is resolved and the number of rings."""
    pairs = pairs.sort("former_id")
    if pairs.is_empty():
        return pl.DataFrame(schema=_RESOLVED), 0
    former, current = pairs["former_id"].to_numpy(), pairs["current_id"].to_numpy()
    count = len(former)
    found = np.minimum(np.searchsorted(former, current), count - 1)
    # One step: to the pair that goes on from this one's current; the last pair of a chain stays.
    step: _Positions = np.where(former[found] == current, found, np.arange(count))
    reached = step
    for _ in range(count.bit_length()):
        reached = reached[reached]
    ringed = step[reached] != reached
    resolved = pl.DataFrame({"former_id": former, "resolved_id": current[reached]}, schema=_RESOLVED)
    return resolved.filter(pl.Series(~ringed)), _count_rings(step, np.unique(reached[ringed]))


def _count_rings(step: _Positions, members: _Positions) -> int:
    """Count the rings that `members`, all on rings, form: each member learns the smallest of its ring."""
    smallest, hop = np.arange(len(step)), step
    for _ in range(len(members).bit_length()):
        smallest = np.minimum(smallest, smallest[hop])
        hop = hop[hop]
    return len(np.unique(smallest[members]))
