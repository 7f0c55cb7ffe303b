"""The newest corpus statement that this user has verified, kept for each organisation.

Whoever can write to a repository can put an old statement and its table back, and both are
genuine. Only a reader who remembers a later one can tell. What is kept is no secret and no proof:
deleting it makes the next statement the first one again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import AwareDatetime, ValidationError

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import read_plain, write_changed
from inferencebench_pipeline.trust import CorpusStatement


class SeenStatementsError(PermanentError):
    """The memory of the last statement cannot be read."""


class SeenStatement(DocumentPart):
    """A statement that was verified, as far as the next one is compared with it."""

    organisation: str
    """The organisation whose corpus it is about."""
    endpoint: str
    """The address of the Hub, since the same name may belong to somebody else on another one."""
    statement_sha256: str
    """The SHA-256 of the statement."""
    signed_at: AwareDatetime
    """The earliest time that a trusted clock gave its signature."""
    log_index: int
    """The index of its entry in the log, by which a person finds it."""


def seen_statement(folder: Path, organisation: str, endpoint: str) -> SeenStatement | None:
    """Return the newest statement that was verified about a corpus; None before the first.

    Args:
        folder: where the user's statements are kept.
        organisation: whose corpus it is.
        endpoint: the address of the Hub.

    Raises:
        SeenStatementsError: it cannot be read. It is not passed over: an old statement would then
            look like a new one.
    """
    path = _path(folder, organisation, endpoint)
    try:
        return SeenStatement.model_validate_json(read_plain(path))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise SeenStatementsError(
            f"cannot read {path}, which says what statement of {organisation} you verified last; "
            "delete it to begin anew"
        ) from error


def keep_seen(folder: Path, endpoint: str, organisation: str, statement: CorpusStatement) -> None:
    """Keep a verified statement as the newest one, unless a later one is kept.

    Raises:
        SeenStatementsError: what is kept cannot be read.
        StoreError: the folder cannot be written.
    """
    before = seen_statement(folder, organisation, endpoint)
    signed_at = statement.proof.times[0]
    if before is None or signed_at >= before.signed_at:
        seen = SeenStatement(
            organisation=organisation,
            endpoint=endpoint,
            statement_sha256=statement.statement_sha256,
            signed_at=signed_at,
            log_index=statement.proof.log_index,
        )
        data = seen.model_dump_json(indent=1).encode() + b"\n"
        write_changed(_path(folder, organisation, endpoint), data)


def _path(folder: Path, organisation: str, endpoint: str) -> Path:
    # A digest, because the name of a namespace may hold what no file's name can.
    key = hashlib.sha256(f"{endpoint} {organisation}".encode()).hexdigest()[:16]
    return folder / f"{key}.json"
