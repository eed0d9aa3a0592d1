"""A log in memory, as honest or as forged as a test wants it: its exports, checkpoints and leaf hashes as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kinlink.audit.entry import Entry, canonical, parse
from kinlink.audit.export import Export, Header, Leaf, write
from kinlink.audit.kept import LeafHashes, companion
from kinlink.audit.merkle import Frontier, leaf_hash
from kinlink.audit.note import Checkpoint, VerifierKey, cosign, sign

ORIGIN = "kinlink.test/linker"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
WITNESS_NAME = "kinlink.test/w"
LOG_KEY = VerifierKey.of(ORIGIN, KEY)
_BEGAN = datetime(2026, 10, 1, tzinfo=UTC)


def entry(index: int, count: int = 0) -> bytes:
    """Return an honest entry."""
    at = _BEGAN + timedelta(seconds=index)
    made = Entry(index, at, "kinlink.linker.v1.IntakeService/Deliver", "spiffe://kinlink.test/source/prisme", "ok")
    return canonical(replace(made, subject="postings", count=count or 1000 + index, request_id=f"r{index}"))


def numbered(content: bytes, index: int) -> bytes:
    """Return the entry with another index."""
    return canonical(replace(parse(content), index=index))


@dataclass
class Log:
    """Entries, and the leaf hashes that the log stores for them."""

    contents: list[bytes]
    hashes: list[bytes] = field(default_factory=list)
    key: Ed25519PrivateKey = KEY
    signed_at: tuple[int, ...] = ()  # the sizes at which the service kept a checkpoint
    origin: str = ORIGIN
    cosigned_at: dict[int, Sequence[Ed25519PrivateKey]] = field(default_factory=dict)  # by witnesses "kinlink.test/w"

    def __post_init__(self) -> None:
        self.hashes = self.hashes or [leaf_hash(content) for content in self.contents]

    def note(self, size: int | None = None) -> str:
        """Return the checkpoint at a size, signed."""
        tree = Frontier()
        tree.extend(self.hashes[:size])
        text = Checkpoint(self.origin, tree.size, tree.root()).text()
        lines = [cosign(text, WITNESS_NAME, key, 1) for key in self.cosigned_at.get(tree.size, ())]
        return sign(text, self.origin, self.key) + "".join(lines)

    def frontier(self, size: int) -> tuple[bytes, ...]:
        tree = Frontier()
        tree.extend(self.hashes[:size])
        return tree.hashes

    def export(self, path: Path, start: int = 0, end: int | None = None) -> Export:
        """Write an export, with the checkpoints at `signed_at`, or those of a log signed where it ends."""
        leaves = [Leaf(h, c) for h, c in zip(self.hashes, self.contents, strict=True)][start:end]
        notes = [self.note(size) for size in self.signed_at or (start + len(leaves),)]
        header = Header(self.origin, str(VerifierKey.of(self.origin, self.key)), start, self.frontier(start))
        with path.open("wb") as file:
            write(file, header, leaves, notes)
        return Export(path)

    def keep(self, path: Path, size: int | None = None, *, after: int | None = None) -> Path:
        """Write a checkpoint file; with `after`, leaf hashes from there beside it."""
        path.write_text(self.note(size), encoding="utf-8")
        if after is not None:
            kept = LeafHashes(after, self.frontier(after), b"".join(self.hashes[after:size]))
            companion(path).write_bytes(kept.to_bytes())
        return path


def honest(size: int) -> Log:
    """Return a log that nobody touched."""
    return Log([entry(index) for index in range(size)])
