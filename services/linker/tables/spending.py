"""What a family's services cost in each month of a year, net, in øre.

1. A service with cost basis `posting` costs what is posted with that event
   month: the signed sum of dranst 1 (operation) and 2 (state refund). Other kinds of
   account are no part of net.
2. A service with cost basis `spell` costs price per week × days / 7, each spell by itself. From January through a
   month it is rounded to the nearest øre: (price · days · 2 + 7) // 14, half an øre up, also for a negative price. A
   month costs what this has grown by since the month before: months add up to the year, to the øre, and a month that
   is over keeps its amount. No row of a service is counted on both bases.
3. Department, type and area are the catalogue's. A posting of cost component
   `administration` is of type administration and has no area, whatever service it is for.
4. Persons who are members on the reference date count for the whole year.
5. Amounts of one month that cancel out leave no row.
"""

from __future__ import annotations

import polars as pl

from linker import frames
from linker.tables import catalogue as catalogue_rows
from linker.tables.periods import Period, day_after, first_day, overlaps, year_to

_CELL = ["department", "type", "area"]
_NET = (1, 2)
_MONTHS = 12


def spell_cost_ore(period: Period) -> pl.Expr:
    """Return the cost of the part of a spell within the period, Int64 øre; null without a price.

    The spell has a day in the period (`overlaps`), or at least none after it.
    """
    days = (day_after(period) - first_day(period)).dt.total_days().clip(lower_bound=0)
    return (pl.col("price_per_week_ore") * days * 2 + 7) // 14


def monthly_costs(spells: pl.LazyFrame, year: int, through_month: int) -> pl.LazyFrame:
    """Return the spells with `month` and `amount_ore`: a row for each month of the year that a spell has a day in.

    Cost: a pass over the spells of the year for each month.

    Args:
        spells: start, end, price_per_week_ore and what else is to be kept.
        year, through_month: calendar year, and its last month, 1 to 12.

    Returns:
        The other columns of `spells`, month (Int8), amount_ore (Int64); rows of a spell add up to its
        `spell_cost_ore` through the last month.
    """
    dates = ("start", "end", "price_per_week_ore")
    priced = spells.filter(overlaps(year_to(year, through_month)) & pl.col("price_per_week_ore").is_not_null())
    of_months = []
    for month in range(1, through_month + 1):
        until = year_to(year, month)
        this = (until[0] if month == 1 else year_to(year, month - 1)[1], until[1])
        before = spell_cost_ore(year_to(year, month - 1)) if month > 1 else pl.lit(0, pl.Int64)
        cost = spell_cost_ore(until) - before
        of_months.append(
            priced.filter(overlaps(this))
            .with_columns(pl.lit(month, pl.Int8).alias("month"), cost.alias("amount_ore"))
            .drop(dates)
        )
    return pl.concat(of_months)


def family_spending(
    members: pl.LazyFrame,
    postings: pl.LazyFrame,
    spells: pl.LazyFrame,
    catalogue: pl.LazyFrame,
    year: int,
    through_month: int = 12,
) -> pl.LazyFrame:
    """Return net amounts by family, department, type, area and month.

    Cells are numbered, and rows are summed by family and number: one integer key for
    each row instead of five, three of them text.

    Args:
        members: FAMILY_MEMBERS, or those of the families in question.
        postings, spells, catalogue: FACTS after aliases and exclusions.
        year, through_month: calendar year, and its last month that counts, 1 to 12.

    Returns:
        FAMILY_SPENDING, no zero amounts, in no order; area null outside offers.

    Raises:
        CatalogueError, SchemaError: as in `catalogue.services`, `frames.check`.
    """
    first, after = year_to(year, through_month)
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
            pl.col("event_month").dt.month().alias("month"),
            "amount_ore",
        )
    )
    ran = monthly_costs(
        frames.check(spells, frames.FACTS["spells"], "family_spending: spells")
        .filter(pl.col("person_id").is_not_null())
        .join(numbered.filter(cost_basis="spell").select("service", "cell"), on="service", how="inner")
        .select("person_id", "cell", "start", "end", "price_per_week_ore"),
        year,
        through_month,
    )
    key = pl.col("cell") * _MONTHS + pl.col("month").cast(pl.UInt32) - 1
    amounts = (
        pl.concat([posted, ran])
        .select("person_id", "amount_ore", key=key)
        .join(of_family, on="person_id", how="inner")
        .group_by("family_id", "key")
        .agg(pl.col("amount_ore").sum())
        .filter(pl.col("amount_ore") != 0)
        .with_columns(cell=pl.col("key") // _MONTHS, month=(pl.col("key") % _MONTHS + 1).cast(pl.Int8))
        .join(cells, on="cell", how="inner")
    )
    return frames.check(amounts, frames.FAMILY_SPENDING, "family_spending")
