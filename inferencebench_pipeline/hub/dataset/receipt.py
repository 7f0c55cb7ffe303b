"""The receipt of a publication: where a record is on the Hub, at which commit, as which bytes."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, ValidationError

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.runs import DamagedRunFileError, RunDirectory, RunFile


class ReceiptError(PermanentError):
    """The receipt of a publication is damaged."""


class PublishedFile(DocumentPart):
    """A file as the Hub serves it at the receipt's commit."""

    sha256: str
    """The SHA-256 of the file."""
    size_bytes: int
    """The size of the file, in bytes."""


class Receipt(DocumentPart):
    """The content of ``publication.json``: where a record is published, and as which bytes."""

    schema_version: Literal["1"] = "1"
    """The version of the form of the document."""
    repo_id: str
    """The id of the dataset repository on the Hub."""
    url: str
    """The page of the record on the Hub."""
    commit: str
    """The commit that holds the record."""
    files: dict[str, PublishedFile]
    """The files of the record by their names."""
    content_hash: str
    """The content hash of the envelope."""
    published_at: AwareDatetime
    """The time of publication (UTC)."""


def read_receipt(run: RunDirectory) -> Receipt | None:
    """Return the receipt of a run as it was written; None when there is none, or it is damaged.

    The Hub, not this file, says what is published: publishing again finds it out.
    """
    if not run.has(RunFile.PUBLICATION):
        return None
    try:
        return Receipt.model_validate_json(run.read_as_written(RunFile.PUBLICATION))
    except (ValidationError, DamagedRunFileError):
        return None


def require_receipt(run: RunDirectory) -> Receipt:
    """Return the receipt of a run.

    Raises:
        MissingRunFileError: the run is not published yet.
        ReceiptError: the receipt is damaged.
    """
    path = run.require(RunFile.PUBLICATION)
    receipt = read_receipt(run)
    if receipt is None:
        raise ReceiptError(
            f"{path} is damaged; `inferencebench publish {run.run_id}` finds out from the Hub what "
            "is published and writes it again, or materialise `hub_dataset`"
        )
    return receipt
