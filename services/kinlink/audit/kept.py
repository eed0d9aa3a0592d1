"""What a data-protection officer keeps of a log: checkpoints, and beside them the leaf hashes that they stand for.

A checkpoint alone shows that a log was changed. The hashes, 32 bytes an entry in a
companion file `<checkpoint>.hashes`, show which entry: even when the operator has
rebuilt the whole log and holds the key that signs it. A companion may begin where
that of an earlier checkpoint ended.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kinlink.audit.entry import encode
from kinlink.audit.merkle import HASH_BYTES, Frontier

FORM = "kinlink-audit-hashes-v1"

_NAMED = re.compile(r".*\.checkpoint|[0-9]{20}")  # by `kinlink audit checkpoint`, and by an anchor
_MAX_NOTE = 65_536


class KeptError(ValueError):
    """A kept file is not what it should be; `str()` says why."""


@dataclass(frozen=True, slots=True)
class LeafHashes:
    """Leaf hashes of the entries from `start` on, with the complete subtrees before them."""

    start: int
    frontier: tuple[bytes, ...]
    packed: bytes

    @property
    def size(self) -> int:
        """The index after the last."""
        return self.start + len(self.packed) // HASH_BYTES

    def at(self, index: int) -> bytes | None:
        """Return an entry's leaf hash, or None when it is not among these."""
        offset = (index - self.start) * HASH_BYTES
        return self.packed[offset : offset + HASH_BYTES] or None if offset >= 0 else None

    def root(self) -> bytes:
        """Return the root of the log of `size` entries."""
        tree = Frontier(self.start, self.frontier)
        tree.extend(self.packed[at : at + HASH_BYTES] for at in range(0, len(self.packed), HASH_BYTES))
        return tree.root()

    def to_bytes(self) -> bytes:
        """Return the companion file: a line of JSON, then the hashes."""
        return self._header() + self.packed

    @classmethod
    def parse(cls, content: bytes) -> LeafHashes:
        """Read a companion file. Raises KeptError."""
        line, _, packed = content.partition(b"\n")
        try:
            header = json.loads(line)
            found = cls(header["start"], tuple(map(bytes.fromhex, header["frontier"])), packed)
            Frontier(found.start, found.frontier)
            is_whole = found._header() == line + b"\n" and len(packed) % HASH_BYTES == 0
        except (ValueError, KeyError, TypeError, AttributeError):
            is_whole = False
        if not is_whole:
            raise KeptError("is not a file of leaf hashes as kinlink wrote it")
        return found

    def _header(self) -> bytes:
        header = {"form": FORM, "frontier": [h.hex() for h in self.frontier], "start": self.start}
        return encode(header) + b"\n"


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint file as it lies there, unverified."""

    name: str
    note: str
    hashes: bytes | None = None  # the companion's content


def companion(path: Path) -> Path:
    """Return where the leaf hashes of a checkpoint file lie."""
    return path.with_name(f"{path.name}.hashes")


def read(paths: Iterable[Path], origin: str = "") -> list[Kept]:
    """Read checkpoint files, and all that lie in a folder, with their companions.

    In a folder, files are meant whose name ends in .checkpoint or is an anchor's, 20 digits; with an `origin`, those
    of that log, so that those of several may lie together. Raises OSError; KeptError for a file that is no text.
    """
    found = []
    for path in paths:
        files = sorted(p for p in path.iterdir() if _NAMED.fullmatch(p.name)) if path.is_dir() else [path]
        for file in files:
            beside = companion(file)
            try:
                with file.open(encoding="utf-8", newline="") as opened:
                    note = opened.read(_MAX_NOTE)
            except UnicodeDecodeError as error:
                raise KeptError(f"{file} is not a checkpoint: it is not text") from error
            if path.is_dir() and origin and note.partition("\n")[0] != origin:
                continue
            found.append(Kept(str(file), note, beside.read_bytes() if beside.exists() else None))
    return found
