"""Looking for secrets in files of any kind: as they are, encoded, compressed, or in a table."""

from __future__ import annotations

import base64
import gzip
import sqlite3
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

_LONGEST_BYTES = 256 << 20


def leaks(folder: Path, secrets: Iterable[str]) -> set[str]:
    """Return the files below ``folder``, by their path in it, that hold one of ``secrets``."""
    wanted = [spelling for secret in secrets for spelling in spellings(secret)]
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
        if any(spelling in content for content in _contents(path) for spelling in wanted)
    }


def spellings(secret: str) -> frozenset[bytes]:
    """Return what a secret looks like in a file: plain, UTF-16, hex, and inside of any Base64.

    Base64 shifts with what stands before: of each of the three shifts, the middle that does not
    depend on the neighbours is looked for.
    """
    plain = secret.encode()
    shifted = {
        encode(b"\0" * before + plain)[4 if before else 0 :][:-4].rstrip(b"=")
        for before in range(3)
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode)
    }
    return frozenset({plain, secret.encode("utf-16-le"), plain.hex().encode(), *shifted})


def _contents(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, and those behind its format."""
    data = path.read_bytes()
    assert len(data) < _LONGEST_BYTES, path
    yield data
    if data[:1] == b"x":  # a git object, or another zlib stream
        try:
            yield zlib.decompressobj().decompress(data, _LONGEST_BYTES)
        except zlib.error:
            return
    elif data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif data[:4] == b"PAR1":
        table = pq.read_table(path)
        yield repr(table.schema.metadata).encode()
        yield repr(table.to_pydict()).encode()
    elif data[:16] == b"SQLite format 3\0":
        # Long values are scattered over pages of the file, so the raw bytes do not suffice.
        with sqlite3.connect(path) as connection:
            connection.text_factory = bytes
            for (name,) in connection.execute("select name from sqlite_master where type='table'"):
                for row in connection.execute(f'select * from "{name.decode()}"'):
                    yield b"\n".join(value for value in row if isinstance(value, bytes))
