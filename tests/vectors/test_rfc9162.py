"""RFC 6962 and RFC 9162, section 2.1: the tree, bit-exact.

Origin: eight leaves with their roots and proofs as the reference implementation of Certificate
Transparency published them, taken from proof/verify_test.go of github.com/transparency-dev/merkle
(indices there count from 1); the corruptions are those that the same file tries. The tree of seven
leaves, its nodes' letters and its proofs: RFC 9162, section 2.1.5.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kinlink.audit.merkle import (
    EMPTY_ROOT,
    Frontier,
    ProofError,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

_VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("rfc9162_trees.json").read_text())
LEAVES = [leaf_hash(bytes.fromhex(leaf)) for leaf in _VECTORS["leaves"]]
ROOTS = [bytes.fromhex(each) for each in _VECTORS["roots"]]
SOME = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")


class Tree:
    """All nodes that appending reported."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.frontier = Frontier()
        for leaf in leaves:
            for node in self.frontier.append(leaf):
                self.nodes[node.level, node.index] = node.hash

    def node(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


def hashes(case: dict[str, Any]) -> list[bytes]:
    return [bytes.fromhex(each) for each in case["proof"]]


@pytest.mark.parametrize("size", range(9))
def test_root(size: int) -> None:
    tree = Tree(LEAVES[:size])
    assert tree.frontier.root() == root(size, tree.node) == ROOTS[size]


def test_empty_root() -> None:
    assert ROOTS[0] == EMPTY_ROOT


@pytest.mark.parametrize("case", _VECTORS["inclusion"])
def test_inclusion(case: dict[str, Any]) -> None:
    index, size, proof = case["index"], case["size"], hashes(case)
    assert inclusion_proof(index, size, Tree(LEAVES).node) == proof
    verify_inclusion(index, size, LEAVES[index], proof, ROOTS[size])


@pytest.mark.parametrize("case", _VECTORS["consistency"])
def test_consistency(case: dict[str, Any]) -> None:
    old, new, proof = case["old_size"], case["new_size"], hashes(case)
    assert consistency_proof(old, new, Tree(LEAVES).node) == proof
    verify_consistency(old, new, proof, ROOTS[old], ROOTS[new])


def corrupted(proof: list[bytes], *roots: bytes) -> Iterator[list[bytes]]:
    """Yield proofs that are not `proof`."""
    for extra in (b"", SOME, *roots):
        yield [*proof, extra]
        yield [extra, *proof]
    for at, each in enumerate(proof):
        yield [*proof[:at], bytes([each[0] ^ 8]) + each[1:], *proof[at + 1 :]]
        yield [*proof[:at], each[:-1], *proof[at + 1 :]]
    if proof:
        yield proof[:-1]
        yield proof[1:]
    if len(proof) > 1:
        yield [proof[0], SOME, *proof[1:]]
        yield proof[::-1]


@pytest.mark.parametrize("case", _VECTORS["inclusion"])
def test_corrupted_inclusion_is_refused(case: dict[str, Any]) -> None:
    index, size, proof = case["index"], case["size"], hashes(case)
    leaf, its_root = LEAVES[index], ROOTS[size]
    attempts = [
        *((other, size, leaf, proof, its_root) for other in (index - 1, index + 1, index ^ 2, size)),
        *((index, other, leaf, proof, its_root) for other in (0, size * 2, size // 2)),
        *((index, size, other, proof, its_root) for other in (b"", b"WrongLeaf", SOME)),
        *((index, size, leaf, proof, other) for other in (b"", EMPTY_ROOT, SOME)),
        *((index, size, leaf, other, its_root) for other in corrupted(proof, its_root)),
    ]
    for attempt in attempts:
        with pytest.raises(ProofError):
            verify_inclusion(*attempt)


def test_bytes_moved_from_one_hash_to_its_neighbour_are_refused() -> None:
    """What is hashed is their concatenation, which would be the same."""
    proof = inclusion_proof(1, 2, Tree(LEAVES).node)
    verify_inclusion(1, 2, LEAVES[1], proof, ROOTS[2])
    with pytest.raises(ProofError, match="32 bytes"):
        verify_inclusion(1, 2, proof[0][-1:] + LEAVES[1], [proof[0][:-1]], ROOTS[2])


@pytest.mark.parametrize("case", [case for case in _VECTORS["consistency"] if case["proof"]])
def test_corrupted_consistency_is_refused(case: dict[str, Any]) -> None:
    old, new, proof = case["old_size"], case["new_size"], hashes(case)
    old_root, new_root = ROOTS[old], ROOTS[new]
    attempts = [
        *((other, new, proof, old_root, new_root) for other in (old - 1, old + 1, old ^ 2)),
        *((old, other, proof, old_root, new_root) for other in (new * 2, new // 2)),
        *((old, new, proof, other, new_root) for other in (b"WrongRoot", SOME, new_root)),
        *((old, new, proof, old_root, other) for other in (b"WrongRoot", SOME, old_root)),
        (old, new, [], old_root, new_root),
        *((old, new, other, old_root, new_root) for other in corrupted(proof, old_root, new_root)),
    ]
    for attempt in attempts:
        with pytest.raises(ProofError):
            verify_consistency(*attempt)


@pytest.mark.parametrize(
    ("old", "new", "proof", "old_root", "new_root", "holds"),
    [
        (0, 0, [], EMPTY_ROOT, EMPTY_ROOT, True),
        (0, 3, [], EMPTY_ROOT, ROOTS[3], True),
        (3, 3, [], ROOTS[3], ROOTS[3], True),
        (0, 0, [], EMPTY_ROOT, SOME, False),
        (0, 3, [], SOME, ROOTS[3], False),
        (0, 3, [SOME], EMPTY_ROOT, ROOTS[3], False),
        (3, 3, [], ROOTS[2], ROOTS[3], False),
        (3, 3, [SOME], ROOTS[3], ROOTS[3], False),
        (3, 2, [], ROOTS[3], ROOTS[2], False),
        (1, 2, [], ROOTS[1], ROOTS[2], False),
    ],
    ids=str,
)
def test_consistency_at_the_edges(
    old: int, new: int, proof: list[bytes], old_root: bytes, new_root: bytes, holds: bool
) -> None:
    if holds:
        verify_consistency(old, new, proof, old_root, new_root)
        return
    with pytest.raises(ProofError):
        verify_consistency(old, new, proof, old_root, new_root)


def test_seven_leaves_of_the_rfc() -> None:
    """RFC 9162, 2.1.5: leaves a to f and j, nodes g, h, i of two, k of four, l of three."""
    a, b, c, d, e, f, j = (leaf_hash(f"d{index}".encode()) for index in range(7))
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, l = node_hash(g, h), node_hash(i, j)  # noqa: E741 - the RFC's letter
    tree = Tree((a, b, c, d, e, f, j))
    assert tree.frontier.root() == node_hash(k, l)
    included = {0: [b, h, l], 3: [c, g, l], 4: [f, j, k], 6: [i, k]}
    assert {index: inclusion_proof(index, 7, tree.node) for index in included} == included
    continued = {3: [c, d, g, l], 4: [l], 6: [i, j, k]}
    assert {size: consistency_proof(size, 7, tree.node) for size in continued} == continued
    assert (root(3, tree.node), root(4, tree.node), root(6, tree.node)) == (node_hash(g, c), k, node_hash(k, i))
