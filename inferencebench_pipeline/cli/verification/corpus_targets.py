"""The targets of ``verify --corpus``: the dataset of an index on the Hub, or a copy of one."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inferencebench_pipeline.corpus import STATEMENT_FILE
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import sha256_of
from inferencebench_pipeline.hub import Hub, HubNotFoundError, Repo
from inferencebench_pipeline.measure import check_bounds
from inferencebench_pipeline.trust import TABLE_FILE, CorpusRow
from inferencebench_pipeline.untrusted import printable

_HUB_TARGET: Final = re.compile(
    r"hf://datasets/(?P<organisation>[^/@]+)/(?P<name>[^/@]+)(?:@(?P<rev>.+))?"
)
_MAX_ROWS: Final = 1_000_000
_MAX_VALUE_BYTES: Final = 1_000
"""A repository's name has up to 193 characters, and everything else in a row is shorter."""
_SHOWN: Final = 120
_UNREADABLE: Final = (pa.ArrowException, OSError, ValueError, TypeError, LookupError)

FindIndex = Callable[[Mapping[str, str]], dict[str, str] | None]
"""Returns the SHA-256 of each file that is there: of those that a statement names, and of whatever
else lies in their folders. None where a copy holds none of them."""


class CorpusTargetError(PermanentError):
    """The target holds no corpus statement, or nothing that can be compared with it."""


@dataclass(frozen=True)
class Corpus:
    """A statement, and everything that it should cover."""

    where: str
    """The place of the corpus, for people."""
    organisation: str
    """The namespace whose corpus it is."""
    bundle: bytes
    """The signed statement."""
    rows: tuple[CorpusRow, ...] | None
    """The rows of the table; None where there is no table."""
    envelopes: Mapping[str, list[str]]
    """The places of each envelope, by the SHA-256 of its bytes, in a folder without a table."""
    find_index: FindIndex
    """Hashes the files of the leaderboard."""

    @property
    def results(self) -> int:
        """Number of the results that are compared with the statement."""
        return len(self.envelopes if self.rows is None else self.rows)


def read_corpus(
    target: str,
    deployment: Deployment,
    *,
    organisation: str | None,
    revision: str | None = None,
    offline: bool = False,
) -> Corpus:
    """Return the statement at ``target`` and what it should cover.

    Args:
        target: ``hf://datasets/ORG/NAME[@revision]``, or a folder that holds the statement with
            its table, or with envelopes.
        deployment: the deployment whose Hub is asked.
        organisation: the organisation whose corpus it must be. If None, an ``hf://`` target
            names it.
        revision: a branch, tag or commit on the Hub, in place of ``@revision``.
        offline: whether to refuse a target that needs a network.

    Raises:
        CorpusTargetError: there is no statement, or the table beside it cannot be read.
        HubUnavailableError: the Hub is down.
    """
    if target.startswith("hf://"):
        if offline:
            raise CorpusTargetError(f"{target} is on the Hub, which --offline does not allow")
        return _from_hub(target, deployment.hub(), organisation, revision)
    if revision is not None:
        raise CorpusTargetError(f"--revision is for hf:// targets; {target} is a path")
    return _from_folder(Path(target), organisation or deployment.settings.organisation)


def _from_folder(folder: Path, owner: str | None) -> Corpus:
    if owner is None:
        raise CorpusTargetError(
            f"name the organisation of the corpus in {folder} with --organisation"
        )
    try:
        bundle = (folder / STATEMENT_FILE).read_bytes()
    except OSError as error:
        raise CorpusTargetError(
            f"cannot read {folder / STATEMENT_FILE} ({error.strerror}); name the folder that holds "
            "it, or hf://datasets/ORG/NAME"
        ) from error
    # The published table names each result; without it the envelopes are hashed.
    table = folder / TABLE_FILE
    rows = rows_of(table.read_bytes()) if table.is_file() else None
    return Corpus(
        where=str(folder),
        organisation=owner,
        bundle=bundle,
        rows=rows,
        envelopes={} if rows is not None else _envelopes_in(folder),
        find_index=lambda bound: _index_in(folder, bound),
    )


