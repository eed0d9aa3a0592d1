"""An entry of the log: which fields it has, and the bytes that are hashed.

1. The bytes are canonical JSON: keys sorted, no spaces, UTF-8, no floats; one entry
   has one form. Texts that are empty and numbers that are 0 are left out, but not
   the index.
2. An entry holds names, counts and reasons; never an identifier.
3. Fields that this version does not know are allowed when read: a log may be
   younger than the tool that verifies it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any


class EntryError(ValueError):
    """Bytes are not an entry in its canonical form; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. Empty text and 0 mean: does not apply."""

    index: int  # its place in the log, from 0
    recorded_at: datetime  # aware, UTC
    rpc: str  # "kinlink.linker.v1.IntakeService/Deliver", or the name of an event
    caller: str  # the certificate's URI; "" when nobody was authenticated
    outcome: str  # "ok", "refused" or "failed"
    reason: str = ""  # a stable reason; "" when ok
    subject: str = ""  # a domain, "from>to", a dataset, a table: what it was done to
    kind: str = ""  # the pseudonyms' kind
    key_version: int = 0
    count: int = 0  # elements, rows or cells
    grant: str = ""  # the rule that allowed it
    request_id: str = ""
    evidence: str = ""  # canonical JSON of public proof: hashes, signatures, counts


_NUMBERS = frozenset({"index", "key_version", "count"})
_NAMES = tuple(f.name for f in fields(Entry))
_REQUIRED = ("index", "recorded_at", "rpc", "outcome")


def canonical(entry: Entry) -> bytes:
    """Return the bytes that stand in the log."""
    found: dict[str, str | int] = {}
    for name in _NAMES:
        value = getattr(entry, name)
        if name == "recorded_at":
            value = instant(value)
        if value or name == "index":
            found[name] = value
    return encode(found)


def parse(content: bytes) -> Entry:
    """Return the entry that stands in the log as `content`.

    Raises EntryError when it is not canonical JSON, or a field is missing or of another type.
    """
    found = decode(content)
    missing = [name for name in _REQUIRED if name not in found]
    if missing:
        raise EntryError(f"the entry has no {missing[0]}")
    for name in _NAMES:
        value = found.get(name)
        if value is not None and (not isinstance(value, int if name in _NUMBERS else str) or isinstance(value, bool)):
            raise EntryError(f"{name} is not {'a number' if name in _NUMBERS else 'text'}")
    known: dict[str, Any] = {name: found[name] for name in _NAMES if name in found}
    try:
        recorded_at = datetime.fromisoformat(known.pop("recorded_at"))
    except ValueError as error:
        raise EntryError("recorded_at is not an instant") from error
    if recorded_at.tzinfo is None:
        raise EntryError("recorded_at has no time zone")
    return Entry(recorded_at=recorded_at, caller=known.pop("caller", ""), **known)


def instant(at: datetime) -> str:
    """Return an aware instant as the log writes it: UTC with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def encode(value: object) -> bytes:
    """Return a JSON value's canonical bytes. Raises ValueError for a text that UTF-8 cannot hold."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def decode(content: bytes) -> dict[str, object]:
    """Return the object whose canonical bytes are `content`. Raises EntryError when there is none."""
    try:
        found = json.loads(content)
        is_canonical = isinstance(found, dict) and encode(found) == content
    except (ValueError, RecursionError) as error:
        raise EntryError("the entry is not JSON") from error
    if not is_canonical:
        raise EntryError("the entry is not in canonical form")
    result: dict[str, object] = found
    return result
