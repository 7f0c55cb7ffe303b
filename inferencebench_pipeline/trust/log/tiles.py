"""Reading a tiled log (C2SP tlog-tiles): one entry's bytes, and the proof that it is in the tree.

Pure functions over a reader of paths; nothing here trusts what it reads. A proof that is wrong
does not verify against the signed checkpoint.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from inferencebench_pipeline.trust.log.merkle import node_hash

WIDTH: Final = 256
_HASH_BYTES = 32

Read = Callable[[str], bytes]
"""Returns the file at a path below the log's address, such as ``tile/0/000.p/5``."""


class TileError(ValueError):
    """A tile is shorter than the tree's size says."""


def entry_leaf(read: Read, index: int, size: int) -> bytes:
    """Return the bytes of entry ``index`` of a log with ``size`` entries.

    Raises:
        TileError: the bundle of entries does not reach that far.
    """
    data = read(_path("entries", index // WIDTH, size))
    offset = 0
    # A bundle has no table of contents: an entry is found behind the lengths of those before it.
    for _ in range(index % WIDTH):
        offset += 2 + _length(data, offset)
    start, end = offset + 2, offset + 2 + _length(data, offset)
    if end > len(data):
        raise TileError(f"the bundle of entries ends before entry {index}")
    return data[start:end]


def inclusion_hashes(read: Read, index: int, size: int) -> list[bytes]:
    """Return the proof of inclusion of entry ``index`` in the tree of ``size`` entries.

    The audit path of RFC 9162 section 2.1.3.1, lowest sibling first.

    Raises:
        TileError: a tile does not reach that far.
    """
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(subtree_hash(read, middle, end, size))
            end = middle
        else:
            path.append(subtree_hash(read, start, middle, size))
            start = middle
    # The walk went from the root down, and a proof is read from the leaf up.
    return path[::-1]


def subtree_hash(read: Read, start: int, end: int, size: int) -> bytes:
    """Return the hash over entries ``start`` to ``end``, a node of the tree of ``size`` entries.

    Raises:
        TileError: a tile does not reach that far.
    """
    width = end - start
    if width & (width - 1) == 0:
        return _complete(read, width.bit_length() - 1, start, size)
    middle = start + _split(width)
    left, right = subtree_hash(read, start, middle, size), subtree_hash(read, middle, end, size)
    return node_hash(left, right)


def _complete(read: Read, height: int, start: int, size: int) -> bytes:
    """Return the hash of a complete subtree from the tile that holds it, or holds what is below."""
    # Only every eighth level is stored, so a node between two of them is hashed from the lower one.
    level, above = divmod(height, 8)
    first = start >> (8 * level)
    tile = read(_path(str(level), first // WIDTH, size >> (8 * level)))
    nodes = [
        tile[at * _HASH_BYTES : (at + 1) * _HASH_BYTES]
        for at in range(first % WIDTH, first % WIDTH + (1 << above))
    ]
    if len(nodes[-1]) != _HASH_BYTES:
        raise TileError(f"a tile of level {level} ends before entry {start}")
    while len(nodes) > 1:
        nodes = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
    return nodes[0]


def _path(level: str, number: int, reached: int) -> str:
    """Return the path of a tile; of the last one, at the width it has reached."""
    digits = f"{number:03d}"
    groups = [digits[max(0, end - 3) : end] for end in range(len(digits), 0, -3)][::-1]
    groups[0] = groups[0].zfill(3)
    # C2SP tlog-tiles: tile 1234067 of a level is at x001/x234/067.
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    width = min(WIDTH, reached - number * WIDTH)
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{path}{partial}"


def _split(width: int) -> int:
    """Return the largest power of two below ``width``."""
    return 1 << ((width - 1).bit_length() - 1)


def _length(data: bytes, offset: int) -> int:
    if offset + 2 > len(data):
        raise TileError("the bundle of entries ends in the middle of an entry")
    return int(struct.unpack_from(">H", data, offset)[0])
