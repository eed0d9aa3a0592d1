"""The audit log, where it was rolled back together with the key store.

1. A log is rolled back when its newest anchored checkpoint covers more entries than the database has.
2. With an export that was kept, whose entries give that checkpoint's root, the missing entries are put back, byte by
   byte; the log then continues what was anchored.
3. Without one, an entry says from where to where entries are missing. They stay missing, and the old checkpoints go
   on saying so: a service does not start against the second places that hold them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, insert, select, update

from kinlink.audit import entry as entries
from kinlink.audit import merkle
from kinlink.audit.export import Export, ExportError, Leaf
from kinlink.audit.note import Checkpoint, NoteError, VerifierKey, open_checkpoint
from pseudonymizer.keystore.encryption_keys import KeyStoreError
from servicekit.anchors import Anchor
from servicekit.audit import AuditEntry, AuditLog, tables
from servicekit.audit.checkpoints import anchored_name
from servicekit.database import read

_PREFIX: Final = "pseudonymizer/checkpoint/"


@dataclass(frozen=True, slots=True)
class Missing:
    """The entries from `start` until before `checkpoint.size` are not in the database."""

    start: int
    checkpoint: Checkpoint

    def __str__(self) -> str:
        return f"entries {self.start} to {self.checkpoint.size - 1}"


def missing(engine: Engine, anchors: Sequence[Anchor], key: VerifierKey) -> Missing | None:
    """Return what the database lacks of the newest anchored checkpoint; None when it lacks nothing.

    Raises:
        KeyStoreError: what is anchored is not signed by the log's key. AnchorError: an anchor cannot be read.
    """
    found = [newest for anchor in anchors if (newest := anchor.newest(_PREFIX)) is not None]
    try:
        checkpoints = [open_checkpoint(content.decode(errors="replace"), key) for _, content in found]
    except NoteError as error:
        raise KeyStoreError("the anchored log was signed by another key than log_key; put that key back") from error
    for (name, _), checkpoint in zip(found, checkpoints, strict=True):
        if name != anchored_name(checkpoint.origin, checkpoint.size):
            raise KeyStoreError(f"an anchor's {name} holds another checkpoint than its name says: it was put there")
    last = max(checkpoints, key=lambda one: one.size, default=None)
    with read(engine) as connection:
        size = connection.execute(tables.READ_HEAD).one().size
    return Missing(size, last) if last is not None and last.size > size else None


def bring_back(engine: Engine, lacking: Missing, path: Path) -> int:
    """Put the missing entries back from an export, and all that it has after them; return how many.

    Raises:
        KeyStoreError: the export does not give the anchored checkpoint, or does not continue the database's log;
            nothing is changed.
    """
    try:
        export = Export(path)
        if export.header.start > lacking.start:
            raise KeyStoreError(f"{path} begins after {lacking}; give an export from the log's beginning")
        with engine.begin() as connection:
            return _append(connection, export, lacking)
    except (ExportError, entries.EntryError) as error:
        raise KeyStoreError(f"{path}: {error}") from error


def note_missing(audit: AuditLog, lacking: Missing) -> None:
    """Say in the log which entries are missing."""
    proof = {"first": lacking.start, "last": lacking.checkpoint.size - 1, "root": lacking.checkpoint.root.hex()}
    evidence = json.dumps(proof, sort_keys=True, separators=(",", ":"))
    audit.append(AuditEntry("log.restored", "", "ok", count=lacking.checkpoint.size - lacking.start, evidence=evidence))


def _append(connection: Connection, export: Export, lacking: Missing) -> int:
    size, hashes, _ = connection.execute(tables.LOCK_HEAD).one()
    frontier = tables.frontier(size, bytes(hashes))
    index, proven = export.header.start, False
    for record, _ in export.records():
        if not isinstance(record, Leaf):
            continue
        if index >= size:
            _put(connection, frontier, index, record.content)
        elif index == size - 1 and not _is_stored(connection, index, record.content):
            raise KeyStoreError(f"{export.path}: entry {index} is not the one in the database")
        index += 1
        proven = proven or (index == lacking.checkpoint.size and frontier.root() == lacking.checkpoint.root)
    if index < lacking.checkpoint.size:
        message = f"{export.path} ends at {index} entries, before the anchored checkpoint of {lacking.checkpoint.size}"
        raise KeyStoreError(f"{message}; give a newer export, or leave --log out: then an entry notes the gap")
    if not proven:
        raise KeyStoreError(f"{export.path} does not give the anchored checkpoint of {lacking.checkpoint.size} entries")
    return index - int(size)


def _put(connection: Connection, frontier: merkle.Frontier, index: int, content: bytes) -> None:
    recorded_at = entries.instant(entries.parse(content).recorded_at)
    completed = b"".join(node.hash for node in frontier.append(merkle.leaf_hash(content)))
    row = {"entry_index": index, "recorded_at": recorded_at, "entry": content, "hashes": completed}
    connection.execute(insert(tables.entries), row)
    moved = {"size": frontier.size, "hashes": b"".join(frontier.hashes), "recorded_at": recorded_at}
    connection.execute(update(tables.head), moved)


def _is_stored(connection: Connection, index: int, content: bytes) -> bool:
    found = connection.execute(select(tables.entries.c.entry).where(tables.entries.c.entry_index == index)).scalar()
    return found is not None and bytes(found) == content
