from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencebench_pipeline.sandbox.sigstore.merkle import MerkleTree, leaf_hash
from tests.chance import examples
from tests.sandbox.sigstore.proofs import consistency_holds, inclusion_holds, tree_hash

SIZES = range(1, 70)
LEAVES = [str(number).encode() for number in range(70)]


@pytest.fixture(scope="module")
def tree() -> MerkleTree:
    grown = MerkleTree()
    for leaf in LEAVES:
        grown.append(leaf_hash(leaf))
    return grown


def test_the_root_at_every_size_is_the_one_rfc_9162_defines(tree: MerkleTree) -> None:
    for size in range(71):
        assert tree.root(size) == tree_hash(LEAVES[:size])


def test_every_leaf_is_proven_included_at_every_size(tree: MerkleTree) -> None:
    for size in SIZES:
        root = tree_hash(LEAVES[:size])
        for index in range(size):
            path = tree.inclusion(index, size)
            assert inclusion_holds(leaf_hash(LEAVES[index]), index, size, path, root)


def test_every_size_is_proven_consistent_with_every_later_one(tree: MerkleTree) -> None:
    for last in SIZES:
        for first in range(1, last + 1):
            path = tree.consistency(first, last)
            roots = tree.root(first), tree.root(last)
            assert consistency_holds(first, last, path, *roots)


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(2, 69), st.data())
def test_a_proof_with_any_hash_changed_proves_nothing(size: int, data: st.DataObject) -> None:
    tree = MerkleTree()
    for leaf in LEAVES[:size]:
        tree.append(leaf_hash(leaf))
    index = data.draw(st.integers(0, size - 1))
    path = tree.inclusion(index, size)
    changed = data.draw(st.integers(0, len(path) - 1))
    path[changed] = bytes(32)
    assert not inclusion_holds(leaf_hash(LEAVES[index]), index, size, path, tree.root(size))


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3), (0, 71)])
def test_no_proof_is_made_up_for_a_leaf_that_was_not_there(
    tree: MerkleTree, index: int, size: int
) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        tree.inclusion(index, size)


@pytest.mark.parametrize(("first", "last"), [(0, 5), (6, 5), (5, 71)])
def test_no_consistency_is_made_up_for_impossible_sizes(
    tree: MerkleTree, first: int, last: int
) -> None:
    with pytest.raises(ValueError, match="no proof"):
        tree.consistency(first, last)
