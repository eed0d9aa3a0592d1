"""Keys in memory: which one an operation may use.

1. A key line is (domain, kind); its versions count from 1, and at most one is active: the primary.
2. Evaluation and conversion *to* a domain use active versions only; conversion *from* also
   retiring ones, so that stored pseudonyms can be carried on. Every other state refuses everything.
3. A key shows its name and state, never its scalar, and is not pickled.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from kinlink.pseudonyms import Kind
from pseudonymizer.lifecycle import KeyState
from servicekit.errors import InvalidError, PreconditionError


@dataclass(frozen=True, slots=True)
class KeyName:
    """Which key: its line and version. Version 0 asks for the primary."""

    domain: str
    kind: Kind
    version: int


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A key version. `scalar` is 32 bytes, secret."""

    name: KeyName
    state: KeyState
    scalar: bytes

    def __repr__(self) -> str:
        return f"Key({self.name.domain}, {self.name.kind}, {self.name.version}, {self.state})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")


class Keyset:
    """The keys of the declared domains."""

    def __init__(self, keys: Iterable[Key]) -> None:
        """Hold `keys`; versions are unique in their line."""
        self._keys = {key.name: key for key in keys}
        self._primaries = {(n.domain, n.kind): k for n, k in self._keys.items() if k.state is KeyState.ACTIVE}

    def for_output(self, wanted: KeyName) -> Key:
        """Return the key to evaluate under or to convert to.

        Raises:
            PreconditionError: KEY_VERSION_UNKNOWN, KEY_VERSION_INACTIVE, or KEY_MISSING when nothing is active.
        """
        if wanted.version:
            return self._in_state(wanted, KeyState.ACTIVE)
        primary = self._primaries.get((wanted.domain, wanted.kind))
        if primary is None:
            raise PreconditionError("this domain has no active key of this kind", "KEY_MISSING")
        return primary

    def for_input(self, wanted: KeyName) -> Key:
        """Return the key under which pseudonyms to be converted stand.

        Raises:
            InvalidError: KEY_VERSION_UNSPECIFIED for version 0; the holder knows it.
            PreconditionError: KEY_VERSION_UNKNOWN, KEY_VERSION_INACTIVE.
        """
        if not wanted.version:
            raise InvalidError("the version to convert from must be set", "KEY_VERSION_UNSPECIFIED")
        return self._in_state(wanted, KeyState.ACTIVE, KeyState.RETIRING)

    def _in_state(self, wanted: KeyName, *states: KeyState) -> Key:
        key = self._keys.get(wanted)
        if key is None:
            raise PreconditionError("there is no such key version", "KEY_VERSION_UNKNOWN")
        if key.state not in states:
            message = f"this key version is {key.state}; use the primary version"
            raise PreconditionError(message, "KEY_VERSION_INACTIVE", metadata={"state": key.state})
        return key
