"""Merkle trees as logs use them (RFC 9162 section 2.1): hashes, proofs of entries and of growth.

Verifying, of single entries and of growth, and making a consistency proof from the hashes of
complete subtrees, which is all that a tile-backed log serves. Nothing here fetches or trusts
anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

Node = Callable[[int, int], bytes]
"""The hash of the complete subtree of ``2**level`` leaves, by its level and its index there."""


class ProofError(ValueError):
    """A proof does not prove what it should."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an interior node (section 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry (section 2.1.1: one byte tells leaves from nodes)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def require_inclusion(
    index: int, size: int, leaf: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the entry with the hash ``leaf`` is the one at ``index`` (section 2.1.3.2).

    Raises:
        ProofError: the proof does not lead from the entry to the root of ``size`` entries.
    """
    if not 0 <= index < size:
        raise ProofError(f"there is no entry {index} among {size}")
    # The names are those of the section: fn and sn walk up along the entry and the last leaf.
    fn, sn = index, size - 1
    node = leaf
    for step in proof:
        if sn == 0:
            raise ProofError("the inclusion proof is longer than the tree is deep")
        if fn & 1 or fn == sn:
            node = node_hash(step, node)
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, step)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise ProofError("the inclusion proof is shorter than the tree is deep")
    if node != root:
        raise ProofError(
            f"the inclusion proof leads to the root {node.hex()}, and {root.hex()} is stated"
        )


def require_consistency(
    first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of ``second`` leaves extends the one of ``first`` (section 2.1.4.2).

    Raises:
        ProofError: the proof does not lead from one root to the other.
    """
    if not 0 < first <= second:
        raise ProofError(f"there is no proof from {first} to {second} entries")
    if first == second:
        if proof or first_root != second_root:
            raise ProofError(f"two roots for the same {first} entries")
        return
    # Steps 2 and 3: the root of a complete tree is a node of the larger one, so proofs leave it
    # out.
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not path:
        raise ProofError("the proof is empty")
    # The names are those of the section: fn and sn walk up both trees along their last leaf.
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old = new = path[0]
    for step in path[1:]:
        if sn == 0:
            raise ProofError("the proof is longer than the tree is deep")
        # Step 6: a left sibling belongs to both trees, a right one to the larger tree only.
        if fn & 1 or fn == sn:
            old, new = node_hash(step, old), node_hash(step, new)
            # Each one bit at the end of the size is a complete subtree that gets its sibling now.
            while not fn & 1 and fn != 0:
                fn, sn = fn >> 1, sn >> 1
        else:
            new = node_hash(new, step)
        fn, sn = fn >> 1, sn >> 1
    if sn != 0:
        raise ProofError("the proof is shorter than the tree is deep")
    if old != first_root:
        raise ProofError(f"the proof is not about the first {first} entries that were signed")
    if new != second_root:
        raise ProofError(f"the proof does not lead to the {second} entries that were signed")


class Frontier:
    """The right edge of a growing tree: what its root is computed from, and nothing more."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """Go on from ``size`` leaves and the roots of their complete subtrees, largest first.

        Raises:
            ValueError: a tree of that size has another number of such subtrees.
        """
        if len(hashes) != size.bit_count():
            raise ValueError(f"{size} leaves have {size.bit_count()} roots, not {len(hashes)}")
        self.size = size
        self.hashes = list(hashes)

    def append(self, leaf: bytes) -> None:
        """Add an entry (section 2.1.1: leaves and nodes are told apart by their first byte)."""
        node, size = leaf_hash(leaf), self.size
        while size & 1:
            node = node_hash(self.hashes.pop(), node)
            size >>= 1
        self.hashes.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root hash of the tree so far."""
        if not self.hashes:
            # Section 2.1.1: the root of an empty tree is the hash of nothing.
            return hashlib.sha256(b"").digest()
        node = self.hashes[-1]
        # The smallest subtree is the rightmost one, and it is joined to its left neighbours first.
        for left in reversed(self.hashes[:-1]):
            node = node_hash(left, node)
        return node


def consistency_proof(first: int, second: int, node: Node) -> list[bytes]:
    """Return the proof that ``second`` leaves extend the first ``first`` (section 2.1.4.1)."""
    return _subproof(first, 0, second, node, whole=True)


def _subproof(first: int, start: int, stop: int, node: Node, *, whole: bool) -> list[bytes]:
    # A verifier has the root of the whole old tree already, so the proof does not repeat it.
    if first == stop:
        return [] if whole else [_subtree(start, stop, node)]
    middle = start + _split(stop - start)
    if first <= middle:
        left = _subproof(first, start, middle, node, whole=whole)
        return [*left, _subtree(middle, stop, node)]
    right = _subproof(first, middle, stop, node, whole=False)
    return [*right, _subtree(start, middle, node)]


def _subtree(start: int, stop: int, node: Node) -> bytes:
    width = stop - start
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return node(level, start >> level)
    middle = start + _split(width)
    return node_hash(_subtree(start, middle, node), _subtree(middle, stop, node))


def _split(width: int) -> int:
    """Return the largest power of two smaller than ``width``."""
    return 1 << ((width - 1).bit_length() - 1)
