"""What no delivered value may look like: a CPR number in a text, a name for a record number, a number for an amount.

The client refuses such rows at the source, and the intake again.
"""

from __future__ import annotations

# Ten digits as in a CPR number (day, also + 60, month, year, serial), however they are parted. The syntax is polars'.
_GAP = r"[\s./\-\u{a0}\u{2010}-\u{2015}]"
CPR_IN_TEXT = (
    rf"(?:^|[^0-9])(?:0[1-9]|[12][0-9]|3[01]|6[1-9]|[78][0-9]|9[01]){_GAP}?(?:0[1-9]|1[0-2])"
    rf"{_GAP}?[0-9]{{2}}{_GAP}{{0,3}}[0-9]{{4}}(?:[^0-9]|$)"
)
"""Text in which this stands is refused in every column, by the client and again by the intake."""

RECORD_NUMBER = r"^\S*[0-9]\S*$"
"""What an `encoding_id` looks like: a digit in it, and no blank, so that no name is taken for one."""

MAX_PERSON_AMOUNT_ORE = 100_000_000_00
"""More is posted on no person; a CPR number read as kroner is always more."""
