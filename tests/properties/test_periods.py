"""Are days counted once, whatever spells there are? Oracle: sets of days."""

from __future__ import annotations

import datetime

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from linker.tables.periods import distinct_days

FIRST, AFTER = datetime.date(2014, 1, 1), datetime.date(2014, 3, 1)
NEAR = st.dates(FIRST - datetime.timedelta(days=20), AFTER + datetime.timedelta(days=20))
SPELL = st.tuples(st.integers(1, 3), NEAR, st.none() | NEAR)


@settings(max_examples=100, deadline=None)
@given(st.lists(SPELL, max_size=12))
def test_distinct_days_equal_the_set_of_days(spells: list[tuple[int, datetime.date, datetime.date | None]]) -> None:
    days: dict[int, set[datetime.date]] = {}
    for person, start, end in spells:
        day = FIRST
        while day < AFTER:
            if start <= day and (end is None or day < end):
                days.setdefault(person, set()).add(day)
            day += datetime.timedelta(days=1)
    schema = {"person_id": pl.UInt32, "start": pl.Date, "end": pl.Date}
    found = distinct_days(pl.LazyFrame(spells, schema=schema, orient="row"), (FIRST, AFTER)).collect()
    assert dict(found.rows()) == {person: len(distinct) for person, distinct in days.items()}
