"""One file of a shared repository, changed by a commit on exactly the state it was read at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inferencebench_pipeline.hub.client import Hub
from inferencebench_pipeline.hub.errors import (
    HubHeadMovedError,
    HubIntegrityError,
    HubUnavailableError,
)
from inferencebench_pipeline.hub.repo import Repo

_ROUNDS = 5
_READINGS = 3


@dataclass(frozen=True)
class Edit:
    """Where a file was read and where it is as wanted."""

    parent: str
    """Commit the file was read at."""
    commit: str
    """Commit that holds it as wanted; ``parent`` itself when there was nothing to change."""

    @property
    def changed(self) -> bool:
        """Whether a commit was made."""
        return self.commit != self.parent


def edit_file(
    hub: Hub,
    repo: Repo,
    path: str,
    change: Callable[[bytes | None], bytes],
    *,
    message: str,
    revision: str = "main",
) -> Edit:
    """Bring ``path`` into the state ``change`` makes of it, and read it back.

    What is read is compared with the hash the Hub lists, so that a damaged transfer is never
    written back; and the commit names its parent, so that nobody else's change is undone: when
    somebody was faster, ``change`` is asked again with what they made of the file.

    Args:
        hub: where.
        repo: which must exist and have a commit.
        path: in the repository.
        change: from the file's content (``None`` when there is none) to what it should be; the
            same bytes when there is nothing to do. What it raises is passed on.
        message: the commit's title.
        revision: branch or pull request.

    Raises:
        HubIntegrityError: the Hub serves something else than it lists, or than was committed.
        HubUnavailableError: others changed the file again and again meanwhile.
    """
    for _ in range(_ROUNDS):
        head = hub.head(repo, revision)
        if head.commit is None:
            raise HubIntegrityError(f"{hub.page_url(repo)} has no commit to change {path} on")
        before = hub.read(repo, head, path) if path in head.files else None
        after = change(before)
        if after == before:
            return Edit(head.commit, head.commit)
        try:
            commit = hub.commit(
                repo, {path: after}, message=message, parent=head.commit, revision=revision
            )
        except HubHeadMovedError:
            continue
        if all(hub.fetch(repo, commit, path) != after for _ in range(_READINGS)):
            raise HubIntegrityError(
                f"{hub.page_url(repo)} serves another {path} at {commit} than was committed; look "
                "at its history"
            )
        return Edit(head.commit, commit)
    raise HubUnavailableError(
        f"{path} of {repo.id} was changed {_ROUNDS} times meanwhile; try again later"
    )
