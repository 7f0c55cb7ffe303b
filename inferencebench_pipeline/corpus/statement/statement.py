"""The corpus statement: it is made when everything that is published is verified, and kept.

The stored verdicts say whether there is anything new to state. Before anything is signed, each
record is verified again from its bytes: a line on a disk is no reason to sign.

``corpus/statement/`` of the store holds what is published: the signed bundle and the table of what
it covers. What the statement says is drafted elsewhere (``draft.py``).
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from inferencebench_pipeline.corpus.statement.draft import CorpusDraft
from inferencebench_pipeline.corpus.statement.register import StatementStateError, register
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.files import (
    is_as_written,
    read_twice,
    restore,
    write_twice,
)
from inferencebench_pipeline.trust import (
    TABLE_FILE,
    CorpusRow,
    logged_digests,
)

STATEMENT_FILE: Final = "corpus_statement.sigstore.json"
STATEMENT_FILES: Final = (STATEMENT_FILE, TABLE_FILE)
"""The files of a statement in the dataset of the index."""

Sign = Callable[[bytes], bytes]
"""Signs the bytes of a statement and returns the JSON of a Sigstore bundle."""
Holds = Callable[[bytes], bool]
"""Says whether a bundle's signature holds."""
Published = Callable[[], bytes | None]
"""Returns the bundle that is on the Hub; None where there is none."""


@dataclass(frozen=True)
class StatedCorpus:
    """A statement that was made."""

    folder: Path
    subjects: int
    statement_sha256: str
    signed_now: bool
    """True when it was signed now. The last one still holds when nothing changed."""


def statement_files(store: CorpusStore) -> dict[str, Path]:
    """Return the files of the statement that was made last, by name; none before the first."""
    folder = store.statement_folder
    # What is damaged must not be published over what is good.
    return {name: folder / name for name in STATEMENT_FILES if restore(folder / name)}


def stated_index(store: CorpusStore) -> dict[str, str] | None:
    """Return the SHA-256 of the leaderboard's files that the kept statement names, by their paths.

    The signature is not looked at. None where there is no statement, or none that names any.
    """
    bundle = _kept_bundle(store.statement_folder)
    try:
        corpus = orjson.loads(_payload(bundle or b""))["predicate"]["inferencebench_corpus"]
        return {file["name"]: file["digest"]["sha256"] for file in corpus["index"]}
    except (ValueError, LookupError, TypeError):
        return None


def state_corpus(
    store: CorpusStore,
    draft: CorpusDraft,
    sign: Sign,
    *,
    anew: Callable[[], CorpusDraft],
    holds: Holds = lambda _bundle: True,
    published: Published = lambda: None,
) -> StatedCorpus:
    """Sign the statement that ``draft`` makes and keep it with its table.

    Nothing is signed again when the statement would say what the kept one says, or, where that is
    lost or damaged, the published one. Otherwise ``draft``, which rests on stored verdicts, only
    says that there is something to sign, and what is signed is the draft that ``anew`` returns.

    Args:
        store: the store.
        draft: what is to be stated, according to what is stored.
        sign: signs it.
        anew: verifies each record again (:func:`verified_anew`) and drafts the statement from that.
        holds: whether a kept signature is still one.
        published: fetches the bundle of the last statement.

    Raises:
        CorpusNotCleanError: there is nothing to state.
        StatementStateError: what is kept about earlier statements cannot be read.
        StoreError: it cannot be written.
    """
    folder = store.statement_folder
    statement = draft.statement()
    kept = _kept_bundle(folder)
    signed_now = False
    if kept is None or not _states(kept, statement) or not holds(kept):
        # What is lost here is fetched back first, since each signature is in a public log for ever.
        kept = published()
        if kept is None or not _states(kept, statement) or not holds(kept):
            draft = anew()
            statement = draft.statement()
            register(folder, statement)
            kept, signed_now = sign(statement), True
        write_twice(folder / STATEMENT_FILE, kept)
    elif not is_as_written(folder / STATEMENT_FILE):
        write_twice(folder / STATEMENT_FILE, kept)
    _write_table(folder, draft.rows)
    return StatedCorpus(folder, len(draft.records), logged_digests(statement)[0], signed_now)


def stated_bundle(store: CorpusStore) -> bytes:
    """Return the kept statement's bundle.

    Raises:
        StatementStateError: there is none that can be read.
    """
    path = store.statement_folder / STATEMENT_FILE
    try:
        return read_twice(path)
    except OSError as error:
        raise StatementStateError(
            f"cannot read {path}: {error.strerror or error}; materialise corpus_statement again"
        ) from error


def _kept_bundle(folder: Path) -> bytes | None:
    try:
        return read_twice(folder / STATEMENT_FILE)
    except OSError:
        return None


def _states(bundle: bytes | None, statement: bytes) -> bool:
    """Return whether a bundle is about exactly this statement; its signature is not looked at."""
    try:
        return bundle is not None and _payload(bundle) == statement
    except (ValueError, LookupError, TypeError):
        return False


def _payload(bundle: bytes) -> bytes:
    """Return the statement in a bundle of ours, as it was signed."""
    return base64.b64decode(orjson.loads(bundle)["dsseEnvelope"]["payload"])


def _write_table(folder: Path, rows: list[CorpusRow]) -> None:
    table = pa.table(
        {
            name: pa.array([row[at] for row in rows], pa.string())
            for at, name in enumerate(CorpusRow._fields)
        }
    )
    with io.BytesIO() as buffer:
        pq.write_table(table, buffer, compression="zstd")
        data = buffer.getvalue()
    if not is_as_written(folder / TABLE_FILE) or read_twice(folder / TABLE_FILE) != data:
        write_twice(folder / TABLE_FILE, data)
