"""The period that a delivery covers: a year, a month or a day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from kinlink.errors import InputError


@dataclass(frozen=True, slots=True)
class Period:
    """A period as written, its first day, and the day after its last."""

    text: str
    start: date
    end: date

    @classmethod
    def parse(cls, text: str) -> Period:
        """Read "YYYY", "YYYY-MM" or "YYYY-MM-DD".

        Raises:
            InputError: the text is none of these.
        """
        try:
            start = date.fromisoformat(text + "-01-01"[len(text) - 4 :])
        except ValueError:
            raise InputError("The period must be written YYYY, YYYY-MM or YYYY-MM-DD.", "BAD_PERIOD") from None
        match len(text):
            case 4:
                end = date(start.year + 1, 1, 1)
            case 7:
                end = (start.replace(day=28) + timedelta(days=4)).replace(day=1)
            case 10:
                end = start + timedelta(days=1)
            case _:
                raise InputError("The period must be written YYYY, YYYY-MM or YYYY-MM-DD.", "BAD_PERIOD")
        return cls(text, start, end)
