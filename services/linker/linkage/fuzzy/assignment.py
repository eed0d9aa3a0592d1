"""Which records are linked, which go back for review, and which stay alone.

1. A record is linked to its likeliest person; many records may have the same person.
2. Linked are, from the surest on, as many records as keep the expected share of wrong links within the limit, weighted
   (by absolute amounts, say); but none below the least probability, none whose runner-up is closer than the margin,
   and none whom another person outdoes: as like in names and birth date, and more with the address.
3. In review are the others that are likely enough to have some person in the register. They go back to the source as
   its own record ids; nothing says which persons were near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from linker.linkage.fuzzy.encodings import RECORD, Encoded

_EVEN = 1e-6  # bits
LINKED, REVIEW, UNLINKED = "linked", "review", "unlinked"

# Key: record. `person`: record id of the likeliest person, null if no person is likely. `probability`: that it is
# this person. `any`: that it is any candidate. `weight`: evidence in bits. `margin`: bits before the runner-up.
# `described`: the record has something of each kind of evidence. `likeness`: records alike in all fields have the same.
ASSIGNED = pl.Schema(
    {
        "record": pl.String(),
        "status": pl.String(),
        "person": pl.String(),
        "probability": pl.Float64(),
        "any": pl.Float64(),
        "weight": pl.Float64(),
        "margin": pl.Float64(),
        "described": pl.Boolean(),
        "likeness": pl.UInt32(),
    }
)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Fixed before the data is seen.

    `expected_error`: largest expected share of wrong links. `probability`: least of any link. `margin`: bits.
    `review`: least probability, of having any person, of a record in review.
    """

    expected_error: float = 0.005
    probability: float = 0.9
    margin: float = 3.0
    review: float = 0.2


def assign(
    encoded: Encoded, scored: pl.DataFrame, thresholds: Thresholds, weights: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return every left record once (schema ASSIGNED, ordered by record), from the pairs of `score`.

    `weights`: `record`, `weight` (not negative); what a record counts in the expected error. 1 without it.
    """
    ranked = scored.sort(["left", "weight", "right"], descending=[False, True, False])
    likest = pl.col("moved") >= pl.col("moved").first()
    likelier = pl.col("at_home") > pl.col("at_home").first() + _EVEN
    best = ranked.group_by("left", maintain_order=True).agg(
        pl.col("right").first(),
        pl.col("probability").first(),
        pl.col("probability").sum().alias("any"),
        pl.col("weight").first(),
        (pl.col("weight").first() - pl.col("weight").get(1, null_on_oob=True)).alias("margin"),
        (likest & likelier).any().alias("outdone"),
    )
    records = pl.DataFrame({RECORD: encoded.left, **_told(encoded)}).with_row_index("left")
    persons = pl.DataFrame({"person": encoded.right}).with_row_index("right")
    found = (
        records.join(best, on="left", how="left")
        .join(persons, on="right", how="left")
        .with_columns(pl.col("probability", "any").fill_null(0.0))
    )
    if weights is None:
        found = found.with_columns(pl.lit(1.0).alias("counts"))
    else:
        own = weights.select(RECORD, pl.col("weight").cast(pl.Float64).alias("counts"))
        found = found.join(own, on=RECORD, how="left").with_columns(pl.col("counts").fill_null(0.0))
    counts = pl.col("counts")
    apart = pl.col("margin").fill_null(thresholds.margin) >= thresholds.margin
    ready = (pl.col("probability") >= thresholds.probability) & apart & ~pl.col("outdone")
    wrong = (counts * (1 - pl.col("probability"))).cum_sum()
    linked = (
        found.filter(ready)
        .sort(["probability", RECORD], descending=[True, False])
        .filter(wrong <= thresholds.expected_error * counts.cum_sum())
        .select(RECORD, pl.lit(LINKED).alias("status"))
    )
    status = (
        pl.when(pl.col("status").is_not_null())
        .then(pl.lit(LINKED))
        .when(pl.col("any") >= thresholds.review)
        .then(pl.lit(REVIEW))
        .otherwise(pl.lit(UNLINKED))
    )
    return (
        found.join(linked, on=RECORD, how="left")
        .with_columns(status.alias("status"))
        .select(pl.col(name).cast(dtype) for name, dtype in ASSIGNED.items())
        .sort(RECORD)
    )


def _told(encoded: Encoded) -> dict[str, npt.NDArray[np.generic]]:
    """Return `described` and `likeness` of each left record."""
    codes = np.stack([values.left for values in encoded.values], axis=1)
    kinds = [field.evidence for field in encoded.plan.fields]
    has = [(codes[:, [kind is one for one in kinds]] > 0).any(axis=1) for kind in set(kinds)]
    return {
        "described": np.all(has, axis=0),
        "likeness": np.unique(codes, axis=0, return_inverse=True)[1].ravel().astype(np.uint32),
    }
