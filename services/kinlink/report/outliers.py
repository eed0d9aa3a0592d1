"""Which days stand out: a caller's volume against its own earlier days.

1. A day is compared with the days of the 400 before it on which the same caller did the
   same and did anything at all. Deliveries are monthly: quiet days say nothing.
2. Fewer than six such days: too little history, no judgement.
3. It stands out when it is above the median by more than six times the spread, and above
   twice the median. The spread is 1.4826 times the median absolute deviation (which is the
   standard deviation of a normal distribution), at least a twentieth of the median: somebody
   whose days are all alike is not marked for one element more.
4. Median and deviation barely move when a few earlier days were themselves extreme, so that
   a search of the CPR space does not hide the next one. Low days are never marked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

HISTORY_DAYS = 400
FEWEST_DAYS = 6
SPREADS = 6.0
TIMES_MEDIAN = 2.0
SIGMA = 1.4826
LEAST_SPREAD = 0.05  # of the median


@dataclass(frozen=True, slots=True)
class Judged:
    """A day's volume. `usual` (the median) is None when there is too little history; `limit` as well."""

    day: date
    count: int
    usual: float | None
    limit: float | None

    @property
    def stands_out(self) -> bool:
        """Whether the day is above its limit."""
        return self.limit is not None and self.count > self.limit


def judge(days: Mapping[date, int], first: date, end: date) -> list[Judged]:
    """Judge the days of [first, end) that have a volume, in order.

    `days` holds volumes above 0, earlier days included; days from `end` on are not looked at.
    """
    judged = []
    for day in sorted(day for day in days if first <= day < end):
        start = day - timedelta(days=HISTORY_DAYS)
        history = [count for other, count in days.items() if start <= other < day]
        usual, limit = _limit(history)
        judged.append(Judged(day, days[day], usual, limit))
    return judged


def _limit(history: list[int]) -> tuple[float | None, float | None]:
    if len(history) < FEWEST_DAYS:
        return None, None
    usual = float(median(history))
    deviation = median(abs(count - usual) for count in history)
    spread = max(SIGMA * deviation, LEAST_SPREAD * usual)
    return usual, max(usual + SPREADS * spread, TIMES_MEDIAN * usual)
