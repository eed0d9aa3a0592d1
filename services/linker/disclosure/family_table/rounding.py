"""Amounts beside the bands, where the policy asks for them: rounded, and cut off at the top and below zero.

1. An amount stands where the row shows its band; where the band is `SOME` or hidden, so is the amount.
2. In each class (rows that show the same properties) an amount is cut off at the least of the policy's quantile over
   all families and the amount of the class's `top_rank`-th: so at least so many share the top. Below zero likewise.
3. A class that shows fewer than `top_rank` amounts of a column shows none of it.

*No* guarantee of k holds for amounts: who knows one to the rounding finds the row. That is why bands are the default.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from linker.disclosure.family_table.columns import HIDDEN, PROPERTIES, SOME
from linker.disclosure.policy import FamilyTablePolicy

SUFFIX = "_kr"


def rounded(
    rows: pl.DataFrame, amounts: pl.DataFrame, spending: Sequence[str], policy: FamilyTablePolicy
) -> pl.DataFrame:
    """Return a column `<name>_kr` (Int64, null where hidden) for each of `spending`, in the order of the rows.

    `rows` are coded; `amounts` has the same rows' true øre in the same order.
    """
    facts = rows.select(*PROPERTIES, *spending).hstack(
        [amounts[name].alias(f"true {name}") for name in spending],
    )
    return facts.select(_amount(name, policy) for name in spending)


def _amount(name: str, policy: FamilyTablePolicy) -> pl.Expr:
    rank, step = policy.top_rank, policy.rounding_ore
    true = pl.col(f"true {name}")
    shown = pl.when(~pl.col(name).is_in([SOME, HIDDEN])).then(true)
    quantile = true.quantile(policy.top_quantile_permille / 1000, "lower").cast(pl.Int64)
    top = pl.min_horizontal(quantile, shown.top_k(rank).min().over(PROPERTIES))
    bottom = pl.min_horizontal(pl.lit(0, pl.Int64), shown.bottom_k(rank).max().over(PROPERTIES))
    cut = pl.when(shown.count().over(PROPERTIES) >= rank).then(
        pl.max_horizontal(pl.min_horizontal(shown, top), pl.min_horizontal(bottom, top))
    )
    kroner = (cut + step // 2) // step * step // 100
    return pl.when(shown.is_not_null()).then(kroner).alias(name + SUFFIX)
