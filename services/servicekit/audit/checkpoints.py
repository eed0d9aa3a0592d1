"""Signs the log, and only as a continuation of what was signed and anchored before.

1. The signing key is made at the first start. A log that was signed is signed by no other key.
2. A checkpoint is signed when its tree continues the last one in the database, the last one that
   this process saw, and the newest one of each anchor. When it does not, somebody put an older
   database back or wrote another log: the log fails for good, and says at which size.
3. It is committed before anybody sees it, so that two replicas never sign two histories.
4. An anchor that cannot be read stops nothing; whoever asks is told (`on_compared`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from sqlalchemy import Connection, Engine, insert, select

from kinlink.audit import merkle, note
from kinlink.audit.note import Checkpoint, NoteError, VerifierKey
from servicekit.anchors import Anchor, AnchorError
from servicekit.audit import tables
from servicekit.audit.log import AuditLog
from servicekit.audit.tables import DamagedError, StoredTree, frontier
from servicekit.database import read

_PAGE = 1000


class LogError(Exception):
    """The log cannot be kept: its key, or what it was; says what to do."""


class _ChangedError(Exception):
    """The log is not a continuation; says of what."""


def open_key(path: Path, *, may_create: bool) -> Ed25519PrivateKey:
    """Read the signing key; make it when there is none and the log was never signed.

    Raises:
        LogError: there is none although the log was signed; the file is not an Ed25519 key in PEM, or everybody's.
    """
    if not path.exists():
        if not may_create:
            message = "log_key: there is no such file, but the log was signed already; put its key back"
            raise LogError(message)
        made = Ed25519PrivateKey.generate()
        content = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        descriptor, new = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # its owner's only
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another replica was first, and its key is the one
                os.link(new, path)
        finally:
            Path(new).unlink()
        return open_key(path, may_create=False)
    if path.stat().st_mode & 0o007:
        raise LogError(f"log_key: {path} is open to everybody, who could sign the log; run `chmod 600 {path}`")
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise LogError("log_key: expected an Ed25519 key in PEM, without a passphrase") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise LogError("log_key: expected an Ed25519 key in PEM, without a passphrase")
    return key


class Checkpoints:
    """The signed checkpoints of one service's log."""

    def __init__(
        self,
        engine: Engine,
        log: AuditLog,
        key: Ed25519PrivateKey,
        origin: str,
        anchors: Sequence[Anchor] = (),
    ) -> None:
        """Sign `log` as `origin`, "<trust domain>/<service>", with `key`."""
        self._engine = engine
        self._log = log
        self._key = key
        self.origin = origin
        self.verifier = VerifierKey.of(origin, key)
        self.anchors = tuple(anchors)
        self.on_compared: Callable[[Anchor, bool], None] = lambda *_: None
        self._last: Checkpoint | None = None

    def check(self) -> None:
        """Compare the log with what was signed and anchored.

        Raises:
            LogError: it does not continue that.
        """
        try:
            anchored = self._anchored()
            with read(self._engine) as connection:
                self._compare(connection, anchored)
        except _ChangedError as error:
            message = f"{error}. Put the newest database back, or, if that is lost, ask the data-protection officer"
            raise LogError(message) from error

    def sign(self) -> str:
        """Sign the log as it stands, unless that was done, and return the note; without witnesses' signatures.

        Raises:
            UnavailableError: AUDIT_UNAVAILABLE, the log does not continue what was signed; it fails for good.
        """
        self._log.check()
        try:
            anchored = self._anchored()  # before the head is locked: anchors are slow
            with self._engine.begin() as connection:
                connection.execute(tables.LOCK_HEAD)
                checkpoint, last = self._compare(connection, anchored)
                if last is None or last.size < checkpoint.size:
                    signed = note.sign(checkpoint.text(), self.origin, self._key)
                    row = {"size": checkpoint.size, "signed_at": datetime.now(UTC).isoformat(), "note": signed}
                    connection.execute(insert(tables.checkpoints), row)
        except _ChangedError as error:
            self._log.fail_for_good(str(error), self._without_places(str(error)))
            self._log.check()
            raise
        self._last = checkpoint
        return note.sign(checkpoint.text(), self.origin, self._key)  # Ed25519: the same bytes each time

    def kept(self, min_size: int = 0) -> Iterator[str]:
        """Yield the kept checkpoints of at least `min_size`, by size, with witnesses' signatures."""
        rows, lines = tables.checkpoints, tables.cosignatures
        start = min_size
        while True:
            with read(self._engine) as connection:
                page = connection.execute(
                    select(rows.c.size, rows.c.note).where(rows.c.size >= start).order_by(rows.c.size).limit(_PAGE)
                ).all()
                if not page:
                    return
                within = lines.c.size.between(page[0].size, page[-1].size)
                found = connection.execute(select(lines.c.size, lines.c.line).where(within).order_by(lines.c.witness))
                signed: dict[int, str] = {}
                for size, line in found:
                    signed[size] = signed.get(size, "") + line
            yield from (row.note + signed.get(row.size, "") for row in page)
            start = page[-1].size + 1

    def with_witnesses(self, signed: str) -> str:
        """Return a kept note with the witnesses' signatures that came for it."""
        size = Checkpoint.parse(note.parse(signed).text).size
        query = select(tables.cosignatures.c.line).where(tables.cosignatures.c.size == size)
        with read(self._engine) as connection:
            return signed + "".join(connection.execute(query.order_by(tables.cosignatures.c.witness)).scalars())

    def _anchored(self) -> list[tuple[str, Checkpoint]]:
        found = []
        for anchor in self.anchors:
            try:
                newest = anchor.newest(_folder(self.origin))
            except AnchorError:
                self.on_compared(anchor, False)
                continue
            self.on_compared(anchor, True)
            if newest is not None:
                checkpoint = self._open(newest[1].decode(errors="replace"))
                if newest[0] != anchored_name(self.origin, checkpoint.size):  # an old one would hide the newest
                    raise _ChangedError(f"{anchor.uri}: {newest[0]} holds another checkpoint than its name says")
                found.append((f"the checkpoint in {anchor.uri}", checkpoint))
        return found

    def _without_places(self, text: str) -> str:
        for anchor in self.anchors:
            text = text.replace(anchor.uri, "an anchor")
        return text

    def _open(self, signed: str) -> Checkpoint:
        try:
            return note.open_checkpoint(signed, self.verifier)
        except NoteError as error:
            raise _ChangedError("the log was signed by another key than log_key") from error

    def _compare(
        self, connection: Connection, anchored: Sequence[tuple[str, Checkpoint]]
    ) -> tuple[Checkpoint, Checkpoint | None]:
        """Return the log as it stands, unsigned, and the last checkpoint in the database."""
        size, hashes = connection.execute(tables.READ_HEAD).one()
        tree = StoredTree(connection)
        rows = tables.checkpoints
        newest = connection.execute(select(rows.c.note).order_by(rows.c.size.desc()).limit(1)).scalar()
        last = self._open(newest) if newest else None
        before = [("the last checkpoint", last), ("the last checkpoint", self._last), *anchored]
        try:
            root = merkle.root(size, tree.node)
            if frontier(size, hashes).root() != root:
                raise _ChangedError("the log's head is not that of its entries")
            for where, earlier in before:
                if earlier is None:
                    continue
                if earlier.size > size:
                    raise _ChangedError(f"the log has {size} entries, {where} has {earlier.size}: it was rolled back")
                if merkle.root(earlier.size, tree.node) != earlier.root:
                    raise _ChangedError(f"the log's first {earlier.size} entries are not those of {where}")
        except DamagedError as error:
            raise _ChangedError(str(error)) from error
        return Checkpoint(self.origin, size, root), last


def anchored_name(origin: str, size: int) -> str:
    """Return the name under which a log's checkpoint of `size` entries is anchored."""
    return f"{_folder(origin)}{size:020}"


def _folder(origin: str) -> str:
    return f"{origin.rpartition('/')[2]}/checkpoint/"


def was_signed(engine: Engine) -> bool:
    """Whether the log has a checkpoint."""
    with read(engine) as connection:
        return connection.execute(select(tables.checkpoints.c.size).limit(1)).first() is not None
