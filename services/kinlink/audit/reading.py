"""One pass over an export: its entries, its tree, and how that compares with the roots that it should have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from kinlink.audit.align import Item
from kinlink.audit.export import Export, ExportError
from kinlink.audit.findings import Finding, FindingKind
from kinlink.audit.kept import LeafHashes
from kinlink.audit.merkle import HASH_BYTES, Frontier, leaf_hash
from kinlink.audit.note import Checkpoint, NoteError, UnsignedError, VerifierKey, open_checkpoint, parse
from kinlink.audit.witnesses import Witnesses

_REPORT_EVERY = 4096
_MAX_NAMED = 100

Progress = Callable[[int, int], None]
"""Called with (done, in all), in any unit."""


def unreported(done: int, total: int) -> None:
    """Report to nobody."""


@dataclass
class Reading:
    """One pass over an export: its tree, and how that compares with roots that should be its own."""

    export: Export
    key: VerifierKey
    watched: dict[int, bytes]  # size → the root that it should have
    progress: Progress
    witnesses: Witnesses | None = None
    findings: list[Finding] = field(default_factory=list)
    changed: dict[int, bytes] = field(default_factory=dict)  # place → own hash, where another is stored
    roots: dict[int, bytes] = field(default_factory=dict)  # size → root, at the sizes watched
    signed: dict[int, bytes] = field(default_factory=dict)  # size → root, of the export's own that hold
    failed: list[int] = field(default_factory=list)  # sizes of the export's own that do not
    size: int = 0

    def items(self) -> Iterator[Item]:
        """Yield the entries; all else is known when they are read."""
        header = self.export.header
        self.size = place = header.start
        tree = Frontier(header.start, header.frontier)
        if (header.origin, header.verifier_key) != (self.key.name, str(self.key)):
            text = f"{self.export.path.name}: {header.origin} showed the key {header.verifier_key}, not the one kept."
            self.findings.append(Finding(FindingKind.FOREIGN_KEY, text))
        if place in self.watched:
            self.roots[place] = tree.root()
        try:
            for record, done in self.export.records():
                if isinstance(record, str):
                    self._own_checkpoint(record, tree)
                    continue
                own = leaf_hash(record.content)
                if own != record.hash and len(self.changed) < _MAX_NAMED:
                    self.changed[place] = own
                tree.extend((record.hash,))
                yield Item(place, record, own)
                self.size = place = place + 1
                if place in self.watched:
                    self.roots[place] = tree.root()
                if not place % _REPORT_EVERY:
                    self.progress(done, self.export.bytes)
        except ExportError as error:
            self.findings.append(Finding(FindingKind.EXPORT_DAMAGED, f"{self.export.path.name}: {error}.", place))

    def _own_checkpoint(self, note: str, tree: Frontier) -> None:
        try:
            checkpoint = open_checkpoint(note, self.key)
        except NoteError as error:
            if not any(f.kind is FindingKind.FOREIGN_KEY for f in self.findings):
                name = f"The service's own checkpoint of {Checkpoint.parse(parse(note).text).size} entries"
                self.findings.append(refused(name, note, error, self.key))
            return
        holds = (checkpoint.size, checkpoint.root) == (tree.size, tree.root())
        if self.witnesses:
            name = f"the service's own checkpoint of {checkpoint.size} entries"
            self.witnesses.take(name, note, checkpoint.size, holds=holds)
        if holds:
            self.signed[tree.size] = checkpoint.root
        else:
            self.failed.append(tree.size)

    def holds(self, checkpoint: Checkpoint) -> bool:
        """Say whether the export's entries give the checkpoint's root; not, where it does not reach."""
        return self.roots.get(checkpoint.size) == checkpoint.root

    def is_signed_from(self, size: int) -> bool:
        """Say whether the log's key signed this history, at `size` or later."""
        return any(signed >= size for signed in self.signed)

    def use_as_evidence(self) -> list[Finding]:
        """Read the export through, as the earlier of two; return why it should not be relied on."""
        leaves = bytearray()
        for item in self.items():
            leaves += item.own
        self._leaves = bytes(leaves)
        broken = [f"entry {min(self.changed)} is not the one that was hashed"] if self.changed else []
        broken += [f"it does not fit the kept checkpoint of {s} entries" for s in self._contradicted()[:1]]
        broken += [f"it does not fit its own checkpoint of {size} entries" for size in self.failed[:1]]
        name = self.export.path.name
        found = [Finding(FindingKind.EVIDENCE_DAMAGED, f"{name}, the earlier export: {each}.") for each in broken]
        return self.findings + found

    def leaf_hashes(self) -> LeafHashes:
        """Return the leaf hashes that a signature covers, once read as evidence."""
        header = self.export.header
        covered = max(self.signed, default=header.start)
        return LeafHashes(header.start, header.frontier, self._leaves[: HASH_BYTES * (covered - header.start)])

    def _contradicted(self) -> list[int]:
        return [size for size, root in sorted(self.roots.items()) if self.watched[size] != root]


def refused(name: str, note: str, error: NoteError, key: VerifierKey) -> Finding:
    """Return the finding for a checkpoint that `key` does not vouch for."""
    if isinstance(error, UnsignedError):
        signers = ", ".join(f"{s.name}+{s.key_id.hex()}" for s in parse(note).signatures)
        text = f"{name} is signed by {signers}, not by the key that was kept, {key.name}+{key.id.hex()}."
        return Finding(FindingKind.FOREIGN_KEY, text)
    return Finding(FindingKind.CHECKPOINT_CHANGED, f"{name} cannot be used: {error}.")
