"""Do a spell's months add up to its year, to the øre? Oracle: days counted one by one, and exact fractions."""

from __future__ import annotations

import datetime
from fractions import Fraction
from math import floor

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from linker.tables.periods import overlaps, year_period, year_to
from linker.tables.spending import monthly_costs, spell_cost_ore

YEAR = 2014
DAY = st.dates(datetime.date(2013, 11, 1), datetime.date(2015, 2, 1))
SPELL = st.tuples(DAY, st.none() | DAY, st.none() | st.integers(-(10**7), 10**7))
SCHEMA = {"n": pl.Int64, "start": pl.Date, "end": pl.Date, "price_per_week_ore": pl.Int64}
Spell = tuple[datetime.date, datetime.date | None, int | None]


def costs(spells: list[Spell], through_month: int) -> dict[tuple[int, int], int]:
    rows = pl.LazyFrame([(n, *spell) for n, spell in enumerate(spells)], schema=SCHEMA, orient="row")
    found = monthly_costs(rows, YEAR, through_month).collect()
    assert found.schema == {"n": pl.Int64, "month": pl.Int8, "amount_ore": pl.Int64}
    assert not found.select("n", "month").is_duplicated().any()
    return {(n, month): amount for n, month, amount in found.rows()}


def cost_through(spell: Spell, month: int) -> int:
    """Return the cost from January through a month: days one by one, half an øre up."""
    start, end, price = spell
    day, after = year_to(YEAR, month)
    days = 0
    while day < after:
        days += start <= day and (end is None or day < end)
        day += datetime.timedelta(days=1)
    return floor(Fraction((price or 0) * days, 7) + Fraction(1, 2))


@settings(max_examples=60, deadline=None)
@given(st.lists(SPELL, max_size=6), st.integers(1, 12))
def test_months_of_a_spell_add_up_to_its_cost_until_then(spells: list[Spell], through_month: int) -> None:
    found = costs(spells, through_month)
    for n, spell in enumerate(spells):
        for month in range(1, through_month + 1):
            assert sum(found.get((n, m), 0) for m in range(1, month + 1)) == cost_through(spell, month)


@settings(max_examples=60, deadline=None)
@given(st.lists(SPELL, max_size=6))
def test_months_of_a_spell_add_up_to_the_years_cost(spells: list[Spell]) -> None:
    found = costs(spells, 12)
    rows = pl.LazyFrame([(n, *spell) for n, spell in enumerate(spells)], schema=SCHEMA, orient="row")
    year = rows.filter(overlaps(year_period(YEAR))).select("n", spell_cost_ore(year_period(YEAR)).fill_null(0))
    for n, cost in year.collect().rows():
        assert sum(amount for (spell, _), amount in found.items() if spell == n) == cost


@settings(max_examples=30, deadline=None)
@given(st.lists(SPELL, max_size=6), st.integers(1, 11))
def test_a_month_that_is_over_keeps_its_amount(spells: list[Spell], through_month: int) -> None:
    later = costs(spells, through_month + 1)
    assert costs(spells, through_month) == {key: amount for key, amount in later.items() if key[1] <= through_month}
