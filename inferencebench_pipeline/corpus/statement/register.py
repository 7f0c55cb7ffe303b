"""The register of the statements that were ever about to be signed: ``signed.jsonl``.

By it their entries in the logs are known to be ours. The signatures are kept elsewhere
(``statement.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson

from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import read_plain, write_atomically
from inferencebench_pipeline.trust import logged_digests

_FILE: Final = "signed.jsonl"


class StatementStateError(PermanentError):
    """The records of earlier statements cannot be read."""


def registered_digests(store: CorpusStore) -> Iterator[str]:
    """Yield the digests by which logs know the statements that were ever about to be signed.

    Raises:
        StatementStateError: what is kept about them cannot be read.
    """
    path = store.statement_folder / _FILE
    try:
        lines = read_plain(path).splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unreadable_register(path, error.strerror or str(error)) from error
    for number, line in enumerate(lines, start=1):
        try:
            logged = orjson.loads(line)["logged"]
            yield from (str(digest) for digest in logged)
        except (ValueError, KeyError, TypeError) as error:
            raise _unreadable_register(path, f"line {number} is not ours") from error


def register(folder: Path, statement: bytes) -> None:
    """Name the statement before it is signed: a crash after logging leaves no unknown entry.

    Raises:
        StatementStateError: what is kept about earlier ones cannot be read.
        StoreError: it cannot be written.
    """
    path = folder / _FILE
    try:
        before = read_plain(path)
    except FileNotFoundError:
        before = b""
    except OSError as error:
        raise _unreadable_register(path, error.strerror or str(error)) from error
    if before and not before.endswith(b"\n"):
        before += b"\n"  # the end of the last line is lost; the next one must not be
    line = {"at": datetime.now(UTC).isoformat(), "logged": logged_digests(statement)}
    # Written as a whole and not appended, so that a crash leaves no half line.
    write_atomically(path, before + orjson.dumps(line) + b"\n")


def _unreadable_register(path: Path, problem: str) -> StatementStateError:
    return StatementStateError(
        f"cannot read {path}: {problem}; restore it from a copy. Without it, the entries of "
        "earlier statements in the logs are reported as unknown"
    )
