"""Takes out of the report whatever looks like an identifier, before anything is written.

1. Ten digits that begin like a date, with or without a hyphen, dot, slash or spaces between
   them, and nine, which is how a lost leading zero looks; and a pseudonym in its text form.
2. UUIDs and long hex (hashes, roots) stay: they name entries and releases.
3. It looks at every text of the report, names of mappings included. Logs and keys hold no
   identifiers; what is found here should not have been there, and the report says how often.
"""

from __future__ import annotations

import re
from typing import Any

LEFT_OUT = "[udeladt / left out]"

_KEEP = (
    r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b"
    r"|\b(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{32,}\b"
)
_GAP = r"[\s.\-/\u00a0\u2010-\u2015]"
_NUMBER = rf"(?<!\d)(?:[0-26-8]\d|[39][01]|[1-9]){_GAP}?(?:0[1-9]|1[0-2]){_GAP}?\d\d{_GAP}{{0,3}}\d{{4}}(?!\d)"
_PSEUDONYM = r"\bkl1\.[^\s.]{1,80}\.\d+\.[A-Za-z0-9_-]{20,}"
_IDENTIFIER = re.compile(rf"(?P<keep>{_KEEP})|{_PSEUDONYM}|{_NUMBER}")


class Redaction:
    """Redacts values and counts what it left out."""

    def __init__(self) -> None:
        self.left_out = 0

    def text(self, text: str) -> str:
        """Return `text` without what looks like an identifier."""
        return _IDENTIFIER.sub(self._replace, text)

    def value(self, value: Any) -> Any:
        """Return a JSON value with all its texts redacted, names of mappings included; numbers stay."""
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(str(name)): self.value(item) for name, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case _:
                return value

    def _replace(self, found: re.Match[str]) -> str:
        if found["keep"]:
            return found["keep"]
        self.left_out += 1
        return LEFT_OUT
