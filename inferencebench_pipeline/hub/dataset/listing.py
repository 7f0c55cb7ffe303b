"""Reading of published records: the list of an organisation's, and their files by commit.

Two requests find out what changed (the list carries each head's commit and card), one per file
reads it. Nothing is cached and nothing is skipped in silence: a list that cannot be read to its
end is an error, since an absent record is a finding.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, Field, ValidationError, field_validator

from inferencebench_pipeline.documents import LenientPart
from inferencebench_pipeline.hub.client.budget import RateBudget
from inferencebench_pipeline.hub.client.client import Hub, HubIntegrityError, Repo
from inferencebench_pipeline.hub.client.repo import is_repo_id
from inferencebench_pipeline.hub.client.retry import RetryPolicy
from inferencebench_pipeline.hub.dataset.card import CORPUS_TAG
from inferencebench_pipeline.untrusted import printable, problems_of

RESERVE = 0.1
"""Share of each request window that a crawl leaves to publications under the same account."""
PATIENCE = RetryPolicy(attempts=8, longest_wait_s=330.0, deadline_s=900.0)
"""A crawl outlasts a window of five minutes where any other step gives its slot back."""


@dataclass(frozen=True)
class PublishedRepo:
    """A dataset repository that says it holds a record, at the commit it stood at when listed."""

    repo_id: str
    revision: str
    created_at: datetime
    last_modified: datetime
    card: Mapping[str, Any]
    """The card's front matter; empty when it has none the Hub can read."""
    files: frozenset[str] | None = None
    """Names of the files of ``revision``; ``None`` where the Hub does not say."""


class _File(LenientPart):
    rfilename: str


class _Row(LenientPart):
    """One line of the Hub's answer."""

    id: str = Field(max_length=200)
    sha: str = Field(pattern=r"^[0-9a-f]{40}$")
    createdAt: AwareDatetime  # noqa: N815 - the API's spelling
    lastModified: AwareDatetime  # noqa: N815
    cardData: dict[str, Any] | None = None  # noqa: N815
    siblings: list[_File] | None = None

    @field_validator("id")
    @classmethod
    def _in_a_namespace(cls, value: str) -> str:
        if "/" not in value or not is_repo_id(value):
            raise ValueError("is not the id of a repository in a namespace")
        return value


def crawling_hub(endpoint: str, token: Callable[[], str | None]) -> Hub:
    """Return a client for reading a whole corpus, which sits out windows and keeps to its share."""
    return Hub(endpoint, token, retry=PATIENCE, budget=RateBudget(reserve=RESERVE))


def list_published(hub: Hub, organisation: str) -> Iterator[PublishedRepo]:
    """Yield the datasets of ``organisation`` tagged as records, each with its head's commit.

    Raises:
        HubIntegrityError: the Hub's answer lacks what it always has.
        HubUnavailableError: the list could not be read to its end.
    """
    for row in hub.list_datasets(organisation, CORPUS_TAG):
        try:
            yield _published(row)
        except ValidationError as error:
            raise HubIntegrityError(
                f"the dataset list of {organisation} has an entry "
                f"{printable(row.get('id'))!r} that is unusable ({problems_of(error)}); is this "
                "endpoint a Hub?"
            ) from error


def list_elsewhere(hub: Hub, organisation: str, *, most: int) -> Iterator[PublishedRepo]:
    """Yield the datasets of others that are tagged as records, the last modified first.

    Args:
        hub: the Hub.
        organisation: whose datasets are not asked for.
        most: how many of the list's lines are read; whoever tags more hides the oldest.

    Raises:
        HubUnavailableError: the list could not be read so far.
    """
    # The Hub's names ignore case.
    ours = f"{organisation.lower()}/"
    for row in itertools.islice(hub.list_tagged_datasets(CORPUS_TAG), most):
        # What a stranger wrote decides part of a line; one that is unusable is theirs to mend.
        with contextlib.suppress(ValidationError):
            listed = _published(row)
            if not listed.repo_id.lower().startswith(ours):
                yield listed


def _published(row: Mapping[str, Any]) -> PublishedRepo:
    listed = _Row.model_validate(row)
    files = listed.siblings
    return PublishedRepo(
        repo_id=listed.id,
        revision=listed.sha,
        created_at=listed.createdAt,
        last_modified=listed.lastModified,
        card=listed.cardData or {},
        files=None if files is None else frozenset(file.rfilename for file in files),
    )


def fetch_file(hub: Hub, repo_id: str, revision: str, path: str) -> bytes:
    """Return a file's bytes at the commit ``revision``, from the wire.

    Raises:
        HubNotFoundError: the repository, the commit or the file is not there.
        HubIntegrityError: ``revision`` is not a full commit id, or the Hub answered another.
    """
    return hub.fetch(Repo("dataset", repo_id), revision, path)
