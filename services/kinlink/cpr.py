"""The CPR number: its canonical form and its class.

1. Written forms vary: hyphens, spaces, dots, Excel's apostrophe, full-width
   digits, a leading zero lost by a spreadsheet. `normalise` undoes them.
2. Nine digits gain a leading zero; eight or fewer are malformed, since no one
   knows which zeros are missing.
3. Ten digits with a real date are *ordinary*. The check digit (modulus 11) is not
   looked at: numbers without a valid one have been issued since 2007.
4. Ten digits with day 61-91, and six digits followed by four letters or digits, are
   *replacement* numbers, made by one system and meaningless elsewhere.
5. In synthetic mode day 61-91 is ordinary, and a number that could be a real one
   is malformed, so that real data is never mixed into a synthetic deployment.

A CPRNumber is a secret: it shows only its class, and is not pickled.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final, NoReturn

IGNORED: Final = "\\s.'\u2019\u2018`\u0301\u200b\ufeff\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2212-"
"""Inside of a regular expression's character class: what is dropped after NFKC."""

_IGNORED = re.compile(f"[{IGNORED}]")
_DIGITS = re.compile("[0-9]{10}")
_LETTERED = re.compile("[0-9]{6}[A-Z0-9]{4}")


class CPRClass(StrEnum):
    """What a written number is."""

    ORDINARY = "ordinary"
    REPLACEMENT = "replacement"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True, repr=False)
class CPRNumber:
    """A number in canonical form: ten characters, or empty when malformed."""

    text: str
    number_class: CPRClass

    def __repr__(self) -> str:
        return f"CPRNumber({self.number_class})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a CPR number is not pickled")


def normalise(text: str, *, synthetic: bool = False) -> CPRNumber:
    """Return the canonical form and the class of a number as written in a source. Never raises."""
    compact = _IGNORED.sub("", unicodedata.normalize("NFKC", text)).upper()
    if len(compact) == 9 and compact.isascii() and compact.isdigit():
        compact = "0" + compact
    number_class = _classify(compact, synthetic=synthetic)
    return CPRNumber("" if number_class is CPRClass.MALFORMED else compact, number_class)


def _classify(compact: str, *, synthetic: bool) -> CPRClass:
    if not _DIGITS.fullmatch(compact):
        return CPRClass.REPLACEMENT if _LETTERED.fullmatch(compact) else CPRClass.MALFORMED
    day = int(compact[:2])
    shifted = 61 <= day <= 91
    if shifted and not synthetic:
        return CPRClass.REPLACEMENT
    if shifted != synthetic or not _is_date(day - 60 * synthetic, compact):
        return CPRClass.MALFORMED
    return CPRClass.ORDINARY


def _is_date(day: int, compact: str) -> bool:
    try:
        date(birth_year(compact), int(compact[2:4]), day)
    except ValueError:
        return False
    return True


def birth_year(compact: str) -> int:
    """Return the birth year of ten digits: the year's two digits and the century that digit 7 tells."""
    year, seventh = int(compact[4:6]), int(compact[6])
    if seventh <= 3:
        return 1900 + year
    if seventh in {4, 9}:
        return (2000 if year <= 36 else 1900) + year
    return (2000 if year <= 57 else 1800) + year
