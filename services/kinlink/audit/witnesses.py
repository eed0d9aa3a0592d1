"""Do witnesses vouch for the log? Their signatures on checkpoints, kept or within an export, by their kept keys.

1. A service has one key: as a log it signs notes, as a witness cosignatures. So a witness is known by the key of its
   own log, as `kinlink audit checkpoint --key` prints it, or by the witness key made of it.
2. A witness signs a checkpoint only as the continuation of the one that it signed before. Its newest signature stands
   for all entries before it; that an older checkpoint lacks one says nothing.
3. A signature under a witness's key that is not on the text is named wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kinlink.audit.findings import Finding, FindingKind, Vouched
from kinlink.audit.note import WITNESS, NoteError, UnsignedError, VerifierKey, parse, verify


def witness_key(key: VerifierKey) -> VerifierKey:
    """Return the key under which a service cosigns, from that of its log; a witness's key as it is."""
    return VerifierKey(key.name, key.public, WITNESS)


@dataclass(slots=True)
class _Seen:
    size: int = 0
    invalid: list[str] = field(default_factory=list)
    others: set[str] = field(default_factory=set)  # ids of other keys that signed under the name


class Witnesses:
    """What was seen of witnesses in one verification."""

    def __init__(self, keys: Iterable[VerifierKey]) -> None:
        """Look for the signatures of `keys`, logs' or witnesses'."""
        self._seen = {witness_key(key): _Seen() for key in keys}

    def take(self, name: str, signed: str, size: int, *, holds: bool) -> None:
        """Look at a checkpoint that the log's key signed; it counts where the entries give its root (`holds`)."""
        for key, seen in self._seen.items():
            try:
                verify(signed, key)
            except UnsignedError:
                ids = {one.key_id.hex() for one in parse(signed).signatures if one.name == key.name}
                seen.others |= ids
            except NoteError:
                seen.invalid.append(name)
            else:
                seen.size = max(seen.size, size if holds else 0)

    def vouched(self) -> tuple[Vouched, ...]:
        """Return how far each witness vouches for the log."""
        return tuple(Vouched(key.name, seen.size) for key, seen in self._seen.items())

    def findings(self, proven: int) -> list[Finding]:
        """Return what is wrong, where the first `proven` entries are those of a kept checkpoint."""
        found = []
        for key, seen in self._seen.items():
            if seen.invalid:
                more = f" and {len(seen.invalid) - 1} more" if len(seen.invalid) > 1 else ""
                text = f"{seen.invalid[0]}{more}: the signature of the witness {key.name} is not on this text."
                found.append(Finding(FindingKind.WITNESS_INVALID, text))
            if not seen.size:
                other = f"; there are some under that name, of another key ({', '.join(sorted(seen.others))})"
                text = f"No checkpoint bears a signature of the witness {key.name}{other if seen.others else ''}."
                found.append(Finding(FindingKind.WITNESS_MISSING, text))
            elif seen.size < proven:
                text = (
                    f"The witness {key.name} vouches for the first {seen.size} entries, and not for the {proven} that "
                    "you kept. If those were fetched just now, export once more; if not, ask the witness why."
                )
                found.append(Finding(FindingKind.WITNESS_MISSING, text, seen.size, proven))
        return found
