"""The routes of discussions and pull requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.hub import discussions
from inferencebench_pipeline.sandbox.hub.context import (
    REPO_API,
    hub_of,
    json_body,
    number_query,
    require_write,
    text_field,
    visible_repository,
    writer_of,
)
from inferencebench_pipeline.sandbox.hub.discussions import Discussion
from inferencebench_pipeline.sandbox.hub.errors import HubError
from inferencebench_pipeline.sandbox.hub.identities import Caller
from inferencebench_pipeline.sandbox.hub.repository import MAIN, Repository, changed_paths

PAGE = 20


def list_discussions(request: Request) -> Response:
    """List discussions, newest first; drafts appear under ``all`` and ``draft`` only."""
    repository = visible_repository(request)
    query = request.query_params
    found = [
        discussion
        for discussion in discussions.load_all(repository)
        if _has_type(discussion, query.get("type", "all"))
        and _has_status(discussion, query.get("status", "all"))
        and query.get("author", discussion.author) == discussion.author
    ]
    start = number_query(request, "p", 0) * PAGE
    return JSONResponse(
        {
            "discussions": [_summary(repository, item) for item in found[start : start + PAGE]],
            "count": len(found),
            "start": start,
        }
    )


def details(request: Request) -> Response:
    """Show one discussion with its events and, for a pull request, what it would change."""
    repository = visible_repository(request)
    discussion = discussions.load(repository, request.path_params["num"])
    answer = _summary(repository, discussion) | {
        "events": [
            item.model_dump() | {"author": {"name": item.author}} for item in discussion.events
        ]
    }
    if discussion.is_pull_request:
        answer["changes"] = {"base": discussion.target}
        if discussion.merge_commit is not None:
            answer["changes"]["mergeCommitId"] = discussion.merge_commit
        is_open = discussion.status in ("open", "draft")
        answer["filesWithConflicts"] = (
            discussions.conflicts(repository, discussion) if is_open else []
        )
        answer["diff"] = _diff(repository, discussion)
    return JSONResponse(answer)


async def create(request: Request) -> Response:
    """Open a discussion, or a pull request without changes."""
    caller = writer_of(request)
    repository = visible_repository(request)
    body = await json_body(request)
    assert caller.name is not None
    with repository.writing():
        made = discussions.open_discussion(
            repository,
            author=caller.name,
            title=text_field(body, "title"),
            description=str(body.get("description") or ""),
            pull_request=body.get("pullRequest") is True,
        )
    return JSONResponse(_summary(repository, made))


async def comment(request: Request) -> Response:
    """Add a comment; anyone who may see the repository can."""
    caller = writer_of(request)
    body = await json_body(request)
    assert caller.name is not None
    event = discussions.comment(caller.name, text_field(body, "comment"))
    await _change(request, lambda discussion, _: discussion.with_event(event))
    return JSONResponse({"newMessage": event.model_dump() | {"author": {"name": event.author}}})


async def rename(request: Request) -> Response:
    """Change the title; its author and writers may."""
    title = text_field(await json_body(request), "title")

    def change(discussion: Discussion, author: str) -> Discussion:
        data = {"from": discussion.title, "to": title}
        return discussion.with_event(discussions.event("title-change", author, data), title=title)

    _require_author(request)
    changed = await _change(request, change)
    return JSONResponse({"newTitle": _wire(changed)})


async def set_status(request: Request) -> Response:
    """Open or close; its author and writers may. A draft becomes a real request by opening."""
    body = await json_body(request)
    status = body.get("status")
    if status not in ("open", "closed"):
        raise HubError(400, f"Invalid status {status!r}; use 'open' or 'closed'")

    def change(discussion: Discussion, author: str) -> Discussion:
        # An error on the Hub as well: a client whose answer was lost has to look first.
        if discussion.status in (status, "merged"):
            raise HubError(400, f"Discussion {discussion.num} is already {discussion.status}")
        if body.get("comment"):
            said = discussions.comment(author, str(body["comment"]))
            discussion = discussion.with_event(said)
        event = discussions.event("status-change", author, {"status": status})
        return discussion.with_event(event, status=status)

    _require_author(request)
    changed = await _change(request, change)
    return JSONResponse({"newStatus": _wire(changed)})


async def merge(request: Request) -> Response:
    """Merge a pull request; writers of the repository may."""
    caller = writer_of(request)
    repository = visible_repository(request)
    require_write(caller, repository)
    assert caller.name is not None
    author = caller.name
    discussion = discussions.load(repository, request.path_params["num"])

    def perform() -> Discussion:
        with repository.writing():
            return discussions.merge(repository, discussion, author)

    before = repository.head.oid
    merged = await run_in_threadpool(perform)
    hub = hub_of(request)
    hub.webhooks.content_changed(repository, hub.base_url, MAIN, before, repository.head.oid)
    return JSONResponse({"message": "merged", "mergeCommitId": merged.merge_commit})


async def _change(request: Request, change: Callable[[Discussion, str], Discussion]) -> Discussion:
    caller: Caller = writer_of(request)
    repository = visible_repository(request)
    assert caller.name is not None
    with repository.writing():
        discussion = discussions.load(repository, request.path_params["num"])
        changed = change(discussion, caller.name)
        discussions.save(repository, changed)
    return changed


def _require_author(request: Request) -> None:
    caller = writer_of(request)
    repository = visible_repository(request)
    discussion = discussions.load(repository, request.path_params["num"])
    if discussion.author != caller.name:
        require_write(caller, repository)


def _summary(repository: Repository, discussion: Discussion) -> dict[str, Any]:
    return {
        "num": discussion.num,
        "title": discussion.title,
        "author": {"name": discussion.author, "type": "user"},
        "status": discussion.status,
        "createdAt": discussion.created_at,
        "isPullRequest": discussion.is_pull_request,
        "repo": {"name": repository.id.full_name, "type": repository.id.kind.value},
        "numComments": sum(event.type == "comment" for event in discussion.events),
    }


def _wire(discussion: Discussion) -> dict[str, Any]:
    event = discussion.events[-1]
    return event.model_dump() | {"author": {"name": event.author}}


def _has_type(discussion: Discussion, wanted: str) -> bool:
    return wanted == "all" or (wanted == "pull_request") == discussion.is_pull_request


def _has_status(discussion: Discussion, wanted: str) -> bool:
    if wanted == "closed":
        return discussion.status in ("closed", "merged")
    return wanted in ("all", discussion.status)


def _diff(repository: Repository, discussion: Discussion) -> str:
    assert discussion.base is not None
    before = repository.objects.commit(discussion.base)
    after = repository.resolve(discussion.ref)
    return "".join(f"diff --git a/{path} b/{path}\n" for path in changed_paths(before, after))


_ONE = f"{REPO_API}/discussions/{{num:int}}"

routes = [
    Route(f"{REPO_API}/discussions", list_discussions, methods=["GET"]),
    Route(f"{REPO_API}/discussions", create, methods=["POST"]),
    Route(_ONE, details, methods=["GET"]),
    Route(f"{_ONE}/comment", comment, methods=["POST"]),
    Route(f"{_ONE}/title", rename, methods=["POST"]),
    Route(f"{_ONE}/status", set_status, methods=["POST"]),
    Route(f"{_ONE}/merge", merge, methods=["POST"]),
]
