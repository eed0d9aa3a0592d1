from __future__ import annotations

from datetime import date, timedelta

from kinlink.report.outliers import judge

FIRST, END = date(2026, 10, 1), date(2026, 11, 1)


def monthly(*counts: int) -> dict[date, int]:
    """Return a volume every thirtieth day, the last on 2 October 2026."""
    last = date(2026, 10, 2)
    return {last - timedelta(days=30 * place): count for place, count in enumerate(reversed(counts))}


def test_a_leap_stands_out_and_its_like_does_not() -> None:
    (usual,) = judge(monthly(100, 110, 90, 105, 95, 100, 108), FIRST, END)
    assert not usual.stands_out
    assert (usual.usual, usual.count) == (100.0, 108)
    (leap,) = judge(monthly(100, 110, 90, 105, 95, 100, 900), FIRST, END)
    assert leap.stands_out


def test_limit_is_median_and_six_spreads_by_hand() -> None:
    # Median 100, deviations 0 10 10 5 5 0 -> median 5, spread 7.413; 100 + 6 * 7.413 = 144.478, below twice the median.
    (one,) = judge(monthly(100, 110, 90, 105, 95, 100, 1), FIRST, END)
    assert one.limit == 200.0
    # Median 1000, deviations 300 each -> spread 444.78; 1000 + 6 * 444.78 = 3668.68.
    (wide,) = judge(monthly(700, 1300, 700, 1300, 700, 1300, 1), FIRST, END)
    assert wide.limit is not None
    assert round(wide.limit, 2) == 3668.68


def test_days_all_alike_allow_for_twice_as_much() -> None:
    days = monthly(100, 100, 100, 100, 100, 100, 200)
    assert not judge(days, FIRST, END)[0].stands_out
    assert judge(days | {date(2026, 10, 2): 201}, FIRST, END)[0].stands_out


def test_an_earlier_search_does_not_hide_the_next() -> None:
    (day,) = judge(monthly(100, 5_000_000, 90, 105, 95, 100, 5_000_000), FIRST, END)
    assert day.stands_out


def test_too_little_history_is_no_judgement() -> None:
    (day,) = judge(monthly(1, 1, 1, 1, 1, 5_000_000), FIRST, END)
    assert (day.usual, day.limit, day.stands_out) == (None, None, False)


def test_history_older_than_400_days_and_later_months_do_not_count() -> None:
    old = {FIRST - timedelta(days=401 + place): 10 for place in range(10)}
    later = {date(2026, 11, 1): 999}
    (day,) = judge({**old, **later, FIRST: 50}, FIRST, END)
    assert day.day == FIRST
    assert day.limit is None


def test_low_days_are_never_marked() -> None:
    (day,) = judge(monthly(100, 110, 90, 105, 95, 100, 1), FIRST, END)
    assert not day.stands_out
