"""The Merkle tree of RFC 6962: append in O(log n), prove inclusion and consistency at any size."""

from __future__ import annotations

import hashlib


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf, domain-separated from interior nodes (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an interior node (RFC 6962 section 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class MerkleTree:
    """The hashes of every complete subtree, so that each proof costs O(log^2 n).

    One thread may append while others read: nodes are only ever added, and ``size`` moves after
    them.
    """

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]
        self._size = 0

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    def append(self, digest: bytes) -> int:
        """Add a leaf's hash and return its index."""
        index = self._size
        level, position, node = 0, index, digest
        self._levels[0].append(node)
        while position & 1:
            node = node_hash(self._levels[level][position - 1], node)
            level, position = level + 1, position >> 1
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(node)
        self._size = index + 1
        return index

    def nodes(self, level: int, start: int, stop: int) -> list[bytes]:
        """Return the hashes of complete subtrees of ``2**level`` leaves, fewer where none exist."""
        return self._levels[level][start:stop] if level < len(self._levels) else []

    def root(self, size: int) -> bytes:
        """Return the root hash of the first ``size`` leaves (RFC 6962 section 2.1).

        Raises:
            ValueError: the tree has never had that size.
        """
        self._require(0 <= size <= self._size, f"no tree of size {size}; it has {self._size}")
        return hashlib.sha256(b"").digest() if size == 0 else self._subtree(0, size)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Return the audit path of leaf ``index`` in the tree of ``size`` (section 2.1.1).

        Raises:
            ValueError: the tree has never had that size, or the leaf was not in it.
        """
        self._require(0 <= index < size <= self._size, f"no leaf {index} in a tree of size {size}")
        return self._path(index, 0, size)

    def consistency(self, first: int, last: int) -> list[bytes]:
        """Return the proof that the tree of ``last`` extends the tree of ``first`` (2.1.2).

        Raises:
            ValueError: the sizes are out of order or in the future.
        """
        self._require(0 < first <= last <= self._size, f"no proof from size {first} to size {last}")
        return self._subproof(first, 0, last, whole=True)

    @staticmethod
    def _require(possible: bool, message: str) -> None:
        if not possible:
            raise ValueError(message)

    def _subtree(self, start: int, stop: int) -> bytes:
        width = stop - start
        if width & (width - 1) == 0:
            level = width.bit_length() - 1
            return self._levels[level][start >> level]
        middle = start + _split(width)
        return node_hash(self._subtree(start, middle), self._subtree(middle, stop))

    def _path(self, index: int, start: int, stop: int) -> list[bytes]:
        if stop - start == 1:
            return []
        middle = start + _split(stop - start)
        if index < middle:
            return [*self._path(index, start, middle), self._subtree(middle, stop)]
        return [*self._path(index, middle, stop), self._subtree(start, middle)]

    def _subproof(self, first: int, start: int, stop: int, *, whole: bool) -> list[bytes]:
        if first == stop:
            return [] if whole else [self._subtree(start, stop)]
        middle = start + _split(stop - start)
        if first <= middle:
            left = self._subproof(first, start, middle, whole=whole)
            return [*left, self._subtree(middle, stop)]
        right = self._subproof(first, middle, stop, whole=False)
        return [*right, self._subtree(start, middle)]


def _split(width: int) -> int:
    """Return the largest power of two smaller than ``width``."""
    return 1 << ((width - 1).bit_length() - 1)
