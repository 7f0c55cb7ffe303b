"""The contents of a Hub as plain values: repositories, heads, files, pull requests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from inferencebench_pipeline.hub.client.errors import HubRejectedError
from inferencebench_pipeline.untrusted import printable

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,96}")


def git_blob_oid(data: bytes) -> str:
    """Return the id that git, and so the Hub, gives a file of this content."""
    header = f"blob {len(data)}\0".encode()
    return hashlib.sha1(header + data, usedforsecurity=False).hexdigest()


def is_repo_id(text: str) -> bool:
    """Return whether ``text`` can be a repository's id: ``NAME`` or ``NAMESPACE/NAME``.

    It becomes part of addresses, so a name of nothing but dots is none.
    """
    names = text.split("/")
    return len(names) <= 2 and all(_NAME.fullmatch(name) and name.strip(".") for name in names)


@dataclass(frozen=True)
class Repo:
    """A repository on the Hub; whether its id can be one is looked at where an address is made."""

    kind: Literal["dataset", "model"]
    id: str

    @property
    def namespace(self) -> str:
        """The user or organisation it belongs to."""
        return self.id.partition("/")[0]

    @property
    def url_path(self) -> str:
        """Path of its page and of its files, such as ``datasets/ORG/NAME``.

        Raises:
            HubRejectedError: the id would change the address it becomes part of.
        """
        return f"datasets/{self._checked_id}" if self.kind == "dataset" else self._checked_id

    @property
    def api_path(self) -> str:
        """Path of its API, such as ``api/datasets/ORG/NAME``.

        Raises:
            HubRejectedError: the id would change the address it becomes part of.
        """
        return f"api/{self.kind}s/{self._checked_id}"

    @property
    def _checked_id(self) -> str:
        if not is_repo_id(self.id):
            raise HubRejectedError(
                f"{printable(self.id)!r} is not the id of a {self.kind} on a Hub (letters, "
                "digits, '-', '_' and '.', with one '/' after the namespace); correct it"
            )
        return self.id


@dataclass(frozen=True)
class HubFile:
    """A file as the Hub describes it at a commit."""

    size_bytes: int
    oid: str
    """SHA-256 of the content for a large file, git's blob id (SHA-1) for any other."""

    def is_of(self, data: bytes) -> bool:
        """Return whether this describes a file of exactly these bytes."""
        # The Hub decides which files are large ones, so its list may hold either digest.
        digests = {hashlib.sha256(data).hexdigest(), git_blob_oid(data)}
        return self.size_bytes == len(data) and self.oid in digests


@dataclass(frozen=True)
class RepoHead:
    """The commit that a branch points to, and its files."""

    commit: str | None
    """``None`` for a repository without any commit."""
    listing: Mapping[str, HubFile]

    @property
    def files(self) -> frozenset[str]:
        """Paths of the files."""
        return frozenset(self.listing)


@dataclass(frozen=True)
class PullRequest:
    """A pull request, open or not."""

    number: int
    title: str
    author: str
    status: str
    """``draft``, ``open``, ``closed`` or ``merged``."""

    @property
    def ref(self) -> str:
        """The branch its commits go to."""
        return f"refs/pr/{self.number}"

    @property
    def is_live(self) -> bool:
        """True while its owner can merge or close it."""
        return self.status in {"draft", "open"}
