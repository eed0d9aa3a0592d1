"""The keys that are answered with: in memory, of one generation of the store, proven when they were read.

1. `at` brings them up to the generation that a caller read in its own transaction.
2. A store that cannot be proven any more, or is older than this process or an anchor has seen it, answers nothing.
3. Every key of the declared lines is opened, to prove it; kept is only what its state lets be used.

*Guarantee:* a keyset is returned only if the manifest's seal holds and every key of the declared lines opened and
matches its check value.
"""

from __future__ import annotations

from threading import Lock
from typing import Final, Protocol

import structlog
from sqlalchemy import Connection, Engine, RowMapping

from kinlink.pseudonyms import Kind
from pseudonymizer.keyset import Key, KeyName, Keyset
from pseudonymizer.keystore import tables
from pseudonymizer.keystore.encryption_keys import KeyStoreError
from pseudonymizer.keystore.manifest import KeyVersionRow, Manifest
from pseudonymizer.keystore.sealing import Sealer
from pseudonymizer.keystore.whole import Whole, rows, versions
from pseudonymizer.lifecycle import KeyState, usable
from servicekit.database import read
from servicekit.errors import UnavailableError

_ATTEMPTS: Final = 5  # to read a store that others change meanwhile
_OLDER: Final = "the key store is older, or another, than this process has seen it; an old one was put back"
_log = structlog.get_logger(__name__)


class Anchors(Protocol):
    """Where the store's generation stands outside of it."""

    def record(self, connection: Connection, manifest: Manifest) -> None:
        """Take note of a new generation, in the transaction that makes it."""

    def check(self, manifest: Manifest) -> None:
        """Raise KeyStoreError when this is older than what was anchored, or other content at its generation."""

    def write(self, manifest: Manifest) -> None:
        """Anchor it, durably. Raises UnavailableError when that fails; the change has taken effect all the same."""


class NoAnchors:
    """There are none."""

    def record(self, connection: Connection, manifest: Manifest) -> None:
        """Note nothing."""

    def check(self, manifest: Manifest) -> None:
        """Know of nothing."""

    def write(self, manifest: Manifest) -> None:
        """Tell nobody."""


class OpenedKeys:
    """The keys of one store, as they were read last."""

    def __init__(self, engine: Engine, sealer: Sealer, whole: Whole, anchors: Anchors) -> None:
        """Read from `engine`; nothing is read yet."""
        self._engine, self._sealer, self._whole, self._anchors = engine, sealer, whole, anchors
        self.lines: frozenset[tuple[str, Kind]] = frozenset()
        self._keyset = Keyset(())
        self._versions: tuple[KeyVersionRow, ...] = ()
        self._manifest = Manifest(0, b"")
        self._opened: dict[tuple[KeyName, int], Key] = {}
        self._refused = ""
        self._loading = Lock()

    def at(self, generation: int) -> Keyset:
        """Return the keys as they are, having read them again unless they are of `generation`.

        Raises:
            UnavailableError: KEY_STORE_UNUSABLE, they cannot be read or proven any more.
        """
        keyset = self._keyset
        if keyset.generation == generation and not self._refused:
            return keyset
        with self._loading:
            if self._keyset.generation != generation or self._refused:
                try:
                    self._read()
                except KeyStoreError as error:
                    self.refuse(str(error))
                    raise unusable() from error
            return self._keyset

    def current(self) -> tuple[tuple[KeyVersionRow, ...], Keyset]:
        """Return all versions ever made, proven, and the keys, both of one generation, as they are now.

        Raises:
            UnavailableError: as `at`.
        """
        self.at(self._generation())
        return self.held

    @property
    def refused(self) -> str:
        """Why nothing is answered; "" while keys are."""
        return self._refused

    def refuse(self, why: str) -> None:
        """Answer nothing until the store was read and proven again."""
        if not self._refused:
            _log.error("the key store cannot be used", why=why)
        self._refused = why

    @property
    def held(self) -> tuple[tuple[KeyVersionRow, ...], Keyset]:
        """What was read last: all versions, and the keys."""
        with self._loading:
            return self._versions, self._keyset

    def load(self) -> None:
        """Read the store again, whole. Raises KeyStoreError."""
        with self._loading:
            self._read()

    def _read(self) -> None:
        for _ in range(_ATTEMPTS):
            before = self._generation()
            try:
                self._read_once()
            except KeyStoreError:
                if self._generation() == before:
                    raise
                continue  # what was read while a change was committed does not fit together: read it once more
            return
        self._read_once()

    def _generation(self) -> int:
        with read(self._engine) as connection:
            return tables.generation(connection)

    def _read_once(self) -> None:
        with read(self._engine) as connection:
            found = rows(connection)
            proven, _ = self._whole.prove(connection, found)
        if proven.generation < self._manifest.generation or (
            proven.generation == self._manifest.generation and proven != self._manifest
        ):
            raise KeyStoreError(_OLDER)
        self._anchors.check(proven)
        opened: dict[tuple[KeyName, int], Key] = {}
        known = versions(found)
        for row, version in zip(found, known, strict=True):
            if version.line not in self.lines:
                continue
            place = version.name, version.generation
            opened[place] = self._opened.get(place) or self._unseal(row, version)
        self._opened = opened
        self._manifest, self._versions = proven, tuple(known)
        self._keyset = Keyset(opened.values(), proven.generation)
        self._refused = ""

    def _unseal(self, row: RowMapping, version: KeyVersionRow) -> Key:
        """Open a key to prove it; keep it only where it may be used."""
        if version.state is KeyState.DESTROYED:
            return Key(version.name, version.state, b"")
        key = self._sealer.unseal(row)
        return key if version.state in usable(version.name.kind) else Key(version.name, version.state, b"")


def unusable() -> UnavailableError:
    """Return what callers are told of a store that cannot be used."""
    text = "the key store cannot be used; its operator finds the cause in the service's log"
    return UnavailableError(text, "KEY_STORE_UNUSABLE")
