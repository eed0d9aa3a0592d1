"""The month that a report covers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month, UTC."""

    first: date
    end: date  # the first day of the next

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read "YYYY-MM". Raises ValueError when it is no month."""
        start = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
        return cls(start, date(start.year + start.month // 12, start.month % 12 + 1, 1))

    def holds(self, moment: datetime | None) -> bool:
        """Say whether an instant is within the month."""
        return moment is not None and self.first <= moment.astimezone(UTC).date() < self.end

    def __str__(self) -> str:
        return f"{self.first:%Y-%m}"
