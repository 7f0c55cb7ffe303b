"""A log as immutable files: tiles of 256 hashes and bundles of 256 entries (C2SP tlog-tiles)."""

from __future__ import annotations

import re
import struct

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.sandbox.sigstore.log import TransparencyLog

WIDTH = 256
# A bundle gives the length of an entry in two bytes.
LONGEST_ENTRY_BYTES = 0xFFFF
_PATH = re.compile(
    r"(?P<level>[0-5]|entries)/(?P<index>(?:x[0-9]{3}/){0,4}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)


class NoSuchTileError(PermanentError):
    """The path is no tile's, or the log has not grown that far."""


def read(log: TransparencyLog, path: str) -> bytes:
    """Return the file at ``path``, such as ``0/x001/067``, ``1/000.p/3`` or ``entries/000``.

    A tile is served whole, or at any width it has reached already: both never change.

    Raises:
        NoSuchTileError: no such file.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise NoSuchTileError("not the path of a tile (C2SP tlog-tiles)")
    width = int(match["width"] or WIDTH)
    index = int(match["index"].replace("x", "").replace("/", ""))
    level = 0 if match["level"] == "entries" else int(match["level"])
    start = index * WIDTH
    reached = (log.size >> (8 * level)) - start
    partial_is_whole = match["width"] is not None and width >= WIDTH
    if width > reached or partial_is_whole:
        raise NoSuchTileError(f"no such tile in a log of {log.size} entries")
    if match["level"] == "entries":
        leaves = (entry.leaf for entry in log.entries(start, start + width))
        return b"".join(struct.pack(">H", len(leaf)) + leaf for leaf in leaves)
    return b"".join(log.tree.nodes(8 * level, start, start + width))
