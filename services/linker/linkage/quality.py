"""How good the links of a run are: by source, and by source and month, as the model itself expects.

Of a source also how many of its kroner have a person, before its payers are linked by encodings and after.

1. A record that its source answered for is known: linked and right, or rightly not linked.
2. Of a source, or a month, with fewer records than the smallest group nothing is shown; nor of more months, the
   smallest first, until those not shown are together as many: a source's total would tell them otherwise.
3. Kroner are sums of absolute amounts, so that a refund hides no payment, in whole thousands.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from kinlink.delivery.datasets import PersonKind
from linker.linkage.fuzzy.assignment import LINKED, REVIEW
from linker.linkage.fuzzy.encodings import RECORD
from linker.linkage.fuzzy.estimates import estimate
from linker.linkage.links import applied

ROW = ("source", "month", "records", "linked", "in_review")
BOUNDS = ("precision", "precision_low", "precision_high", "recall", "recall_low", "recall_high")

KRONER = ("posted_kr", "identified_kr", "covered_kr")
"""Of all postings; of those under a CPR number; of these, and of those whose payer is linked."""
_THOUSAND, _ORE = 1_000, 100


def answered(assigned: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """Return `assigned` (or a refit of it), certain where `known` has an answer: `record`, `somebody` (Boolean)."""
    sure = pl.col("somebody").cast(pl.Float64)
    found = assigned.join(known, on=RECORD, how="left").with_columns(
        pl.coalesce(sure, "probability").alias("probability"), pl.coalesce(sure, "any").alias("any")
    )
    if "described" in found.columns:  # whether somebody is registered is known of these as well
        found = found.with_columns(pl.col("described").fill_null(True) | pl.col("somebody").is_not_null())
    return found.drop("somebody")


def quality(
    assigned: pl.DataFrame, refitted: Sequence[pl.DataFrame], records: pl.DataFrame, smallest: int
) -> list[dict[str, Any]]:
    """Return a row of ROW and BOUNDS a group that is shown, ordered by source and month; "" is all months.

    `assigned`, `refitted`: as `estimates.estimate` takes them. `records`: `record`, `source`, `month` (Date, null
    without a posting), `weight`.
    """
    whole = records.select(RECORD, "source", pl.lit("").alias("month"))
    monthly = records.drop_nulls("month").select(RECORD, "source", pl.col("month").dt.strftime("%Y-%m"))
    found = pl.concat([_of(assigned, refitted, records, groups) for groups in (whole, monthly)])
    totals = found.filter(pl.col("month") == "", pl.col("records") >= smallest)
    months = found.filter(pl.col("month") != "").join(totals, on="source", how="semi")
    shown = pl.concat([totals, _shown(months, totals, smallest)])
    return shown.sort("source", "month").select(*ROW, *BOUNDS).to_dicts()


def with_kroner(rows: Sequence[dict[str, Any]], postings: pl.LazyFrame, links: pl.LazyFrame) -> list[dict[str, Any]]:
    """Return rows of `quality`, the totals with KRONER; None of a month.

    `postings`: FACTS; `links`: LINKS, those that stand.
    """
    named = pl.col("person_kind").eq_missing(PersonKind.CPR.value)
    numbered = postings.with_columns(person_id=pl.when(named).then("person_id"))
    known = pl.col("person_id").is_not_null()
    amounts = applied(numbered, links).select(
        "source", known.alias("known"), named.alias("named"), ore=pl.col("amount_ore").abs()
    )
    sums = amounts.group_by("source").agg(
        _thousands(pl.col("ore").sum()).alias("posted_kr"),
        _thousands(pl.col("ore").filter("known", "named").sum()).alias("identified_kr"),
        _thousands(pl.col("ore").filter("known").sum()).alias("covered_kr"),
    )
    of = {row.pop("source"): row for row in sums.collect(engine="streaming").to_dicts()}
    nothing = dict.fromkeys(KRONER)
    return [{**row, **(of.get(row["source"], nothing) if row["month"] == "" else nothing)} for row in rows]


def _thousands(ore: pl.Expr) -> pl.Expr:
    return (ore // (_THOUSAND * _ORE)) * _THOUSAND


def _of(
    assigned: pl.DataFrame, refitted: Sequence[pl.DataFrame], records: pl.DataFrame, groups: pl.DataFrame
) -> pl.DataFrame:
    status = pl.col("status")
    counts = (
        assigned.join(groups, on=RECORD)
        .group_by("source", "month")
        .agg((status == LINKED).sum().alias("linked"), (status == REVIEW).sum().alias("in_review"))
    )
    weights = records.select(RECORD, "weight")
    estimated = estimate(assigned, groups=groups, weights=weights, refitted=refitted)
    return estimated.join(counts, on=["source", "month"]).select(
        "source", "month", pl.col("records", "linked", "in_review").cast(pl.Int64), *BOUNDS
    )


def _shown(months: pl.DataFrame, totals: pl.DataFrame, smallest: int) -> pl.DataFrame:
    kept = []
    for (source,), own in months.sort("records", "month").group_by("source", maintain_order=True):
        hidden = totals.filter(source=source)["records"].item() - own["records"].sum()  # those without a posting
        rows = own["records"].to_list()
        first = 0
        while first < len(rows) and (rows[first] < smallest or 0 < hidden < smallest):
            hidden += rows[first]
            first += 1
        kept.append(own[first:])
    return pl.concat([months.clear(), *kept])
