"""The Merkle tree of RFC 9162, section 2.1: roots, proofs, and their verification.

A *node* is a complete subtree: `(level, index)` stands for the 2^level leaves from
index * 2^level on. A tree of any size consists of the complete subtrees that the
binary digits of its size name; proofs are made from those nodes alone, so that a
log stores each node once, when it is complete, and never changes it.

Where nodes lie, and what a leaf says, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
"""The root of a log without entries."""

Lookup = Callable[[int, int], bytes]
"""From (level, index) to the hash of that node."""


class ProofError(ValueError):
    """A proof does not prove what it is for; `str()` says which."""


@dataclass(frozen=True, slots=True)
class Node:
    """A complete subtree and its hash."""

    level: int
    index: int
    hash: bytes


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry (RFC 9162, 2.1.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees side by side (RFC 9162, 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The complete subtrees that a tree consists of: all that appending needs, at most one hash for each level."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Take up a tree of `size` leaves by the hashes of its subtrees, largest first.

        Raises ValueError when they are not as many as `size` has ones among its binary digits, or not 32 bytes each.
        """
        if size < 0 or len(hashes) != size.bit_count() or any(len(h) != HASH_BYTES for h in hashes):
            raise ValueError(f"a tree of {size} leaves has {max(size, 0).bit_count()} subtrees of {HASH_BYTES} bytes")
        self.size = size
        self._hashes = list(hashes)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The subtrees' hashes, largest first."""
        return tuple(self._hashes)

    def append(self, leaf: bytes) -> list[Node]:
        """Append a leaf's hash; return the nodes that it completed, the leaf itself first. O(1) amortised."""
        completed = [Node(0, self.size, leaf)]
        while self.size >> completed[-1].level & 1:
            right = completed[-1]
            completed.append(Node(right.level + 1, right.index >> 1, node_hash(self._hashes.pop(), right.hash)))
        self._hashes.append(completed[-1].hash)
        self.size += 1
        return completed

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append leaves' hashes; several times faster than one by one, since no nodes are reported."""
        hashes, size = self._hashes, self.size
        for leaf in leaves:
            carried, ones = leaf, size
            while ones & 1:
                carried = sha256(b"\x01" + hashes.pop() + carried).digest()
                ones >>= 1
            hashes.append(carried)
            size += 1
            self.size = size

    def root(self) -> bytes:
        """Return the root of the tree as it stands."""
        if not self._hashes:
            return EMPTY_ROOT
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root


def root(size: int, node: Lookup) -> bytes:
    """Return the root of the first `size` leaves, from at most 64 nodes."""
    return _subtree(0, size, node) if size else EMPTY_ROOT


def frontier(size: int, node: Lookup) -> Frontier:
    """Return the frontier of the first `size` leaves."""
    ones = [level for level in reversed(range(size.bit_length())) if size >> level & 1]
    return Frontier(size, [node(level, (size >> level) - 1) for level in ones])


def inclusion_proof(index: int, size: int, node: Lookup) -> list[bytes]:
    """Return PATH(index, D[size]) (RFC 9162, 2.1.3.1).

    Raises ValueError when the log of `size` has no such entry.
    """
    if not 0 <= index < size:
        raise ValueError(f"a log of {size} entries has no entry {index}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_subtree(middle, end, node))
            end = middle
        else:
            proof.append(_subtree(start, middle, node))
            start = middle
    return proof[::-1]


def consistency_proof(old_size: int, new_size: int, node: Lookup) -> list[bytes]:
    """Return PROOF(old_size, D[new_size]) (RFC 9162, 2.1.4.1); empty for 0, which every log continues.

    Raises ValueError when `old_size` is above `new_size`.
    """
    if not 0 <= old_size <= new_size:
        raise ValueError(f"a log of {new_size} entries continues none of {old_size}")
    if old_size in {0, new_size}:
        return []
    proof: list[bytes] = []
    start, end = 0, new_size
    while old_size < end:
        middle = start + _split(end - start)
        if old_size <= middle:
            proof.append(_subtree(middle, end, node))
            end = middle
        else:
            proof.append(_subtree(start, middle, node))
            start = middle
    if start:  # otherwise the old tree is itself a node of the new one, and its root is known
        proof.append(_subtree(start, end, node))
    return proof[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` is the hash of entry `index` in the log of `size` entries and `root` (RFC 9162, 2.1.3.2).

    Raises ProofError when that is not proven.
    """
    _check_lengths((leaf, root, *proof))
    if not 0 <= index < size:
        raise ProofError(f"a log of {size} entries has no entry {index}")
    position, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError(f"the proof for entry {index} of {size} has too many hashes")
        if position & 1 or position == last:
            found = node_hash(sibling, found)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or found != root:
        raise ProofError(f"the proof for entry {index} does not lead to the root of {size} entries")


def is_consistency_proof(old_size: int, new_size: int, proof: Sequence[bytes]) -> bool:
    """Say whether a proof from `old_size` to `new_size` has this form: as many hashes, whatever they prove."""
    if any(len(h) != HASH_BYTES for h in proof) or not 0 <= old_size <= new_size:
        return False
    return len(proof) == len(consistency_proof(old_size, new_size, lambda _level, _index: bytes(HASH_BYTES)))


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the log of `new_size` and `new_root` continues that of `old_size` and `old_root` (RFC 9162, 2.1.4.2).

    Raises ProofError when that is not proven.
    """
    _check_lengths((old_root, new_root, *proof))
    if not 0 <= old_size <= new_size:
        raise ProofError(f"a log of {new_size} entries continues none of {old_size}")
    if old_size in {0, new_size}:
        is_known = (old_size > 0 or old_root == EMPTY_ROOT) and (old_size < new_size or old_root == new_root)
        if proof or not is_known:
            raise ProofError(f"the logs of {old_size} and {new_size} entries differ")
        return
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        raise ProofError(f"the proof from {old_size} to {new_size} entries is empty")
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError(f"the proof from {old_size} to {new_size} entries has too many hashes")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    if last != 0 or old != old_root or new != new_root:
        raise ProofError(f"the log of {new_size} entries does not continue that of {old_size}")


def _subtree(start: int, end: int, node: Lookup) -> bytes:
    """Return MTH(D[start:end]) for a range that the tree's own division yields: its start is aligned."""
    width = end - start
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(width)
    return node_hash(_subtree(start, middle, node), _subtree(middle, end, node))


def _split(width: int) -> int:
    """Return the largest power of two below `width`, which is at least 2."""
    return 1 << ((width - 1).bit_length() - 1)


def _check_lengths(hashes: Sequence[bytes]) -> None:
    if any(len(h) != HASH_BYTES for h in hashes):
        raise ProofError(f"a hash is not {HASH_BYTES} bytes long")
