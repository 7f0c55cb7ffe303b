"""Changes to a repository that others write to as well, by commits on exactly the state read.

Every commit of ours names the head that it was decided on. When somebody else was faster, the Hub
refuses it, and everything is read and decided again: :func:`act_on_state` is the only loop that
does so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.client.errors import (
    HubHeadMovedError,
    HubIntegrityError,
    HubNotFoundError,
    HubUnavailableError,
)
from inferencebench_pipeline.hub.client.repo import Repo, RepoHead

ROUNDS: Final = 5
"""Attempts to act on a state that others keep changing, before it counts as an outage."""

State = TypeVar("State")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Edit:
    """A commit of ours, or the head that needed none."""

    parent: str | None
    """Commit the change was decided on; ``None`` for a repository that had no commit."""
    commit: str
    """Commit that holds the files as wanted; ``parent`` itself when there was nothing to change."""
    changes: Mapping[str, bytes | None] = field(default_factory=dict)
    """Content of each file sent, ``None`` for one removed; empty when nothing was to change."""

    @property
    def changed(self) -> bool:
        """True if a commit was made."""
        return self.commit != self.parent


def act_on_state(
    hub: Hub,
    state: State,
    act: Callable[[State], Result],
    *,
    look_again: Callable[[], State],
    again_on: type[PipelineError],
) -> Result:
    """Return the result of ``act`` on ``state``, or on a later state when others were faster.

    When ``act`` fails with ``again_on``, the Hub gets time to settle and is looked at again; there
    are at most :data:`ROUNDS` attempts. The last failure is passed on, and so is any other error.
    """
    for attempt in range(1, ROUNDS):
        try:
            return act(state)
        except again_on:
            hub.settle(attempt)
        state = look_again()
    return act(state)


def commit_on_head(
    hub: Hub,
    repo: Repo,
    head: RepoHead,
    changes: Callable[[RepoHead], Mapping[str, bytes | None]],
    *,
    message: str,
    revision: str = "main",
) -> Edit:
    """Commit the ``changes`` that ``head`` needs on top of that very head.

    The parent makes "nothing of others is overwritten" the Hub's promise too: a commit that got in
    between refuses ours, and ``changes`` is asked again about the new head.

    Args:
        hub: the Hub.
        repo: a repository that exists.
        head: its head, as read by the caller.
        changes: maps a head to the new content of each file, or to ``None`` to remove the file;
            an empty mapping when there is nothing to do. Its errors are passed on.
        message: title of the commit.
        revision: branch or pull request.

    Raises:
        HubUnavailableError: others committed first in every one of :data:`ROUNDS` attempts.
    """

    def commit(head: RepoHead) -> Edit:
        wanted = changes(head)
        if not wanted and head.commit is not None:
            return Edit(head.commit, head.commit)
        commit = hub.commit(repo, wanted, message=message, parent=head.commit, revision=revision)
        return Edit(head.commit, commit, dict(wanted))

    try:
        return act_on_state(
            hub,
            head,
            commit,
            look_again=lambda: _head_of_existing(hub, repo, revision),
            again_on=HubHeadMovedError,
        )
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


def head_or_created(hub: Hub, repo: Repo) -> RepoHead:
    """Return the head of ``main`` of a repository of ours, which is created when there is none.

    One look decides: creating a repository that exists changes nothing. The head of a new one is
    given as one without a commit, since a commit without a parent only adds, and a replica may not
    show the repository yet.

    Raises:
        HubPermissionError: there is none, and the token may not create it.
        HubUnavailableError: it exists, and is not shown after several looks.
    """
    head = head_or_none(hub, repo)
    if head is not None:
        return head
    hub.account().require_creating_in(repo.namespace)
    return RepoHead(None, {}) if hub.create(repo) else _head_of_existing(hub, repo, "main")


def _head_of_existing(hub: Hub, repo: Repo, revision: str) -> RepoHead:
    """Return the head of what exists, although a replica may not show it yet."""

    def head(revision: str) -> RepoHead:
        return hub.head(repo, revision)

    with just_written(repo.id):
        return act_on_state(
            hub, revision, head, look_again=lambda: revision, again_on=HubNotFoundError
        )


@contextmanager
def just_written(what: str) -> Iterator[None]:
    """Take "not found" inside of the block for a replica that does not show ``what`` yet.

    Raises:
        HubUnavailableError: in place of ``HubNotFoundError``, since what was acknowledged exists.
    """
    try:
        yield
    except HubNotFoundError as error:
        raise HubUnavailableError(
            f"{what} was just written and is not shown yet ({error}); it should be soon, try again"
        ) from error


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

    def changes_of_commit(head: RepoHead) -> Mapping[str, bytes | None]:
        if head.commit is None:
            raise HubIntegrityError(f"{hub.page_url(repo)} has no commit to change anything on")
        return changes(head)

    edit = commit_on_head(
        hub,
        repo,
        hub.head(repo, revision),
        changes_of_commit,
        message=message,
        revision=revision,
    )
    if edit.changes:
        with just_written(f"commit {edit.commit} of {repo.id}"):
            _read_back(hub, repo, edit.commit, edit.changes)
    return edit


def _read_back(hub: Hub, repo: Repo, commit: str, wanted: Mapping[str, bytes | None]) -> None:
    removed = {path for path, data in wanted.items() if data is None}
    still_there = sorted(removed & hub.head(repo, commit).files) if removed else []
    other = [
        path
        for path, data in wanted.items()
        if data is not None and hub.fetch_expected(repo, commit, path, data.__eq__) is None
    ]
    if still_there or other:
        raise HubIntegrityError(
            f"{hub.page_url(repo)} serves another {', '.join(still_there + other)} at {commit} "
            "than was committed; look at its history"
        )
