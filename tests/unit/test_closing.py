"""When is a year closed, and when do the bases of its releases go?"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from linker.disclosure.closing import ClosedYearError, ReleasedYear, Retention, check_comparable, check_open, due

SHIPPED = Retention(731, 1827)


def at(year: int, month: int = 1, day: int = 1) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def end(year: int) -> date:
    return date(year + 1, 1, 1)


def released(year: int, first: datetime, kept: int = 1, erased: bool = False) -> ReleasedYear:
    """Return a year that is released each month with the next one's first, as reference date."""
    dates = {end(year), *(date(year, month, 1) for month in range(2, 13))}
    return ReleasedYear(year, first, kept, frozenset(dates if erased else ()))


MONTHLY = released(2014, at(2014, 2, 3))
LATE = released(2014, at(2026, 11, 22))
# what: the year that was released, when it closes, and when its bases are due
TIMES = {
    "released from month to month, from the year's end": (MONTHLY, at(2017), at(2020, 1, 2)),
    "released long after, from that day": (LATE, at(2028, 11, 22), at(2031, 11, 23)),
}


@pytest.mark.parametrize("name", TIMES)
def test_times_run_from_the_years_end_or_its_first_release(name: str) -> None:
    year, closes_at, due_from = TIMES[name]
    moment = timedelta(seconds=1)
    check_open(2014, end(2014), [year], SHIPPED, closes_at - moment)
    with pytest.raises(ClosedYearError, match=r"2014 is closed since .*, 731 days after its end or its first release"):
        check_open(2014, end(2014), [year], SHIPPED, closes_at)
    assert due([year], SHIPPED, due_from - moment) == []
    assert due([year], SHIPPED, due_from) == [2014]
    assert due([released(2014, at(2014, 2, 3), kept=0, erased=True)], SHIPPED, due_from) == []


def test_a_year_without_releases_is_open_whenever_it_was() -> None:
    check_open(2003, end(2003), [LATE], SHIPPED, at(2027))


def test_an_erased_year_stays_closed_under_a_longer_time() -> None:
    gone = released(2014, at(2014, 2, 3), kept=0, erased=True)
    with pytest.raises(ClosedYearError, match="2014 is closed: what its releases were made of is erased"):
        check_open(2014, end(2014), [gone], Retention(36_000, 36_500), at(2020))
    partly = released(2014, at(2014, 2, 3), kept=3, erased=True)
    with pytest.raises(ClosedYearError, match="erased"):
        check_open(2014, end(2014), [partly], SHIPPED, at(2015))


def test_a_longer_time_opens_a_closed_year_whose_bases_are_there() -> None:
    with pytest.raises(ClosedYearError):
        check_open(2014, end(2014), [MONTHLY], SHIPPED, at(2018))
    check_open(2014, end(2014), [MONTHLY], Retention(1500, 1827), at(2018))


@pytest.mark.parametrize("year", range(2009, 2020))
def test_years_near_an_erased_one_are_closed(year: int) -> None:
    """Nearer than the two times are apart: here 1,096 days."""
    if abs(year - 2014) <= 2:
        with pytest.raises(ClosedYearError, match="2014"):
            check_comparable(year, end(year), [(2014, end(2014))], SHIPPED)
    else:
        check_comparable(year, end(year), [(2014, end(2014))], SHIPPED)
    check_comparable(year, end(year), [], SHIPPED)


def test_a_reference_date_near_an_erased_one_is_closed_whichever_year_it_is_released_with() -> None:
    for day, near in {date(2015, 1, 1): True, date(2017, 12, 1): True, date(2018, 1, 1): False}.items():
        if near:
            with pytest.raises(ClosedYearError, match=f"2030 is closed: .*2014.* on {day}"):
                check_comparable(2030, day, [(2014, end(2014))], SHIPPED)
        else:
            check_comparable(2030, day, [(2014, end(2014))], SHIPPED)


def test_no_open_year_is_near_an_erased_one_if_years_are_released_when_they_end() -> None:
    """For fifty years, on every day of which a year's bases may go or a year may close."""
    years = [released(year, at(year, 2, 10)) for year in range(2000, 2050)]
    ends = [each.counts_from + timedelta(days=days) for each in years for days in (731, 1827)]
    days = {end + timedelta(hours=hour) for end in ends for hour in (-1, 1)}
    tried = 0
    for day in sorted(days):
        now = [
            released(each.year, each.first_released_at, 0, erased=True) if due([each], SHIPPED, day) else each
            for each in years
            if each.first_released_at <= day
        ]
        for each in now:
            if day < each.counts_from + timedelta(days=731):
                for month in range(2, 14):
                    check_open(each.year, date(each.year + month // 13, month % 12 or 12, 1), now, SHIPPED, day)
                    tried += 1
    assert tried > 3_000
