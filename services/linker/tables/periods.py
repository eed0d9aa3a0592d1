"""Days: a year or its first months, a window of months before the reference date, and spells within them."""

from __future__ import annotations

import datetime

import polars as pl

Period = tuple[datetime.date, datetime.date]


def year_period(year: int) -> Period:
    """Return [1 January, next 1 January)."""
    return datetime.date(year, 1, 1), datetime.date(year + 1, 1, 1)


def year_to(year: int, through_month: int) -> Period:
    """Return [1 January, the first day after the month)."""
    return datetime.date(year, 1, 1), datetime.date(year + through_month // 12, through_month % 12 + 1, 1)


def months_before(reference_date: datetime.date, months: int) -> Period:
    """Return the months before the reference date, [reference date - months, reference date)."""
    month = reference_date.year * 12 + reference_date.month - 1 - months
    return reference_date.replace(year=month // 12, month=month % 12 + 1), reference_date


def overlaps(period: Period) -> pl.Expr:
    """Whether the spell [start, end) has a day in the period; an empty spell has none."""
    first, after = period
    open_or_later = pl.col("end").is_null() | ((pl.col("end") > first) & (pl.col("end") > pl.col("start")))
    return (pl.col("start") < after) & open_or_later


def first_day(period: Period) -> pl.Expr:
    """The spell's first day in the period."""
    return pl.max_horizontal("start", pl.lit(period[0]))


def day_after(period: Period) -> pl.Expr:
    """The first day after the spell in the period."""
    return pl.min_horizontal(pl.col("end").fill_null(period[1]), pl.lit(period[1]))


def distinct_days(spells: pl.LazyFrame, period: Period) -> pl.LazyFrame:
    """Return how many days of the period each person has any of the spells, overlaps counted once.

    Sorted by start, a spell adds the days after the latest end so far (gaps and islands),
    so two passes over sorted rows and no join of spells with days.

    Args:
        spells: person_id, start, end (null while open); any number a person, of any services.

    Returns:
        person_id, days (Int64, at least 1); key person_id; in no order.
    """
    clipped = (
        spells.filter(pl.col("person_id").is_not_null() & overlaps(period))
        .select("person_id", first_day(period).alias("start"), day_after(period).alias("end"))
        .sort("person_id", "start", "end")
    )
    covered = pl.col("end").cum_max().shift(1).over("person_id")
    added = (pl.col("end") - pl.max_horizontal("start", covered)).dt.total_days()
    return clipped.with_columns(added.clip(lower_bound=0).alias("days")).group_by("person_id").agg(pl.col("days").sum())
