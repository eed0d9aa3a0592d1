"""What a family's services cost in a year, net, in øre.

1. A service with cost basis `posting` costs what is posted with an event month in the
   year: the signed sum of dranst 1 (operation) and 2 (state refund). Other kinds of
   account are no part of net.
2. A service with cost basis `spell` costs price per week × days in the year / 7, each
   spell by itself, rounded to the nearest øre: (price · days · 2 + 7) // 14. Half an øre
   goes up, also for a negative price. No row of a service is counted on both bases.
3. Department, type and area are the catalogue's. A posting of cost component
   `administration` is of type administration and has no area, whatever service it is for.
4. Persons who are members on the reference date count for the whole year.
5. Amounts that cancel out leave no row: a reversed posting is no contribution.
"""

from __future__ import annotations

import polars as pl

from linker import frames
from linker.tables import catalogue as catalogue_rows
from linker.tables.periods import Period, day_after, first_day, overlaps, year_period

_CELL = ["department", "type", "area"]
_NET = (1, 2)


def spell_cost_ore(period: Period) -> pl.Expr:
    """Return the cost of the part of a spell within the period, Int64 øre; null without a price."""
    days = (day_after(period) - first_day(period)).dt.total_days()
    return (pl.col("price_per_week_ore") * days * 2 + 7) // 14


def family_spending(
    members: pl.LazyFrame, postings: pl.LazyFrame, spells: pl.LazyFrame, catalogue: pl.LazyFrame, year: int
) -> pl.LazyFrame:
    """Return net amounts by family, department, type and area.

    Cells are numbered, and rows are summed by family and number: one integer key for
    each row instead of four, three of them text.

    Args:
        members: FAMILY_MEMBERS, or those of the families in question.
        postings, spells, catalogue: FACTS after aliases and exclusions.
        year: calendar year.

    Returns:
        FAMILY_SPENDING, no zero amounts, in no order; area null outside offers.

    Raises:
        CatalogueError, SchemaError: as in `catalogue.services`, `frames.check`.
    """
    first, after = period = year_period(year)
    services = catalogue_rows.services(catalogue)
    administration = services.select(
        "department", pl.lit("administration").alias("type"), pl.lit(None, pl.String).alias("area")
    )
    cells = (
        pl.concat([services.select(_CELL), administration]).unique().sort(_CELL).with_row_index("cell").collect().lazy()
    )
    numbered = services.join(cells, on=_CELL, how="left", nulls_equal=True).join(
        cells.filter(type="administration")
        .filter(pl.col("area").is_null())
        .select("department", administration="cell"),
        on="department",
        how="left",
    )
    of_family = frames.check(members, frames.FAMILY_MEMBERS, "family_spending: members").select(
        "person_id", "family_id"
    )
    posted = (
        frames.check(postings, frames.FACTS["postings"], "family_spending: postings")
        .filter(
            pl.col("event_month").is_between(first, after, closed="left")
            & pl.col("dranst").is_in(_NET)
            & pl.col("person_id").is_not_null()
        )
        .join(
            numbered.filter(cost_basis="posting").select("service", "cell", "administration"), on="service", how="inner"
        )
        .select(
            "person_id",
            pl.when(pl.col("cost_component") == "administration")
            .then(pl.col("administration"))
            .otherwise(pl.col("cell"))
            .alias("cell"),
            "amount_ore",
        )
    )
    ran = (
        frames.check(spells, frames.FACTS["spells"], "family_spending: spells")
        .filter(overlaps(period) & pl.col("price_per_week_ore").is_not_null() & pl.col("person_id").is_not_null())
        .join(numbered.filter(cost_basis="spell").select("service", "cell"), on="service", how="inner")
        .select("person_id", "cell", spell_cost_ore(period).alias("amount_ore"))
    )
    amounts = (
        pl.concat([posted, ran])
        .join(of_family, on="person_id", how="inner")
        .group_by("family_id", "cell")
        .agg(pl.col("amount_ore").sum())
        .filter(pl.col("amount_ore") != 0)
        .join(cells, on="cell", how="inner")
    )
    return frames.check(amounts, frames.FAMILY_SPENDING, "family_spending")
