"""Danish and English: sentences in both, numbers and dates as each writes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

LANGUAGES = ("da", "en")
_MONTHS = {
    "da": [
        "januar",
        "februar",
        "marts",
        "april",
        "maj",
        "juni",
        "juli",
        "august",
        "september",
        "oktober",
        "november",
        "december",
    ],
    "en": [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
}


@dataclass(frozen=True, slots=True)
class Words:
    """The same sentence in both languages."""

    da: str
    en: str


def number(value: float, language: str, decimals: int = 0) -> str:
    """Return 1234.5 as "1.234,5" in Danish, "1,234.5" in English."""
    text = f"{value:,.{decimals}f}"
    return text.translate(str.maketrans(",.", ".,")) if language == "da" else text


def month_name(month: str, language: str) -> str:
    """Return "2026-10" as "oktober 2026"."""
    year, _, number_ = month.partition("-")
    return f"{_MONTHS[language][int(number_) - 1]} {year}"


def day(value: date | str | None, language: str) -> str:
    """Return a day (a date, an instant, or either as ISO 8601) as "3. okt. 2026"; "–" for none."""
    if not value:
        return "–"
    found = _instant(value)
    if found is None:
        return str(value)
    name = _MONTHS[language][found.month - 1][:3]
    if language == "en":
        return f"{found.day} {name} {found.year}"
    return f"{found.day}. {name}{'' if found.month == 5 else '.'} {found.year}"


def instant(value: datetime | str | None, language: str) -> str:
    """Return an instant as "3. okt. 2026 kl. 14.05" (UTC); "–" for none."""
    if not value:
        return "–"
    found = _instant(value)
    if found is None:
        return str(value)
    return f"{day(value, language)} {found:kl. %H.%M}" if language == "da" else f"{day(value, language)}, {found:%H:%M}"


def _instant(value: date | str) -> datetime | None:
    """Return the instant; None for a text that is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day, tzinfo=UTC)


def many(count: int, language: str, one: str, several: str) -> str:
    """Return "1 dag" or "1.234 dage"."""
    return f"{number(count, language)} {one if count == 1 else several}"


def attacker(name: str, language: str) -> str:
    """Return who attacked a release, in words; a department's insider keeps the department's name."""
    known = {
        "outsider": ("udenforstående", "outsider"),
        "lone contributor": ("familie, der kender sit eget tal", "family that knows its own number"),
    }
    department = name.removeprefix("insider of ")
    danish, english = known.get(name, (name, name))
    if department != name:
        danish, english = f"ansat i {department}", f"insider of {department}"
    return danish if language == "da" else english
