"""An operator who owns a service: its database, its signing key, its processes; not what was kept elsewhere.

Each forgery is done on the real database, with SQL, the triggers dropped.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from kinlink.audit.entry import encode
from kinlink.audit.merkle import Frontier, leaf_hash
from kinlink.audit.note import Checkpoint, sign


def altered(content: bytes) -> bytes:
    """Return the entry with one element more."""
    fields = json.loads(content)
    return encode({**fields, "count": fields.get("count", 0) + 1})


def numbered(content: bytes, index: int) -> bytes:
    """Return the entry under another index."""
    return encode({**json.loads(content), "index": index})


@dataclass
class Forger:
    """The operator of a service whose database and key lie in `folder`."""

    folder: Path
    origin: str

    def contents(self) -> list[bytes]:
        """Return all entries."""
        with self._open() as database:
            return [row[0] for row in database.execute("SELECT entry FROM audit_entries ORDER BY entry_index")]

    def edit(self, index: int) -> None:
        """Change an entry, and nothing else."""
        with self._open() as database:
            self._set(database, index, altered(self._entry(database, index)))

    def edit_with_hash(self, index: int) -> None:
        """Change an entry and the leaf hash beside it, but not the tree above."""
        with self._open() as database:
            content = altered(self._entry(database, index))
            self._set(database, index, content)
            rest = database.execute("SELECT substr(hashes, 33) FROM audit_entries WHERE entry_index = ?", (index,))
            query = "UPDATE audit_entries SET hashes = ? WHERE entry_index = ?"
            database.execute(query, (leaf_hash(content) + rest.fetchone()[0], index))

    def delete(self, index: int) -> None:
        """Delete an entry's row, and nothing else."""
        with self._open() as database:
            database.execute("DELETE FROM audit_entries WHERE entry_index = ?", (index,))

    def rebuild(self, change: Callable[[list[bytes]], Sequence[bytes]]) -> None:
        """Write the log anew from changed entries, numbered from 0, and sign it where it was signed, and at its end."""
        contents = [numbered(content, index) for index, content in enumerate(change(self.contents()))]
        tree, roots = Frontier(), {}
        rows = []
        for index, content in enumerate(contents):
            hashes = b"".join(node.hash for node in tree.append(leaf_hash(content)))
            rows.append((index, json.loads(content)["recorded_at"], content, hashes))
            roots[index + 1] = tree.root()
        with self._open() as database:
            signed = [row[0] for row in database.execute("SELECT size FROM audit_checkpoints")]
            for table in ("audit_entries", "audit_checkpoints", "audit_cosignatures"):
                database.execute(f"DELETE FROM {table}")
            database.executemany("INSERT INTO audit_entries VALUES (?, ?, ?, ?)", rows)
            database.execute("UPDATE audit_head SET size = ?, hashes = ?", (tree.size, b"".join(tree.hashes)))
            for size in sorted({*signed, tree.size} & set(roots)):
                note = sign(Checkpoint(self.origin, size, roots[size]).text(), self.origin, self._key())
                database.execute("INSERT INTO audit_checkpoints VALUES (?, '', ?)", (size, note))

    def change_key(self) -> None:
        """Throw the signing key away for a new one."""
        made = Ed25519PrivateKey.generate()
        content = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / "log.key").write_bytes(content)

    def _key(self) -> Ed25519PrivateKey:
        key = load_pem_private_key((self.folder / "log.key").read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)
        return key

    def _open(self) -> _Connection:
        return _Connection(self.folder / "state.db")

    @staticmethod
    def _entry(database: sqlite3.Connection, index: int) -> bytes:
        found = database.execute("SELECT entry FROM audit_entries WHERE entry_index = ?", (index,)).fetchone()
        return bytes(found[0])

    @staticmethod
    def _set(database: sqlite3.Connection, index: int, content: bytes) -> None:
        database.execute("UPDATE audit_entries SET entry = ? WHERE entry_index = ?", (content, index))


class _Connection:
    """A transaction without the triggers that guard the log."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)

    def __enter__(self) -> sqlite3.Connection:
        found = self._database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit_%'")
        for (name,) in found.fetchall():
            self._database.execute(f"DROP TRIGGER {name}")
        return self._database

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._database.commit()
        self._database.close()
