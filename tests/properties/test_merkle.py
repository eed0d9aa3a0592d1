"""The tree against a second implementation, for every size, index and pair of sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinlink.audit.merkle import (
    Frontier,
    ProofError,
    consistency_proof,
    frontier,
    inclusion_proof,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from tests.properties import tree_oracle as oracle

CONTENTS = [index.to_bytes(3) for index in range(130)]
LEAVES = [leaf_hash(content) for content in CONTENTS]
NODES = {}
_tree = Frontier()
REPORTED = []
for _leaf in LEAVES:
    REPORTED.append(_tree.append(_leaf))
    NODES.update({(node.level, node.index): node.hash for node in REPORTED[-1]})


def node(level: int, index: int) -> bytes:
    return NODES[level, index]


@pytest.mark.parametrize("size", range(len(CONTENTS) + 1))
def test_roots_and_proofs_are_the_oracles(size: int) -> None:
    """Every proof is the oracle's, and verifies."""
    contents = CONTENTS[:size]
    whole = oracle.mth(contents)
    assert root(size, node) == frontier(size, node).root() == whole
    for index in range(size):
        found = inclusion_proof(index, size, node)
        assert found == oracle.path(index, contents)
        verify_inclusion(index, size, LEAVES[index], found, whole)
    for old in range(1, size + 1):
        proof = consistency_proof(old, size, node)
        assert proof == oracle.proof(old, contents)
        verify_consistency(old, size, proof, root(old, node), whole)


def test_each_node_is_reported_once_and_when_it_is_complete() -> None:
    for index, nodes in enumerate(REPORTED):
        assert [n.level for n in nodes] == list(range(len(nodes)))
        for each in nodes:
            first = each.index << each.level
            assert first + (1 << each.level) == index + 1
            assert each.hash == oracle.mth(CONTENTS[first : index + 1])
    assert sum(map(len, REPORTED)) == len(NODES) < 2 * len(LEAVES)


def test_frontier_goes_on_where_it_was_laid_down() -> None:
    one = Frontier()
    one.extend(LEAVES)
    assert (one.size, one.hashes) == (_tree.size, _tree.hashes)
    for size in range(len(LEAVES) + 1):
        again = frontier(size, node)
        again.extend(LEAVES[size:])
        assert again.hashes == _tree.hashes


@pytest.mark.parametrize(("size", "hashes"), [(-1, ()), (1, ()), (0, (bytes(32),)), (3, (bytes(32), b""))])
def test_frontier_of_another_size_is_refused(size: int, hashes: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="subtrees"):
        Frontier(size, hashes)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_no_proof_for_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no entry"):
        inclusion_proof(index, size, node)
    with pytest.raises(ValueError, match="continues none"):
        consistency_proof(size + 1, size, node)


sizes = st.integers(1, len(LEAVES))
hashes = st.one_of(st.sampled_from([*LEAVES, *NODES.values()]), st.binary(min_size=32, max_size=32))


@given(st.data())
def test_no_other_proof_verifies(data: st.DataObject) -> None:
    """A proof for another entry, size, leaf or root, or with another hash, is refused: soundness."""
    size = data.draw(sizes)
    index = data.draw(st.integers(0, size - 1))
    true = (index, size, LEAVES[index], tuple(inclusion_proof(index, size, node)), root(size, node))
    proof = data.draw(st.one_of(st.just(true[3]), st.lists(hashes, max_size=9).map(tuple)))
    leaf = data.draw(st.one_of(st.just(true[2]), hashes))
    claimed = (data.draw(st.integers(0, size)), size, leaf, proof, true[4])
    if claimed == true:
        verify_inclusion(*claimed)
    else:
        with pytest.raises(ProofError):
            verify_inclusion(*claimed)


@given(st.data())
def test_no_other_history_is_consistent(data: st.DataObject) -> None:
    """With a leaf changed before `old`, no proof connects the old root with the new tree."""
    new = data.draw(sizes)
    old = data.draw(st.integers(1, new))
    changed = data.draw(st.integers(0, old - 1))
    other = [*LEAVES[:changed], leaf_hash(b"other"), *LEAVES[changed + 1 : new]]
    nodes = {}
    tree = Frontier()
    for leaf in other:
        nodes.update({(n.level, n.index): n.hash for n in tree.append(leaf)})
    proofs = [consistency_proof(old, new, lambda level, index: nodes[level, index]), consistency_proof(old, new, node)]
    for proof in [*proofs, data.draw(st.lists(hashes, max_size=9))]:
        with pytest.raises(ProofError):
            verify_consistency(old, new, proof, root(old, node), tree.root())
