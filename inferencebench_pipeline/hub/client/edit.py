"""Files of a shared repository, changed by a commit on exactly the state they were read at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.client.errors import (
    HubHeadMovedError,
    HubIntegrityError,
    HubUnavailableError,
)
from inferencebench_pipeline.hub.client.replica_lag import just_written
from inferencebench_pipeline.hub.client.repo import Repo, RepoHead

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

    Like :func:`edit_files`, for one file that is not removed.

    Args:
        hub: where.
        repo: which must exist and have a commit.
        path: in the repository.
        change: from the file's content (``None`` when there is none) to what it should be; the
            same bytes when there is nothing to do. What it raises is passed on.
        message: the commit's title.
        revision: branch or pull request.
    """

    def changes(head: RepoHead) -> dict[str, bytes]:
        before = hub.read(repo, head, path) if path in head.files else None
        after = change(before)
        return {} if after == before else {path: after}

    return edit_files(hub, repo, changes, message=message, revision=revision)


def edit_files(
    hub: Hub,
    repo: Repo,
    changes: Callable[[RepoHead], Mapping[str, bytes | None]],
    *,
    message: str,
    revision: str = "main",
) -> Edit:
    """Bring files into the state ``changes`` asks for, in one commit, and read them back.

    The commit names its parent, so that nobody else's change is undone: when somebody was faster,
    ``changes`` is asked again about what they made of the repository. What it reads should come
    from :meth:`Hub.read`, so that a damaged transfer is never written back.

    Args:
        hub: where.
        repo: which must exist and have a commit.
        changes: from the head to what should be otherwise, path by path; ``None`` removes a file;
            empty when there is nothing to do. What it raises is passed on.
        message: the commit's title.
        revision: branch or pull request.

    Raises:
        HubIntegrityError: the Hub serves something else than it lists, or than was committed.
        HubUnavailableError: others changed the repository again and again meanwhile.
    """
    for attempt in range(1, _ROUNDS + 1):
        head = hub.head(repo, revision)
        if head.commit is None:
            raise HubIntegrityError(f"{hub.page_url(repo)} has no commit to change anything on")
        wanted = changes(head)
        if not wanted:
            return Edit(head.commit, head.commit)
        try:
            commit = hub.commit(
                repo, wanted, message=message, parent=head.commit, revision=revision
            )
        except HubHeadMovedError:
            hub.settle(attempt)
            continue
        with just_written(f"commit {commit} of {repo.id}"):
            _read_back(hub, repo, commit, wanted)
        return Edit(head.commit, commit)
    raise HubUnavailableError(f"{repo.id} was changed {_ROUNDS} times meanwhile; try again later")


def _read_back(hub: Hub, repo: Repo, commit: str, wanted: Mapping[str, bytes | None]) -> None:
    removed = {path for path, data in wanted.items() if data is None}
    still_there = sorted(removed & hub.head(repo, commit).files) if removed else []
    other = [
        path
        for path, data in wanted.items()
        if data is not None and all(hub.fetch(repo, commit, path) != data for _ in range(_READINGS))
    ]
    if still_there or other:
        raise HubIntegrityError(
            f"{hub.page_url(repo)} serves another {', '.join(still_there + other)} at {commit} "
            "than was committed; look at its history"
        )
