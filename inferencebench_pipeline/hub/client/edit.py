"""Changes to a repository that others write to as well, by commits on exactly the state read.

Every commit of ours names the head that it was decided on. When somebody else was faster, the Hub
refuses it, and everything is read and decided again: :func:`act_on_state` is the only loop that
does so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.client.errors import (
    HubHeadMovedError,
    HubIntegrityError,
    HubNotFoundError,
    HubUnavailableError,
)
from inferencebench_pipeline.hub.client.replica_lag import just_written
from inferencebench_pipeline.hub.client.repo import Repo, RepoHead

ROUNDS: Final = 5
"""Attempts to act on a state that others keep changing, before it counts as an outage."""
READINGS: Final = 3
"""Readings of a file that must all differ from the expected bytes before that is believed."""

State = TypeVar("State")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Edit:
    """A commit of ours, or the head that needed none."""

    parent: str | None
    """Commit the change was decided on; ``None`` for a repository that had no commit."""
    commit: str
    """Commit that holds the files as wanted; ``parent`` itself when there was nothing to change."""
    files: frozenset[str] = frozenset()
    """Paths that were sent or removed; empty when there was nothing to change."""

    @property
    def changed(self) -> bool:
        """True if a commit was made."""
        return self.commit != self.parent


def act_on_state(
    hub: Hub,
    read: Callable[[], State],
    act: Callable[[State], Result],
    *,
    again_on: type[PipelineError],
) -> Result:
    """Return the result of ``act`` on the state that ``read`` finds.

    When ``act`` fails with ``again_on``, the Hub gets time to settle, and both are called again, at
    most :data:`ROUNDS` times in all. The last failure is passed on, and so is any other error.
    """
    for attempt in range(1, ROUNDS):
        state = read()
        try:
            return act(state)
        except again_on:
            hub.settle(attempt)
    return act(read())


def commit_on_head(
    hub: Hub,
    repo: Repo,
    changes: Callable[[RepoHead], Mapping[str, bytes | None]],
    *,
    message: str,
    read: Callable[[], RepoHead],
    revision: str = "main",
) -> Edit:
    """Commit the ``changes`` that a head needs on top of that very head.

    The parent makes "nothing of others is overwritten" the Hub's promise too: a commit that got in
    between refuses ours, and ``changes`` is asked again about the new head.

    Args:
        hub: the Hub.
        repo: a repository that exists.
        changes: maps the head to the new content of each file, or to ``None`` to remove the file;
            an empty mapping when there is nothing to do. Its errors are passed on.
        message: title of the commit.
        read: returns the head, anew for each attempt.
        revision: branch or pull request.

    Raises:
        HubUnavailableError: others committed first in every one of :data:`ROUNDS` attempts.
    """

    def commit(head: RepoHead) -> Edit:
        wanted = changes(head)
        if not wanted and head.commit is not None:
            return Edit(head.commit, head.commit)
        commit = hub.commit(repo, wanted, message=message, parent=head.commit, revision=revision)
        return Edit(head.commit, commit, frozenset(wanted))

    try:
        return act_on_state(hub, read, commit, again_on=HubHeadMovedError)
    except HubHeadMovedError as error:
        raise HubUnavailableError(
            f"{repo.id} was changed {ROUNDS} times meanwhile; look who writes there, or try again "
            "later"
        ) from error


def head_or_none(hub: Hub, repo: Repo) -> RepoHead | None:
    """Return the head of ``main``, or ``None`` when one look does not find the repository."""
    try:
        return hub.head(repo)
    except HubNotFoundError:
        return None


def head_of_existing(hub: Hub, repo: Repo) -> RepoHead:
    """Return the head of a repository that exists, although a replica may not show it yet.

    Raises:
        HubUnavailableError: it is not shown after several looks.
    """
    with just_written(repo.id):
        return act_on_state(hub, lambda: repo, hub.head, again_on=HubNotFoundError)


def head_or_created(hub: Hub, repo: Repo) -> RepoHead:
    """Return the head of ``main`` of a repository of ours, which is created when there is none.

    Raises:
        HubPermissionError: there is none, and the token may not create it.
        HubUnavailableError: it was created and is not shown yet.
    """
    head = hub.find(repo)
    if head is not None:
        return head
    hub.account().require_creating_in(repo.namespace)
    hub.create(repo)
    with just_written(repo.id):
        return hub.head(repo)


def edit_file(
    hub: Hub,
    repo: Repo,
    path: str,
    change: Callable[[bytes | None], bytes],
    *,
    message: str,
    revision: str = "main",
) -> Edit:
    """Bring ``path`` into the state that ``change`` makes of it, and read it back.

    Like :func:`edit_files`, for one file that is not removed.

    Args:
        hub: the Hub.
        repo: a repository that exists and has a commit.
        path: path of the file in the repository.
        change: maps the content of the file (``None`` when there is none) to the content wanted;
            the same bytes when there is nothing to do. Its errors are passed on.
        message: title of the commit.
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
    """Bring files into the state that ``changes`` asks for, in one commit, and read them back.

    Args:
        hub: the Hub.
        repo: a repository that exists and has a commit.
        changes: as for :func:`commit_on_head`. It should read by :meth:`Hub.read`, so that a
            damaged transfer is never written back.
        message: title of the commit.
        revision: branch or pull request.

    Raises:
        HubIntegrityError: the Hub serves something else than it lists, or than was committed.
        HubUnavailableError: others changed the repository in every attempt.
    """
    sent: dict[str, bytes | None] = {}

    def noted_changes(head: RepoHead) -> Mapping[str, bytes | None]:
        if head.commit is None:
            raise HubIntegrityError(f"{hub.page_url(repo)} has no commit to change anything on")
        sent.clear()
        sent.update(changes(head))
        return sent

    edit = commit_on_head(
        hub,
        repo,
        noted_changes,
        message=message,
        read=lambda: hub.head(repo, revision),
        revision=revision,
    )
    if sent:
        with just_written(f"commit {edit.commit} of {repo.id}"):
            _read_back(hub, repo, edit.commit, sent)
    return edit


def _read_back(hub: Hub, repo: Repo, commit: str, wanted: Mapping[str, bytes | None]) -> None:
    removed = {path for path, data in wanted.items() if data is None}
    still_there = sorted(removed & hub.head(repo, commit).files) if removed else []
    other = [
        path
        for path, data in wanted.items()
        if data is not None and all(hub.fetch(repo, commit, path) != data for _ in range(READINGS))
    ]
    if still_there or other:
        raise HubIntegrityError(
            f"{hub.page_url(repo)} serves another {', '.join(still_there + other)} at {commit} "
            "than was committed; look at its history"
        )
