"""What happened to the keys after a backup was made, as the anchored generation tells it.

1. A version that the backup has is taken to the state that the anchored generation says, with its instants: what was
   destroyed is destroyed again, what was compromised is compromised.
2. A version that was made later is lost: its row stays, destroyed, so that its number is never used again.
3. A version that only the backup has, or whose check value is another, is of another history: refused.

Pure: from two lists of key versions to steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pseudonymizer.keyset import KeyName
from pseudonymizer.keystore.encryption_keys import KeyStoreError
from pseudonymizer.keystore.manifest import KeyVersionRow
from pseudonymizer.lifecycle import KeyState


@dataclass(frozen=True, slots=True)
class Replay:
    """One version: as it is in the backup (None: not there), and as it must be."""

    before: KeyVersionRow | None
    after: KeyVersionRow
    was: KeyState  # in the anchored generation

    @property
    def is_lost(self) -> bool:
        """Whether a version that still had a key is gone."""
        return self.before is None and self.was is not KeyState.DESTROYED


def versions_of(manifest: Mapping[str, Any]) -> list[KeyVersionRow]:
    """Return the key versions of a manifest, without the versions that wrapped them."""
    return [KeyVersionRow.of_row({**key, **_binary(key), "wrapping_version": ""}) for key in manifest["keys"]]


def plan(
    backup: Iterable[KeyVersionRow], anchored: Iterable[KeyVersionRow], generation: int, now: datetime
) -> list[Replay]:
    """Return what must change, so ordered that no line has two active versions meanwhile.

    `generation` is the one that the store will have. Raises KeyStoreError for another history.
    """
    held: dict[KeyName, KeyVersionRow] = {version.name: version for version in backup}
    steps = []
    for target in anchored:
        before = held.pop(target.name, None)
        if before is not None and before.check_value != target.check_value:
            raise KeyStoreError(f"this backup holds another key as {_named(target)}: it is of another store")
        if before is not None and replace(before, wrapping_version="") == target:
            continue
        after = replace(target, generation=generation)
        if before is None and target.state is not KeyState.DESTROYED:
            after = replace(after, state=KeyState.DESTROYED, state_since=now)
        steps.append(Replay(before, after, target.state))
    if held:
        raise KeyStoreError(f"this backup holds a key that was never anchored: {_named(next(iter(held.values())))}")
    return sorted(steps, key=lambda step: step.after.state is KeyState.ACTIVE)


def _named(version: KeyVersionRow) -> str:
    return f"{version.name.domain} ({version.name.kind}, version {version.name.version})"


def _binary(key: Mapping[str, Any]) -> dict[str, Any]:
    return {"check_value": bytes.fromhex(key["check_value"])}
