"""How good a linkage was, where the truth is known: synthetic towns and published test data.

A record counts its weight (1, or its absolute amount). Precision: of what was linked, the share linked to the right
person. Recall: of the records whose person is registered, the share linked to that person. Completeness: of those, the
share whose pair was looked at at all. Calibration: expected calibration error over ten equal ranges of the stated
probability (Naeini, Cooper and Hauskrecht 2015), of each record's likeliest person.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from linker.linkage.fuzzy.assignment import LINKED, REVIEW

BINS = 10
SURE = 0.99


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Shares in [0, 1]. `sure_wrong`: of links with a stated probability of `SURE` or more, the share that is wrong.

    `review`: the share of records in review. `calibration`: by range of stated probability its mean, the share that was
    right, and the records' weight.
    """

    precision: float
    recall: float
    f1: float
    calibration_error: float
    sure_wrong: float
    review: float
    calibration: tuple[tuple[float, float, float], ...]


def evaluate(assigned: pl.DataFrame, truth: pl.DataFrame, weights: pl.DataFrame | None = None) -> Evaluation:
    """Compare assigned records (schema ASSIGNED) with `truth`: `record`, `person`, null where nobody is right.

    `weights`: `record`, `weight`; 1 without it.
    """
    known = assigned.join(truth.rename({"person": "right"}), on="record", how="inner")
    known = known.with_columns(pl.lit(1.0).alias("counts"))
    if weights is not None:
        own = weights.select("record", pl.col("weight").cast(pl.Float64).alias("given"))
        known = known.join(own, on="record", how="left").with_columns(pl.col("given").fill_null(0).alias("counts"))
    known = known.with_columns(
        pl.col("person").eq(pl.col("right")).fill_null(False).alias("correct"),
        pl.col("status").eq(LINKED).alias("linked"),
    )
    linked = known.filter("linked")
    correct = _weight(linked.filter("correct"))
    precision = _share(correct, _weight(linked))
    recall = _share(correct, _weight(known.filter(pl.col("right").is_not_null())))
    sure = linked.filter(pl.col("probability") >= SURE)
    calibration = _calibration(known.filter(pl.col("person").is_not_null()))
    whole = sum(count for _, _, count in calibration)
    return Evaluation(
        precision,
        recall,
        _share(2 * precision * recall, precision + recall),
        _share(sum(abs(stated - right) * count for stated, right, count in calibration), whole),
        _share(_weight(sure.filter(~pl.col("correct"))), _weight(sure)),
        _share(_weight(known.filter(pl.col("status") == REVIEW)), _weight(known)),
        calibration,
    )


def completeness(pairs: pl.DataFrame, truth: pl.DataFrame) -> float:
    """Return the share of true pairs among candidates: `pairs` has `record`, `person`."""
    real = truth.drop_nulls("person").select("record", "person")
    return _share(float(len(real.join(pairs, on=["record", "person"], how="semi"))), float(len(real)))


def _calibration(known: pl.DataFrame) -> tuple[tuple[float, float, float], ...]:
    counts = pl.col("counts")
    by_bin = (
        known.filter(counts > 0)
        .group_by((pl.col("probability") * BINS).floor().clip(0, BINS - 1).alias("bin"))
        .agg(
            (pl.col("probability") * counts).sum() / counts.sum(),
            (pl.col("correct") * counts).sum().alias("right") / counts.sum(),
            counts.sum(),
        )
        .sort("bin")
    )
    return tuple(by_bin.select("probability", "right", "counts").iter_rows())


def _weight(frame: pl.DataFrame) -> float:
    return float(frame["counts"].sum())


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
