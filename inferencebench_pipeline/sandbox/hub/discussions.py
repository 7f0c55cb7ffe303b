"""Discussions and pull requests: their documents on disk, and their possible changes.

A pull request is a discussion with a ref ``refs/pr/<num>``. The ref is written first and the
document last, so a number is never shown before its commit exists.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from inferencebench_pipeline.files import write_atomically
from inferencebench_pipeline.sandbox.hub.errors import HubError
from inferencebench_pipeline.sandbox.hub.objects import Commit
from inferencebench_pipeline.sandbox.hub.repository import (
    Change,
    CommitMessage,
    Repository,
    changed_paths,
    utc_now,
)

Status = Literal["draft", "open", "closed", "merged"]
_PR_REF = re.compile(r"refs/pr/([0-9]+)")


class Event(BaseModel):
    """An event of a discussion, as the client reads it."""

    model_config = ConfigDict(frozen=True)

    id: str
    type: Literal["comment", "status-change", "title-change", "commit"]
    createdAt: str  # noqa: N815  (the wire's name)
    author: str
    data: dict[str, Any]


class Discussion(BaseModel):
    """A discussion or pull request with all its events."""

    model_config = ConfigDict(frozen=True)

    num: int
    title: str
    author: str
    status: Status
    is_pull_request: bool
    created_at: str
    events: tuple[Event, ...]
    target: str | None = None
    """The full name of the ref that a pull request targets."""
    base: str | None = None
    """The commit it starts from."""
    merge_commit: str | None = None

    @property
    def ref(self) -> str:
        """The ref of the pull request's own commits."""
        return f"refs/pr/{self.num}"

    def with_event(self, event: Event, **changes: object) -> Discussion:
        """Return a copy with one more event and other fields changed."""
        return self.model_copy(update={"events": (*self.events, event), **changes})


def load_all(repository: Repository) -> list[Discussion]:
    """Return every discussion of the repository, newest first."""
    files = (repository.folder / "discussions").glob("*.json")
    found = [Discussion.model_validate_json(file.read_bytes()) for file in files]
    return sorted(found, key=lambda discussion: -discussion.num)


def load(repository: Repository, num: int) -> Discussion:
    """Return one discussion.

    Raises:
        HubError: 404 when there is none of that number.
    """
    file = repository.folder / "discussions" / f"{num}.json"
    if not file.exists():
        raise HubError(404, f"Discussion {num} not found")
    return Discussion.model_validate_json(file.read_bytes())


def save(repository: Repository, discussion: Discussion) -> None:
    """Write the discussion durably."""
    path = repository.folder / "discussions" / f"{discussion.num}.json"
    write_atomically(path, discussion.model_dump_json().encode())


def event(kind: str, author: str, data: dict[str, Any]) -> Event:
    """Return a new event that happens now."""
    return Event.model_validate(
        {
            "id": uuid.uuid4().hex[:24],
            "type": kind,
            "createdAt": utc_now(),
            "author": author,
            "data": data,
        }
    )


def comment(author: str, text: str) -> Event:
    """Return a comment event."""
    return event("comment", author, {"edited": False, "hidden": False, "latest": {"raw": text}})


def open_discussion(
    repository: Repository, *, author: str, title: str, description: str, pull_request: bool
) -> Discussion:
    """Open a discussion, or a pull request without changes, which the Hub makes a draft.

    Call it inside :meth:`Repository.writing`.
    """
    num = _next_number(repository)
    discussion = Discussion(
        num=num,
        title=title,
        author=author,
        status="draft" if pull_request else "open",
        is_pull_request=pull_request,
        created_at=utc_now(),
        events=(comment(author, description),),
        target="refs/heads/main" if pull_request else None,
        base=repository.head.oid if pull_request else None,
    )
    if pull_request:
        repository.set_ref(discussion.ref, repository.head.oid)
    save(repository, discussion)
    return discussion


def open_pull_request(
    repository: Repository,
    target: str,
    changes: Sequence[Change],
    message: CommitMessage,
    *,
    base: str,
) -> tuple[Discussion, Commit]:
    """Commit ``changes`` on a new ref and open a pull request for it, in one step.

    Call it inside :meth:`Repository.writing`.
    """
    num = _next_number(repository)
    made = repository.commit(f"refs/pr/{num}", changes, message, base=base)
    discussion = Discussion(
        num=num,
        title=message.title,
        author=message.author,
        status="open",
        is_pull_request=True,
        created_at=utc_now(),
        events=(
            comment(message.author, message.message),
            event("commit", message.author, {"subject": message.title, "oid": made.oid}),
        ),
        target=target,
        base=base,
    )
    save(repository, discussion)
    return discussion, made


def conflicts(repository: Repository, discussion: Discussion) -> list[str]:
    """Return the paths that the pull request and its target changed differently since the base."""
    assert discussion.base is not None
    assert discussion.target is not None
    base = repository.objects.commit(discussion.base)
    theirs = changed_paths(base, repository.resolve(discussion.target))
    ours = changed_paths(base, repository.resolve(discussion.ref))
    return [path for path in ours if path in theirs and ours[path] != theirs[path]]


def merge(repository: Repository, discussion: Discussion, author: str) -> Discussion:
    """Commit the pull request's changes to its target as one commit and return it merged.

    Call it inside :meth:`Repository.writing`.

    Raises:
        HubError: 400 when it is no open pull request, 409 on conflicts.
    """
    if not discussion.is_pull_request or discussion.status not in ("open", "draft"):
        raise HubError(400, f"Discussion {discussion.num} is not an open pull request")
    in_conflict = conflicts(repository, discussion)
    if in_conflict:
        raise HubError(409, f"Merge conflict in {', '.join(in_conflict)}")
    assert discussion.base is not None
    assert discussion.target is not None
    base = repository.objects.commit(discussion.base)
    ours = changed_paths(base, repository.resolve(discussion.ref))
    present = repository.resolve(discussion.target).tree
    made = repository.commit(
        discussion.target,
        [
            Change(path, entry)
            for path, entry in ours.items()
            # Removing what the target has lost meanwhile would be refused, though both sides agree.
            if entry is not None or path in present
        ],
        CommitMessage(author, f"{discussion.title} (#{discussion.num})"),
    )
    changed = discussion.with_event(
        event("status-change", author, {"status": "merged"}),
        status="merged",
        merge_commit=made.oid,
    )
    save(repository, changed)
    return changed


def _next_number(repository: Repository) -> int:
    taken = [discussion.num for discussion in load_all(repository)]
    # A crash may leave a ref without its document, and its number is taken all the same.
    taken += [int(match[1]) for ref in repository.refs if (match := _PR_REF.fullmatch(ref))]
    return max(taken, default=0) + 1
