"""The generation of the key store stands outside of it as well: an older store put back is refused.

1. Each generation's document (`history`) is written to every anchor after its commit and before the answer.
2. A store is accepted when it is, or provably continues, the newest document of each anchor and the newest that this
   process has seen. An older one, or another one of the same generation, is refused; so is anything at the
   start while an anchor cannot be read.
3. A crash between commit and anchoring is healed by whoever writes next: all documents in between are written.
4. An anchor that cannot be read later on stops nothing but changes; it is logged.
5. `Watch` compares now and then as well: a store that is put back under a running service is found without a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event, Lock, Thread
from typing import Final, Protocol, Self

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from pseudonymizer.keystore import history, tables, wrappings
from pseudonymizer.keystore.encryption_keys import KeyStoreError
from pseudonymizer.keystore.history import Document
from pseudonymizer.keystore.manifest import Manifest
from pseudonymizer.signers import signers_content
from servicekit.anchors import Anchor, AnchorError
from servicekit.database import read
from servicekit.errors import UnavailableError

PREFIX: Final = "pseudonymizer/keystore/"
_CEREMONY: Final = "put the newest store back, or have a restore approved: `kinlink keystore restore`"
_WATCH_S: Final = 60.0
_log = structlog.get_logger(__name__)


class GenerationAnchors:
    """The anchors of one key store."""

    def __init__(self, engine: Engine, anchors: Sequence[Anchor]) -> None:
        """Use `engine`, whose tables are migrated. Without anchors, only what this process saw is compared."""
        self._engine = engine
        self._anchors = tuple(anchors)
        self._seen: Document | None = None
        self._lock = Lock()

    def record(self, connection: Connection, manifest: Manifest) -> None:
        """Add the generation that a transaction makes, in that transaction."""
        history.append(connection, manifest, signers_content(connection))
        wrappings.record(connection)

    def check(self, manifest: Manifest) -> None:
        """Compare the store, whose manifest was proven, with the anchors.

        Raises:
            KeyStoreError: it is older than what was anchored, or other content; or an anchor cannot be read at the
                first time.
        """
        known = self._newest()  # before the database is read: it is written after that
        with read(self._engine) as connection:
            newest = history.newest(connection)
            if manifest.generation:
                _check_whole(connection, manifest, newest)
            _compare(connection, newest, known)
        with self._lock:
            if newest is not None and (self._seen is None or newest.generation >= self._seen.generation):
                self._seen = newest

    def write(self, manifest: Manifest) -> None:
        """Anchor the store, and what was not anchored before it.

        Raises:
            UnavailableError: KEY_STORE_UNANCHORED, an anchor cannot be written; the change has taken effect all the
                same, and is anchored with the next one.
        """
        if manifest.generation == 0:
            return
        for anchor in self._anchors:
            try:
                self._write(anchor, manifest.generation)
            except (AnchorError, KeyStoreError) as error:
                _log.error("the key store's generation cannot be anchored", anchor=anchor.uri, why=str(error))
                message = "the change took effect, but its anchoring failed; see that the anchor can be written, repeat"
                raise UnavailableError(message, "KEY_STORE_UNANCHORED") from error

    def _write(self, anchor: Anchor, generation: int) -> None:
        found = newest(anchor)
        start = min(found.generation + 1, generation) if found else generation
        with read(self._engine) as connection:
            documents = history.since(connection, start)
        for document in documents:
            anchor.write(name_of(document.generation), document.content)

    def _newest(self) -> list[tuple[str, Document]]:
        seen = self._seen
        known = [("this process", seen)] if seen else []
        for anchor in self._anchors:
            try:
                found = newest(anchor)
            except AnchorError as error:
                if seen is None:
                    raise KeyStoreError(f"the key store cannot be compared with its anchor: {error}") from error
                _log.error("the key store cannot be compared with its anchor", anchor=anchor.uri, why=str(error))
                continue
            if found is not None:
                known.append((anchor.uri, found))
        return known


class Watched(Protocol):
    """The key store."""

    @property
    def refused(self) -> str:
        """Why nothing is answered; "" while keys are."""

    def at(self, generation: int) -> object:
        """Read the store again. Raises UnavailableError."""

    def manifest(self, connection: Connection) -> Manifest:
        """Return the store's manifest, proven. Raises KeyStoreError."""

    def refuse(self, why: str) -> None:
        """Answer nothing until the store was proven again."""


class Watch:
    """Compares a store with its anchors, again and again."""

    def __init__(self, engine: Engine, store: Watched, anchors: GenerationAnchors, every_s: float = _WATCH_S) -> None:
        """Use `engine`, in which the store is; compare every minute, or more often."""
        self._engine, self._store, self._anchors = engine, store, anchors
        self._every_s = min(every_s, _WATCH_S)
        self._stop = Event()

    def once(self) -> None:
        """Compare once; the store refuses everything when it fails."""
        try:
            with read(self._engine) as connection:
                manifest = self._store.manifest(connection)
            self._anchors.check(manifest)
            if self._store.refused:
                self._store.at(manifest.generation)  # what was put right is served again
        except KeyStoreError as error:
            self._store.refuse(str(error))
        except UnavailableError:
            return  # refused anew, and logged
        except SQLAlchemyError as error:
            _log.error("the key store cannot be read", error=type(error).__name__)

    def __enter__(self) -> Self:
        Thread(target=self._run, name="keystore-watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.once()


def _check_whole(connection: Connection, manifest: Manifest, newest: Document | None) -> None:
    """Check that rows, head and history are of one generation; the caller's may be older than them by now."""
    own = history.at(connection, manifest.generation)
    if own is None or own.manifest != manifest or newest is None or newest.generation != tables.generation(connection):
        raise KeyStoreError(f"the key store and its history do not fit together; {_CEREMONY}")


def _compare(connection: Connection, newest: Document | None, known: Sequence[tuple[str, Document]]) -> None:
    generation = newest.generation if newest else 0
    for where, one in known:
        if one.generation > generation:
            raise KeyStoreError(
                f"an older key store was put back: it is at generation {generation}, {where} holds {one.generation}; "
                f"{_CEREMONY}"
            )
        if history.since(connection, one.generation)[0].content != one.content:
            raise KeyStoreError(
                f"the key store's generation {one.generation} is not the one that {where} holds; {_CEREMONY}"
            )


def name_of(generation: int) -> str:
    """Return the name under which a generation is anchored."""
    return f"{PREFIX}{generation:020}"


def newest(anchor: Anchor) -> Document | None:
    """Return the newest generation that an anchor holds.

    Raises:
        AnchorError: it cannot be read. KeyStoreError: it holds something else.
    """
    found = anchor.newest(PREFIX)
    if found is None:
        return None
    document = history.parse(found[1])
    if found[0] != name_of(document.generation):
        raise KeyStoreError(f"{anchor.uri}: {found[0]} holds another generation")
    return document
