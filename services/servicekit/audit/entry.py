"""What one entry of the log says.

1. Names, counts and reasons; never an identifier, an element or a value of a request.
2. The last line of defence: CPR-shaped text in any field is replaced, and text is cut at
   `MAX_TEXT` characters, before the entry is hashed. Evidence is not cut: too much is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from servicekit.identity import CURRENT
from servicekit.redaction import redact_text

MAX_TEXT: Final = 400  # characters of a field
MAX_EVIDENCE: Final = 16_384


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry. Empty text and 0 mean: does not apply."""

    rpc: str  # "kinlink.linker.v1.IntakeService/Deliver", or the name of an event
    caller: str  # the certificate's URI; "" when nobody was authenticated
    outcome: Literal["ok", "refused", "failed"]
    reason: str = ""  # a stable reason; "" when ok
    subject: str = ""  # a domain, "from>to", a dataset, a table: what it was done to
    kind: str = ""  # the pseudonyms' kind
    key_version: int = 0
    count: int = 0  # elements, rows or cells
    grant: str = ""  # the rule that allowed it
    request_id: str = ""
    evidence: str = ""  # canonical JSON of public proof: hashes, signers, signatures, counts


OUTCOMES: Final = frozenset(("ok", "refused", "failed"))
_FIELDS: Final = tuple(field.name for field in fields(AuditEntry))


def content(entry: AuditEntry) -> dict[str, Any]:
    """Return the fields that apply, as they may stand in the log.

    Raises:
        ValueError: the outcome is not one of the three, or the evidence is longer than `MAX_EVIDENCE`.
    """
    if entry.outcome not in OUTCOMES:
        raise ValueError("outcome: expected ok, refused or failed")
    if len(entry.evidence) > MAX_EVIDENCE:
        raise ValueError(f"evidence: expected at most {MAX_EVIDENCE} characters")
    found: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(entry, name)
        if isinstance(value, str) and value:
            whole = redact_text(str(value))
            found[name] = whole if name == "evidence" or len(whole) <= MAX_TEXT else whole[: MAX_TEXT - 1] + "…"
        elif value:
            found[name] = int(value)
    return found


def describe(*, subject: str = "", kind: str = "", key_version: int = 0, count: int = 0, evidence: str = "") -> None:
    """Add what a handler knows to the entry that the interceptor writes for the current RPC."""
    call = CURRENT.get(None)
    if call is not None:
        facts = {"subject": subject, "kind": kind, "key_version": key_version, "count": count, "evidence": evidence}
        call.facts = facts
