"""The largest run whose traces are read, and the work that a file of some size may ask for.

Everything that reads traces asks here: a verdict, the pass over the corpus, the command line and
the run that wrote them. A file is refused from its footer, before a page of it is unpacked, and an
answer with too many chunks before anything is computed. ``benchmarks/traces_verify.py`` measures
what the largest accepted files take; the aim is 30 s of a core and 1.5 GB.
"""

from __future__ import annotations

from typing import Final

MOST_REPEATS: Final = 100
"""The most repeats that a spec can ask for."""
MOST_ROWS: Final = 1_250_000
"""The largest load of a spec: a million measured requests, a hundred thousand of warm-up, and those
that keep the load level until the last one has ended."""
MOST_CHUNKS: Final = 2**27
"""The chunks of a run: 134 million, which is a million answers of 128 tokens with one chunk for
each token and six more that carry no text."""
MOST_CHUNKS_OF_A_ROW: Final = 2**20
"""The chunks of one answer: a million tokens are the most that a spec can ask for, and an engine
sends no more chunks with text than tokens."""
MOST_LONG_GAPS: Final = 2**23
"""The gaps between chunks of an answer that are longer than 4.29 s: eight million of them are more
than a year of waiting. Shorter ones take four bytes each, and these take twenty."""
MOST_TEXT_BYTES: Final = 2**28
"""The text of all rows once decoded: 214 bytes for each, which is more than the ids, phases,
reasons and messages of a run take in which each fifth request fails."""
MOST_FILE_BYTES: Final = 2**30
"""The bytes of the file: a million requests of 128 tokens leave 0.6 GB."""

_ROW_WORK: Final = 32
"""The work of a row, in chunks: some 5 microseconds, where a chunk takes 0.15."""
_FREE_WORK: Final = 2**20
"""The work that is done for the smallest file."""
_WORK_PER_BYTE: Final = 8
"""The chunks for each byte of the file. An arrival in nanoseconds that a clock has measured cannot
be told in less than a bit; those that were made up can, seven million of them in 9 KB."""

_MOST_UNPACKED: Final = 2**32
_FREE_UNPACKED: Final = 2**27
_UNPACKED_PER_BYTE: Final = 64
"""The bytes that a byte of the file unpacks to, where what a large run leaves has 1.2. Small files
have :data:`_FREE_UNPACKED`. The largest run has 2.8 GB of chunks and 0.3 GB of rows, uncoded."""


def most_unpacked(file_bytes: int) -> int:
    """Return the bytes that all pages of a file of so many bytes may unpack to."""
    return min(_MOST_UNPACKED, _FREE_UNPACKED + _UNPACKED_PER_BYTE * file_bytes)


def most_work(file_bytes: int) -> int:
    """Return the work, in chunks, that a file of so many bytes may ask for."""
    return _FREE_WORK + _WORK_PER_BYTE * file_bytes


def work_of(rows: int, chunks: int) -> int:
    """Return the work, in chunks, of verifying so many rows with so many chunks together."""
    return chunks + _ROW_WORK * rows
