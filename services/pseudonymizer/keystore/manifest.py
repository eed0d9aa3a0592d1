"""What the key store holds, without the keys: what is sealed as a whole, and anchored elsewhere.

1. Every version ever made stands in it, destroyed ones too, with its state, instants and check value; and the
   digest over the people who may sign. So no row can be changed, removed or put back unseen.
2. What only says how a key is wrapped stands not in it: wrapping keys anew does not change what the store holds.
3. `content` is canonical JSON and public; the same store gives the same bytes.

Pure: knows no database and no key.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kinlink.pseudonyms import Kind, Suite
from pseudonymizer.keyset import KeyName
from pseudonymizer.lifecycle import KeyState

_FORM: Final = "kinlink-keystore-v1"


@dataclass(frozen=True, slots=True)
class KeyVersionRow:
    """A key version without its key. `generation` is the store's when it was last changed."""

    name: KeyName
    suite: Suite
    state: KeyState
    generation: int
    check_value: bytes
    wrapping_version: str  # "" once destroyed
    created_at: datetime
    state_since: datetime
    activated_at: datetime | None
    compromised_at: datetime | None

    @property
    def line(self) -> tuple[str, Kind]:
        """The line it is a version of."""
        return self.name.domain, self.name.kind

    @classmethod
    def of_row(cls, row: Mapping[Any, Any]) -> KeyVersionRow:
        """Read a row of the table. Raises ValueError, KeyError for one that this code did not write."""
        return cls(
            KeyName(row["domain"], Kind(row["kind"]), row["version"]),
            Suite(row["suite"]),
            KeyState(row["state"]),
            row["generation"],
            bytes(row["check_value"]),
            row["wrapping_version"],
            datetime.fromisoformat(row["created_at"]),
            datetime.fromisoformat(row["state_since"]),
            _instant(row["activated_at"]),
            _instant(row["compromised_at"]),
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The store at one generation; `content` is what is sealed and anchored."""

    generation: int
    content: bytes


def manifest(suite: Suite, generation: int, versions: Iterable[KeyVersionRow], signers: bytes) -> Manifest:
    """Return the manifest of a store; `signers` is the digest over the people who may sign."""
    keys = [
        {
            "domain": version.name.domain,
            "kind": version.name.kind.value,
            "version": version.name.version,
            "suite": version.suite.value,
            "state": version.state.value,
            "generation": version.generation,
            "check_value": version.check_value.hex(),
            "created_at": version.created_at.isoformat(),
            "state_since": version.state_since.isoformat(),
            "activated_at": version.activated_at.isoformat() if version.activated_at else None,
            "compromised_at": version.compromised_at.isoformat() if version.compromised_at else None,
        }
        for version in sorted(versions, key=lambda version: (version.line, version.name.version))
    ]
    whole = {"form": _FORM, "suite": suite.value, "generation": generation, "keys": keys, "signers": signers.hex()}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Manifest(generation, text.encode())


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
