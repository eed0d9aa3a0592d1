"""How long a year is released again, and how long what its releases were made of is kept.

1. Both times run from the year's end, or from its first release where that was later: a past year may be released too.
2. A year is open for `year_open_days`. Then it is closed: its tables stay as they are, and no release follows.
3. The bases of a year's releases are kept for `bases_kept_days`, and go together. No table about that year can be
   compared with what was shown from then on, so the year is closed for good, whatever a later policy says.
4. A stock is of a reference date, whatever year it is released with. So no release is made of a reference date that is
   nearer to that of an erased one than the two times are apart. A year that is open by rule 2 is not so near, if
   reference dates are of the year or its end, and years are released when they end.

It knows no clock and no store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta


class ClosedYearError(ValueError):
    """A release of this year could not be compared with what was shown; names the year and why."""


@dataclass(frozen=True, slots=True)
class Retention:
    """The controller's two times, in days; the first is no longer than the second."""

    year_open_days: int
    bases_kept_days: int


@dataclass(frozen=True, slots=True)
class ReleasedYear:
    """A year that was released. `kept`: how many bases are there; `erased`: reference dates of those that are not."""

    year: int
    first_released_at: datetime
    kept: int
    erased: frozenset[date]

    @property
    def counts_from(self) -> datetime:
        """When its two times began."""
        return max(datetime.combine(_end(self.year), datetime.min.time(), UTC), self.first_released_at)


def due(years: Iterable[ReleasedYear], retention: Retention, at: datetime) -> list[int]:
    """Return the years whose bases go now, in order."""
    kept = timedelta(days=retention.bases_kept_days)
    return sorted(each.year for each in years if each.kept and each.counts_from + kept <= at)


def check_open(
    year: int, reference_date: date, years: Collection[ReleasedYear], retention: Retention, at: datetime
) -> None:
    """Refuse a year that is closed by the clock, or by what was erased.

    Raises:
        ClosedYearError: it is.
    """
    erased = [(each.year, day) for each in years for day in each.erased]
    check_comparable(year, reference_date, erased, retention)
    for each in years:
        closes_at = each.counts_from + timedelta(days=retention.year_open_days)
        if each.year == year and closes_at <= at:
            raise ClosedYearError(
                f"{year} is closed since {closes_at.date()}, {retention.year_open_days} days after its end or its "
                f"first release, as the disclosure policy says; {_STAYS}"
            )


def check_comparable(year: int, reference_date: date, erased: Iterable[tuple[int, date]], retention: Retention) -> None:
    """Refuse a year that cannot be compared with what was shown.

    `erased`: years and reference dates of releases without their basis.

    Guarantee: a stock is compared with every release of a reference date less than `bases_kept_days` -
    `year_open_days` away, and a flow with every release about its own year.

    Raises:
        ClosedYearError: it cannot.
    """
    apart = timedelta(days=retention.bases_kept_days - retention.year_open_days)
    for other, day in sorted(erased):
        if other == year:
            raise ClosedYearError(f"{year} is closed: what its releases were made of is erased; {_STAYS}")
        if abs(reference_date - day) < apart:
            raise ClosedYearError(
                f"{year} is closed: what the releases of {other} were made of is erased, and tables of families on "
                f"{reference_date} cannot be compared with theirs, on {day}; {_STAYS}"
            )


_STAYS = "its released tables stay in service as they are"


def _end(year: int) -> date:
    return date(year + 1, 1, 1)
