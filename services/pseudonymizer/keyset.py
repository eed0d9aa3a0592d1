"""Keys in memory: which one an operation may use.

1. A key line is (domain, kind); its versions count from 1, and at most one is active: the primary.
2. What each state allows is `lifecycle.USES`; everything else is refused. A key that no operation may use is not
   in memory, its name and state are.
3. A key shows its name and state, never its scalar, and is not pickled.
4. A keyset is the store at one generation; it never changes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NoReturn

from kinlink.pseudonyms import Kind
from pseudonymizer.lifecycle import USES, KeyState, Permit, Use, usable, uses
from servicekit.errors import InvalidError, PreconditionError

_ADVICE: Final = {
    Use.REKEY_FROM: "only a retiring one is rekeyed",
    Use.HAND_OUT: "ask for the active one, version 0, and encode anew under it",
}


@dataclass(frozen=True, slots=True)
class KeyName:
    """Which key: its line and version. Version 0 asks for the primary."""

    domain: str
    kind: Kind
    version: int


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A key version. `scalar` is 32 bytes, secret (of kind encoding: no scalar, but a secret all the same).

    `leaked` says that it was ever marked compromised.
    """

    name: KeyName
    state: KeyState
    scalar: bytes
    leaked: bool = False

    def __repr__(self) -> str:
        return f"Key({self.name.domain}, {self.name.kind}, {self.name.version}, {self.state})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")


class Keyset:
    """The keys of the declared domains."""

    def __init__(self, keys: Collection[Key], generation: int = 0) -> None:
        """Hold `keys`, whose versions are unique in their line, as the store was at `generation`."""
        self.generation = generation
        self._states: dict[KeyName, KeyState] = {}
        self._leaked = {key.name for key in keys if key.leaked}
        self._keys: dict[KeyName, Key] = {}
        for key in keys:
            self._states[key.name] = key.state
            if key.state in usable(key.name.kind):
                self._keys[key.name] = key
        self._primaries = {(n.domain, n.kind): k for n, k in self._keys.items() if k.state is KeyState.ACTIVE}

    def for_evaluation(self, wanted: KeyName, begun: Collection[KeyName] = ()) -> Key:
        """Return the key to evaluate under; `begun` are those that this call was answered under while active.

        Raises:
            PreconditionError: KEY_VERSION_UNKNOWN, KEY_VERSION_INACTIVE, or KEY_MISSING when nothing is active.
        """
        return self._find(wanted, Use.EVALUATE, begun)

    def for_conversion(self, source: KeyName, target: KeyName) -> tuple[Key, Key]:
        """Return the keys to convert from and to.

        Raises:
            InvalidError: KEY_VERSION_UNSPECIFIED, the holder knows what it converts from.
            PreconditionError: as `for_evaluation`.
        """
        return self._from(source, Use.CONVERT_FROM), self._find(target, Use.CONVERT_TO)

    def for_rekeying(self, source: KeyName, target: KeyName) -> tuple[Key, Key]:
        """Return the keys to rekey from and to, of one line. Raises as `for_conversion`."""
        return self._from(source, Use.REKEY_FROM), self._find(target, Use.REKEY_TO)

    def for_handing_out(self, wanted: KeyName) -> Key:
        """Return the encoding key to derive a source's secret from. Raises as `for_evaluation`, and KIND_MISMATCH."""
        return self._find(wanted, Use.HAND_OUT)

    def usable(self, name: KeyName) -> Key | None:
        """Return a key that some operation may use; None when it is not there or not usable."""
        return self._keys.get(name)

    def _from(self, wanted: KeyName, use: Use) -> Key:
        if not wanted.version:
            raise InvalidError(f"the version to {use} must be set", "KEY_VERSION_UNSPECIFIED")
        return self._find(wanted, use)

    def _find(self, wanted: KeyName, use: Use, begun: Collection[KeyName] = ()) -> Key:
        if use not in uses(wanted.kind):
            raise InvalidError(f"a key of kind {wanted.kind} is not for this: to {use}", "KIND_MISMATCH")
        if not wanted.version:
            primary = self._primaries.get((wanted.domain, wanted.kind))
            if primary is None:
                raise PreconditionError("this domain has no active key of this kind", "KEY_MISSING")
            return primary
        state = self._states.get(wanted)
        if state is None:
            raise PreconditionError("there is no such key version", "KEY_VERSION_UNKNOWN")
        permit = USES[use].get(state)
        may_end = wanted in begun and wanted not in self._leaked
        if permit is None or (permit is Permit.STREAM_BEGUN and not may_end):
            advice = _ADVICE.get(use, "use the primary version")
            message = f"this key version is {state}; {advice}"
            raise PreconditionError(message, "KEY_VERSION_INACTIVE", metadata={"state": state})
        return self._keys[wanted]