def _from_hub(target: str, hub: Hub, organisation: str | None, asked: str | None) -> Corpus:
    match = _HUB_TARGET.fullmatch(target)
    if match is None:
        raise CorpusTargetError(f"{target!r} is not of the form hf://datasets/ORG/NAME[@revision]")
    repo = Repo("dataset", f"{match['organisation']}/{match['name']}")
    # Pinned once, so that the statement, the table and the index are of the same commit.
    head = hub.head(repo, asked or match["rev"] or "main")
    revision = head.commit
    if revision is None or STATEMENT_FILE not in head.files:
        raise CorpusTargetError(
            f"{repo.id} holds no {STATEMENT_FILE}; nothing is stated about its corpus as it is "
            "now. Name an earlier commit with --revision, or verify a record by itself"
        )
    there = TABLE_FILE in head.files
    return Corpus(
        where=f"{hub.page_url(repo)}/tree/{revision}",
        organisation=organisation or match["organisation"],
        bundle=hub.fetch(repo, revision, STATEMENT_FILE),
        rows=rows_of(hub.fetch(repo, revision, TABLE_FILE)) if there else (),
        envelopes={},
        find_index=lambda bound: _index_on_hub(hub, repo, revision, head.files, bound),
    )


def rows_of(data: bytes) -> tuple[CorpusRow, ...]:
    """Return the rows of a published table; a column that is not there has no values.

    Raises:
        CorpusTargetError: it is no such table, or is larger than one may be.
    """
    try:
        # A few bytes of a Parquet file can unpack to more than any memory.
        check_bounds(data)
        there = pq.ParquetFile(io.BytesIO(data))
        if there.metadata.num_rows > _MAX_ROWS:
            raise ValueError(f"it has {there.metadata.num_rows} rows; at most {_MAX_ROWS} are read")
        names = [name for name in CorpusRow._fields if name in there.schema_arrow.names]
        # Whoever opens the table would believe a column that nobody signed.
        others = [name for name in there.schema_arrow.names if name not in CorpusRow._fields]
        if others:
            raise ValueError(f"no statement covers its column {printable(others[0], _SHOWN)}")
        for name in ("repo_id", "envelope_sha256"):
            if name not in names:
                raise ValueError(f"it has no column {name}")
        table = pq.ParquetFile(io.BytesIO(data), read_dictionary=names).read(columns=names)
        columns = {name: _texts(name, table[name]) for name in names}
        nothing: list[str | None] = [None] * len(table)
        rows = tuple(
            CorpusRow(*values)
            for values in zip(
                *(columns.get(name, nothing) for name in CorpusRow._fields), strict=True
            )
        )
        if any(row.repo_id is None or row.envelope_sha256 is None for row in rows):
            raise ValueError("a row has no repository or no envelope")
    except _UNREADABLE as error:
        raise CorpusTargetError(f"{TABLE_FILE} cannot be read: {printable(error)}") from error
    return rows


def _texts(name: str, column: pa.ChunkedArray[Any]) -> list[str | None]:
    """Return a column's values, which must be short texts."""
    texts: list[str | None] = []
    kind: Any = column.type
    if pa.types.is_null(kind):
        return [None] * len(column)
    if not pa.types.is_dictionary(kind) or not _is_text(kind.value_type):
        raise ValueError(f"the column {name} holds {kind}, and no texts")
    chunks: Any = column.chunks
    for chunk in chunks:
        longest = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0
        # Each row of a dictionary repeats a value; a long one would be copied as often.
        if longest > _MAX_VALUE_BYTES:
            raise ValueError(f"the column {name} holds a text of {longest} bytes")
        texts.extend(chunk.to_pylist())
    return texts


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _envelopes_in(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("envelope.json")):
        found.setdefault(sha256_of(path), []).append(str(path.relative_to(folder)))
    return found


def _index_in(folder: Path, bound: Mapping[str, str]) -> dict[str, str] | None:
    there = {
        path.relative_to(folder).as_posix()
        for top in _folders_of(bound)
        for path in (folder / top).rglob("*")
        if path.is_file()
    }
    there |= {name for name in bound if (folder / name).is_file()}
    if not there:
        return None
    return {name: sha256_of(folder / name) for name in sorted(there)}


def _index_on_hub(
    hub: Hub, repo: Repo, revision: str, files: frozenset[str], bound: Mapping[str, str]
) -> dict[str, str]:
    folders = _folders_of(bound)
    found: dict[str, str] = {}
    for name in sorted(files):
        if name in bound:
            found[name] = _sha256_of_remote(hub, repo, revision, name)
        elif PurePosixPath(name).parts[0] in folders:
            # Being there is enough of a difference; its bytes would say no more.
            found[name] = "not read"
    return found


def _sha256_of_remote(hub: Hub, repo: Repo, revision: str, name: str) -> str:
    # The bytes are fetched and hashed; the digest that the Hub lists is only its word.
    try:
        return hashlib.sha256(hub.fetch(repo, revision, name)).hexdigest()
    except HubNotFoundError:
        return "listed, and not there"


def _folders_of(bound: Mapping[str, str]) -> set[str]:
    """Return the folders of the dataset that hold nothing but files of the leaderboard."""
    return {parts[0] for name in bound if len(parts := PurePosixPath(name).parts) > 1}
