"""Takes CPR-shaped text out of what is logged: the last line of defence, not the first.

1. Ten digits that begin like a date (day 01-31 or, synthetic, 61-91; month
   01-12) are replaced, with or without hyphens, dots, spaces in between; and so
   are nine, which is how a lost leading zero looks.
2. Digits within a longer run of digits, UUIDs and hashes (32 or more hex digits
   with a letter) stay: they name requests and releases.
3. Knows nothing of what a valid CPR number is; errs on the side of redacting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"

_KEEP = (
    r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"
    r"|\b(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{32,}\b"
)
_GAP = r"[\s.\-/\u00a0\u2010-\u2015]"
_CPR = rf"(?<!\d)(?:[0-26-8]\d|[39][01]|[1-9]){_GAP}?(?:0[1-9]|1[0-2]){_GAP}?\d\d{_GAP}{{0,3}}\d{{4}}(?!\d)"
_PATTERN = re.compile(rf"(?P<keep>{_KEEP})|{_CPR}")


def redact_text(text: str) -> str:
    """Replace every CPR-shaped part of `text`."""
    return _PATTERN.sub(lambda match: match["keep"] or REDACTED, text)


def redact(value: Any) -> Any:  # noqa: PLR0911 - one return a type
    """Replace CPR-shaped text in a value to be logged, whatever it is nested in.

    Text, numbers, keys of mappings and members of lists are searched; of any
    other object only its type remains.
    """
    match value:
        case None | bool():
            return value
        case float():
            return redact(int(value)) if value.is_integer() else value
        case str():
            return redact_text(value)
        case int():
            return value if redact_text(str(value)) == str(value) else REDACTED
        case bytes():
            return f"{len(value)} bytes"
        case Mapping():
            return {redact_text(str(key)): redact(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [redact(item) for item in value]
        case _:
            return f"<{type(value).__name__}>"
