"""The allowed names of repositories and files, and their paths in URLs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from inferencebench_pipeline.sandbox.hub.errors import HubError

_NAME = re.compile(r"[A-Za-z0-9._-]{1,96}")
_FORBIDDEN_PATH_PARTS = frozenset({"", ".", "..", ".git"})
_MAX_PATH_BYTES = 512


class RepoKind(StrEnum):
    """The kinds of repository; the value is what the client sends as ``type``."""

    MODEL = "model"
    DATASET = "dataset"
    SPACE = "space"

    @property
    def plural(self) -> str:
        """The kind as it appears in API paths, such as ``datasets``."""
        return f"{self.value}s"

    @property
    def url_prefix(self) -> str:
        """The prefix of the repository id in a web URL; models have none."""
        return "" if self is RepoKind.MODEL else f"{self.plural}/"


@dataclass(frozen=True, order=True)
class RepoId:
    """A repository's kind, namespace and name."""

    kind: RepoKind
    owner: str
    name: str

    @property
    def full_name(self) -> str:
        """``owner/name``, which the client calls ``repo_id``."""
        return f"{self.owner}/{self.name}"

    @property
    def web_path(self) -> str:
        """The path of the repository's page, such as ``/datasets/owner/name``."""
        return f"/{self.kind.url_prefix}{self.full_name}"


def check_name(name: str, *, what: str) -> str:
    """Return ``name`` when the Hub would accept it for a repository or a namespace.

    Raises:
        HubError: 400, with the rule that is broken.
    """
    if (
        # The rules that huggingface_hub checks before it asks (validate_repo_id).
        not _NAME.fullmatch(name)
        or "--" in name
        or ".." in name
        or name[0] in "-."
        or name[-1] in "-."
        or name.endswith(".git")
    ):
        raise HubError(
            400,
            f"Invalid {what} {name!r}: use at most 96 of [A-Za-z0-9._-], no '--' or '..', "
            "not starting or ending with '-' or '.', not ending with '.git'",
        )
    return name


def check_file_path(path: str) -> str:
    """Return ``path`` when it can name a file inside a repository.

    Raises:
        HubError: 400 for absolute paths, dot segments, ``.git``, control characters and names
            longer than 512 bytes.
    """
    if (
        len(path.encode()) > _MAX_PATH_BYTES
        or any(part in _FORBIDDEN_PATH_PARTS for part in path.split("/"))
        or any(ord(character) < 32 or character == "\\" for character in path)
    ):
        raise HubError(400, f"Invalid path in repo: {path!r}")
    return path
