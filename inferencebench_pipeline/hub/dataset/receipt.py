"""The receipt of a publication: where a record is on the Hub, at which commit, as which bytes."""

from __future__ import annotations

import hashlib
from typing import Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.client.errors import HubIntegrityError
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.runs import DamagedRunFileError, RunDirectory, RunFile

READINGS: Final = 3
"""Readings of a file that must differ from the receipt before that is believed."""


class ReceiptError(PermanentError):
    """The receipt of a publication is damaged."""


class PublishedFile(BaseModel):
    """A file as the Hub serves it at the receipt's commit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size_bytes: int


class Receipt(BaseModel):
    """The content of ``publication.json``: where a record is published, and as which bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["1"] = "1"
    repo_id: str
    url: str
    commit: str
    files: dict[str, PublishedFile]
    content_hash: str
    published_at: AwareDatetime


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


def read_back(hub: Hub, receipt: Receipt) -> dict[str, bytes]:
    """Return the files of a receipt as the Hub serves them now at its commit.

    Raises:
        HubNotFoundError: the repository, the commit or a file is gone.
        HubIntegrityError: a file has other bytes than the receipt says.
    """
    repo = Repo("dataset", receipt.repo_id)
    return {
        name: read_digest(hub, repo, receipt.commit, name, file.sha256)
        for name, file in receipt.files.items()
    }


def read_digest(hub: Hub, repo: Repo, commit: str, name: str, sha256: str) -> bytes:
    """Return the file when it hashes to ``sha256``; a transfer may be damaged, a file is not.

    Raises:
        HubIntegrityError: it does not, however often it is read.
    """
    found = set()
    for _ in range(READINGS):
        data = hub.fetch(repo, commit, name)
        if sha256_hex(data) == sha256:
            return data
        found.add(sha256_hex(data))
    raise HubIntegrityError(
        f"{hub.page_url(repo)} serves {name} at {commit} with SHA-256 {', '.join(sorted(found))}, "
        f"expected {sha256}, in each of {READINGS} downloads; do not announce it, and report it to "
        "the Hub"
    )


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()
