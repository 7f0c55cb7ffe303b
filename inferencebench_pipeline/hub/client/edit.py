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
from inferencebench_pipeline.hub.client.repo import HubFile, Repo, RepoHead

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
    # The last attempt stands behind the loop, so that its failure is passed on.
    for attempt in range(1, ROUNDS):
        try:
            return act(state)
        except again_on:
            hub.settle(attempt)
        state = look_again()
    return act(state)


@dataclass(frozen=True)
class RemoteRepo:
    """One repository of one Hub, which others may write to as well."""

    hub: Hub
    repo: Repo

    @property
    def page_url(self) -> str:
        """Address of the page of the repository."""
        return self.hub.page_url(self.repo)

    def head_or_none(self) -> RepoHead | None:
        """Return the head of ``main``, or ``None`` when one look does not find the repository."""
        try:
            return self.hub.head(self.repo)
        except HubNotFoundError:
            return None

    def head_or_created(self) -> RepoHead:
        """Return the head of ``main`` of a repository of ours, which is created if there is none.

        One look decides: creating a repository that exists changes nothing. The head of a new one
        is given as one without a commit, since a commit without a parent only adds, and a replica
        may not show the repository yet.

        Raises:
            HubPermissionError: there is none, and the token may not create it.
            HubUnavailableError: it exists, and is not shown after several looks.
        """
        head = self.head_or_none()
        if head is not None:
            return head
        self.hub.account().require_creating_in(self.repo.namespace)
        return RepoHead(None, {}) if self.hub.create(self.repo) else self._head_shown("main")

    def commit(
        self,
        head: RepoHead,
        changes: Callable[[RepoHead], Mapping[str, bytes | None]],
        *,
        message: str,
        revision: str = "main",
    ) -> Edit:
        """Commit the ``changes`` that ``head`` needs on top of that very head.

        The parent makes "nothing of others is overwritten" the Hub's promise too: a commit that
        got in between refuses ours, and ``changes`` is asked again about the new head.

        Args:
            head: the head of the repository, as read by the caller.
            changes: maps a head to the new content of each file, or to ``None`` to remove the
                file; an empty mapping when there is nothing to do. Its errors are passed on.
            message: title of the commit.
            revision: branch or pull request.

        Raises:
            HubUnavailableError: others committed first in every one of :data:`ROUNDS` attempts.
        """

        def commit(head: RepoHead) -> Edit:
            wanted = changes(head)
            # A repository without a commit gets one in any case: a record needs a commit to name.
            if not wanted and head.commit is not None:
                return Edit(head.commit, head.commit)
            commit = self.hub.commit(
                self.repo, wanted, message=message, parent=head.commit, revision=revision
            )
            return Edit(head.commit, commit, dict(wanted))

        try:
            return act_on_state(
                self.hub,
                head,
                commit,
                look_again=lambda: self._head_shown(revision),
                again_on=HubHeadMovedError,
            )
        except HubHeadMovedError as error:
            raise HubUnavailableError(
                f"{self.repo.id} was changed {ROUNDS} times meanwhile; look who writes there, or "
                "try again later"
            ) from error

    def edit_file(
        self,
        path: str,
        change: Callable[[bytes | None], bytes],
        *,
        message: str,
        revision: str = "main",
    ) -> Edit:
        """Bring ``path`` into the state that ``change`` makes of it, and read it back.

        Like :meth:`edit_files`, for one file that is not removed.

        Args:
            path: path of the file in the repository.
            change: maps the content of the file (``None`` when there is none) to the content
                wanted; the same bytes when there is nothing to do. Its errors are passed on.
            message: title of the commit.
            revision: branch or pull request.
        """

        def changes(head: RepoHead) -> dict[str, bytes]:
            before = self.hub.read(self.repo, head, path) if path in head.files else None
            after = change(before)
            return {} if after == before else {path: after}

        return self.edit_files(changes, message=message, revision=revision)

    def edit_files(
        self,
        changes: Callable[[RepoHead], Mapping[str, bytes | None]],
        *,
        message: str,
        revision: str = "main",
    ) -> Edit:
        """Bring files into the state that ``changes`` asks for, in one commit, and read them back.

        Args:
            changes: as for :meth:`commit`. It should read by :meth:`Hub.read`, so that a damaged
                transfer is never written back.
            message: title of the commit.
            revision: branch or pull request.

        Raises:
            HubIntegrityError: the repository has no commit yet, or the Hub serves something else
                than it lists or than was committed.
            HubUnavailableError: others changed the repository in every attempt.
        """

        def changes_of_commit(head: RepoHead) -> Mapping[str, bytes | None]:
            if head.commit is None:
                raise HubIntegrityError(f"{self.page_url} has no commit to change anything on")
            return changes(head)

        head = self.hub.head(self.repo, revision)
        edit = self.commit(head, changes_of_commit, message=message, revision=revision)
        if edit.changes:
            with just_written(f"commit {edit.commit} of {self.repo.id}"):
                self._read_back(edit.commit, edit.changes)
        return edit

    def listing(self, commit: str) -> Mapping[str, HubFile]:
        """Return the Hub's description of each file at a commit."""
        return self.hub.head(self.repo, commit).listing

    def fetch(self, commit: str, path: str) -> bytes:
        """Return the bytes of ``path`` at ``commit``, as :meth:`Hub.fetch` does."""
        return self.hub.fetch(self.repo, commit, path)

    def fetch_expected(
        self, commit: str, path: str, is_expected: Callable[[bytes], bool]
    ) -> bytes | None:
        """Return the bytes of ``path`` that are as expected, or ``None`` when they never are.

        A transfer may be damaged, so a difference must show in each of :data:`READINGS` downloads
        before it is believed.
        """
        return self.hub.fetch_expected(self.repo, commit, path, is_expected)

    def _head_shown(self, revision: str) -> RepoHead:
        """Return the head of what exists, although a replica may not show it yet."""

        def head(revision: str) -> RepoHead:
            return self.hub.head(self.repo, revision)

        with just_written(self.repo.id):
            return act_on_state(
                self.hub, revision, head, look_again=lambda: revision, again_on=HubNotFoundError
            )

    def _read_back(self, commit: str, wanted: Mapping[str, bytes | None]) -> None:
        removed = {path for path, data in wanted.items() if data is None}
        # A removal can only be seen in the list. Content is proven by a download.
        listed = self.listing(commit) if removed else {}
        other = sorted(removed & listed.keys()) + [
            path
            for path, data in wanted.items()
            if data is not None and self.fetch_expected(commit, path, data.__eq__) is None
        ]
        if other:
            raise HubIntegrityError(
                f"{self.page_url} serves another {', '.join(other)} at {commit} than was "
                "committed; look at its history"
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
