"""Merkle proofs: each way in which one can be no proof is refused, whatever the roots are."""

from __future__ import annotations

import hashlib

import pytest

from inferencebench_pipeline.trust.log.merkle import (
    Frontier,
    ProofError,
    consistency_proof,
    leaf_hash,
    node_hash,
    require_consistency,
    require_inclusion,
)

LEAVES = [bytes([number]) for number in range(9)]


def root(leaves: list[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + root(leaves[:split]) + root(leaves[split:])).digest()


def node(level: int, index: int) -> bytes:
    return root(LEAVES[index << level : (index + 1) << level])


@pytest.mark.parametrize("second", range(1, 10))
@pytest.mark.parametrize("first", range(1, 10))
def test_a_proof_leads_from_each_size_to_each_larger_one(first: int, second: int) -> None:
    if first > second:
        return
    proof = consistency_proof(first, second, node)
    old, new = root(LEAVES[:first]), root(LEAVES[:second])
    require_consistency(first, old, second, new, proof)
    for wrong in ([*proof, b"0" * 32], proof[:-1], [*proof[:-1], b"0" * 32]):
        if wrong != proof and (proof or wrong != [b"0" * 32] or first == second):
            with pytest.raises(ProofError):
                require_consistency(first, old, second, new, wrong)
    for roots in ((b"0" * 32, new), (old, b"0" * 32)):
        with pytest.raises(ProofError):
            require_consistency(first, roots[0], second, roots[1], proof)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 3), (-1, 3), (3, 2)])
def test_there_is_no_proof_from_nothing_and_none_backwards(first: int, second: int) -> None:
    said = f"no proof from {first} to {second}"
    with pytest.raises(ProofError, match=said):
        require_consistency(first, root([]), second, root(LEAVES[: max(second, 0)]), [])


def test_an_empty_proof_proves_nothing() -> None:
    with pytest.raises(ProofError, match="the proof is empty"):
        require_consistency(3, root(LEAVES[:3]), 5, root(LEAVES[:5]), [])


def test_two_roots_of_one_size_are_a_contradiction_and_equal_ones_need_no_proof() -> None:
    require_consistency(3, root(LEAVES[:3]), 3, root(LEAVES[:3]), [])
    with pytest.raises(ProofError, match="two roots for the same 3"):
        require_consistency(3, root(LEAVES[:3]), 3, root(LEAVES[:4]), [])
    with pytest.raises(ProofError, match="two roots for the same 3"):
        require_consistency(3, root(LEAVES[:3]), 3, root(LEAVES[:3]), [b"0" * 32])


@pytest.mark.parametrize("size", range(10))
def test_a_frontier_grows_to_the_root_of_all_leaves(size: int) -> None:
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier.append(leaf)
    assert (frontier.size, frontier.root()) == (size, root(LEAVES[:size]))
    assert Frontier(frontier.size, frontier.hashes).root() == root(LEAVES[:size])


@pytest.mark.parametrize(("size", "hashes"), [(0, 1), (3, 1), (3, 3), (4, 2)])
def test_a_frontier_of_another_number_of_roots_is_refused(size: int, hashes: int) -> None:
    with pytest.raises(ValueError, match=f"{size} leaves have"):
        Frontier(size, [b"0" * 32] * hashes)


def test_the_sides_of_a_node_are_told_apart() -> None:
    assert node_hash(b"a" * 32, b"b" * 32) != node_hash(b"b" * 32, b"a" * 32)


def inclusion(index: int, leaves: list[bytes]) -> list[bytes]:
    """The proof of RFC 9162 section 2.1.3.1, by its recursive definition."""
    if len(leaves) == 1:
        return []
    middle = 1 << ((len(leaves) - 1).bit_length() - 1)
    left, right = leaves[:middle], leaves[middle:]
    if index < middle:
        return [*inclusion(index, left), root_of(right)]
    return [*inclusion(index - middle, right), root_of(left)]


def root_of(leaves: list[bytes]) -> bytes:
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def test_an_entry_is_proved_to_be_where_it_is_and_nowhere_else() -> None:
    leaves = [b"%d" % number for number in range(19)]
    for size in range(1, len(leaves) + 1):
        root = root_of(leaves[:size])
        for index in range(size):
            proof, leaf = inclusion(index, leaves[:size]), leaf_hash(leaves[index])
            require_inclusion(index, size, leaf, root, proof)
            wrong = [
                (index, size, leaf, bytes(32), proof),
                (index, size, bytes(32), root, proof),
                (index, size, leaf, root, [*proof, bytes(32)]),
                (size, size, leaf, root, proof),
                (-1, size, leaf, root, proof),
            ]
            if proof:
                wrong += [
                    (index, size, leaf, root, proof[:-1]),
                    (index, size, leaf, root, [bytes(32), *proof[1:]]),
                ]
            for item in wrong:
                with pytest.raises(ProofError):
                    require_inclusion(*item)
