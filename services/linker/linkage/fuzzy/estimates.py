"""How good a linkage is without the truth: what the model itself expects, with an interval.

1. Of the linked records, each is right with its stated probability: precision is their mean.
2. Recall is what was found of the payers who are registered. Of records with something of each kind of evidence
   blocking misses nearly none: what their candidates hold is how many of them are registered. Of the others many share
   no token with their person: it is taken that as many of them are registered. Where a source describes those worse
   whom the register does not have, recall is higher than this.
3. The interval holds the chance of the single records, where those alike in all fields are one, as they are right or
   wrong together; the chance of which are described; and how the model would move had other records come: it is fitted
   again to pattern counts drawn anew (Poisson, seeds 1 to n), and the estimates' variance is added.
4. Intervals are quantiles of a beta distribution of that mean and variance, so they stay within 0 and 1.

A model that is wrong in kind is wrong here too: that is what synthetic data with a known truth is for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.stats import beta

from linker.linkage.fuzzy.assignment import LINKED
from linker.linkage.fuzzy.comparison import Compared
from linker.linkage.fuzzy.encodings import RECORD, Encoded
from linker.linkage.fuzzy.fitting import Sample, fit
from linker.linkage.fuzzy.model import Model, Numbers
from linker.linkage.fuzzy.problems import FuzzyLinkageError, Problem
from linker.linkage.fuzzy.scoring import score

REFITS = 10
COVERED = 0.95
MEASURES = ("precision", "recall")
ALL = "all"


def estimate(
    assigned: pl.DataFrame,
    *,
    groups: pl.DataFrame | None = None,
    weights: pl.DataFrame | None = None,
    refitted: Sequence[pl.DataFrame] = (),
) -> pl.DataFrame:
    """Return a row a group: its columns, `records`, `weight`, `linked_weight`, `precision` and `recall` with bounds.

    `assigned`: schema ASSIGNED. `groups`: `record` and the columns to group by (source, month); all in one without it.
    `weights`: `record`, `weight`, not negative; 1 without it. `refitted`: from `refits`. Bounds are columns `*_low` and
    `*_high`; null where nothing was linked or expected; recall also where no record is described. Ordered by group.
    """
    alike = pl.coalesce(pl.col("likeness").cast(pl.Int64), -1 - pl.int_range(pl.len())).alias("likeness")
    described = pl.col("described").fill_null(True)
    known = assigned.select(RECORD, "status", "probability", "any", described, alike)
    known = known.with_columns(pl.lit(ALL).alias("group")) if groups is None else known.join(groups, on=RECORD)
    by = ["group"] if groups is None else [name for name in groups.columns if name != RECORD]
    if weights is None:
        known = known.with_columns(pl.lit(1.0).alias("w"))
    else:
        own = weights.select(RECORD, pl.col("weight").cast(pl.Float64).alias("w"))
        known = known.join(own, on=RECORD, how="left").with_columns(pl.col("w").fill_null(0.0))
    found = _by_group(known, by)
    others = [_by_group(known.drop("probability", "any").join(one, on=RECORD), by) for one in refitted]
    for measure in MEASURES:
        moved = pl.lit(0.0)
        if len(others) > 1:
            spread = pl.concat(others).group_by(by).agg(pl.col(measure).var().fill_null(0).alias("moved"))
            found = found.join(spread, on=by, how="left")
            moved = pl.col("moved")
        found = found.with_columns((pl.col(f"{measure}_variance") + moved).alias(f"{measure}_variance")).drop(
            "moved", strict=False
        )
        low, high = _interval(found[measure].to_numpy(), found[f"{measure}_variance"].to_numpy())
        found = found.with_columns(
            pl.Series(f"{measure}_low", low).fill_nan(None), pl.Series(f"{measure}_high", high).fill_nan(None)
        )
    bounds = [f"{measure}{end}" for measure in MEASURES for end in ("", "_low", "_high")]
    return found.select(*by, "records", "weight", "linked_weight", *bounds).sort(by)


def refits(
    both: Encoded, compared: Compared, sample: Sample, model: Model, assigned: pl.DataFrame, times: int = REFITS
) -> list[pl.DataFrame]:
    """Return, for each refit, `record`, `probability` (of the person assigned) and `any`. Deterministic.

    Raises FuzzyLinkageError as `fit`: a model that a few other records overturn is no model.
    """
    records = pl.DataFrame({RECORD: both.left}).with_row_index("left")
    persons = pl.DataFrame({"person": both.right}).with_row_index("right")
    best = assigned.select(RECORD, "person").join(records, on=RECORD).join(persons, on="person", how="left")
    found = []
    for seed in range(1, times + 1):
        counts = np.random.default_rng(seed).poisson(sample.counts).astype(float)
        drawn = Sample(sample.plan, sample.patterns, counts, sample.chance, sample.total, sample.records, sample.many)
        try:
            scored = score(both, compared, fit(drawn, start=model))
        except FuzzyLinkageError as error:
            if error.problem is not Problem.TOO_FEW_RECORDS:
                raise
            continue
        sums = scored.group_by("left").agg(pl.col("probability").sum().alias("any"))
        found.append(
            best.join(scored.select("left", "right", "probability"), on=["left", "right"], how="left")
            .join(sums, on="left", how="left")
            .select(RECORD, pl.col("probability", "any").fill_null(0.0))
        )
    return found


def _by_group(known: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    linked, described = pl.col("status") == LINKED, pl.col("described")
    w, p, any_ = pl.col("w"), pl.col("probability"), pl.col("any").clip(0, 1)
    share = (w * any_ * described).sum() / (w * described).sum()
    known = known.with_columns(share.over(by).alias("registered"))
    registered = pl.col("registered")
    # Records that are alike are right or wrong, registered or not, together: their deviations are summed, then squared.
    alike = known.group_by(*by, "likeness").agg(
        pl.len().alias("records"),
        w.sum(),
        (w * linked).sum().alias("linked_weight"),
        (w * p * linked).sum().alias("right"),
        (w * (any_ - p * linked)).sum().alias("missed"),
        (w * described).sum().alias("told"),
        (w * any_ * ~described).sum().alias("seen"),
        (w * (p * (1 - p)).sqrt() * linked).sum().alias("right_deviation"),
        (w * (any_ * (1 - any_)).sqrt() * ~linked).sum().alias("missed_deviation"),
        (w * (any_ - registered) * described).sum().alias("share_deviation"),
        (w * (1 - any_) * (registered * (1 - registered)).sqrt() * ~described).sum().alias("unseen_deviation"),
        registered.first(),
    )
    squares = [
        (pl.col(f"{name}_deviation") ** 2).sum().alias(f"{name}_variance")
        for name in ("right", "missed", "share", "unseen")
    ]
    sums = alike.group_by(by).agg(
        pl.col("records").sum(),
        w.sum().alias("weight"),
        pl.col("linked_weight", "right", "missed", "told", "seen").sum(),
        pl.col("registered").first(),
        *squares,
    )
    others = pl.col("weight") - pl.col("told")
    unseen = (pl.col("registered") * others - pl.col("seen")).clip(lower_bound=0)
    sums = sums.with_columns(
        (pl.col("missed") + unseen).alias("missed"),
        pl.sum_horizontal(
            "missed_variance", "unseen_variance", pl.col("share_variance") * (others / pl.col("told")) ** 2
        ).alias("missed_variance"),
    )
    right, missed, held = pl.col("right"), pl.col("missed"), pl.col("linked_weight")
    whole = right + missed
    return sums.with_columns(
        pl.when(held > 0).then(right / held).alias("precision"),
        pl.when((whole > 0) & (pl.col("told") > 0)).then(right / whole).alias("recall"),
        pl.when(held > 0).then(pl.col("right_variance") / held**2).alias("precision_variance"),
        pl.when((whole > 0) & (pl.col("told") > 0))
        .then((missed**2 * pl.col("right_variance") + right**2 * pl.col("missed_variance")) / whole**4)
        .alias("recall_variance"),
    )


def _interval(mean: Numbers, variance: Numbers) -> tuple[Numbers, Numbers]:
    """Return the bounds of the beta distribution of a mean and variance, around it; the mean where it cannot vary."""
    mean, variance = mean.astype(float), variance.astype(float)
    room = mean * (1 - mean)
    varies = (room > 0) & (variance > 0)
    size = np.where(varies, room / np.where(varies, np.minimum(variance, room * 0.99), 1), 2) - 1
    first, second = np.where(varies, mean * size, 1), np.where(varies, (1 - mean) * size, 1)
    tail = (1 - COVERED) / 2
    bounds = beta.ppf(tail, first, second), beta.ppf(1 - tail, first, second)
    low, high = (np.where(varies, bound, mean) for bound in bounds)
    return np.minimum(low, mean), np.maximum(high, mean)  # of one record, right or wrong, the quantiles say "right"
