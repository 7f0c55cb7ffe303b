"""Creating, hiding and deleting repositories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.hub.context import (
    REPO_API,
    Hub,
    hub_of,
    json_body,
    require_write,
    text_field,
    visible_repository,
    writer_of,
)
from inferencebench_pipeline.sandbox.hub.errors import HubError, repository_not_found
from inferencebench_pipeline.sandbox.hub.identities import Caller
from inferencebench_pipeline.sandbox.hub.names import RepoId, RepoKind, check_name


async def create(request: Request) -> Response:
    """Create a repository; 409 with its ``url`` when there is one already."""
    caller = writer_of(request)
    body = await json_body(request)
    return await run_in_threadpool(_create, hub_of(request), caller, body)


async def delete(request: Request) -> Response:
    """Delete a repository for good."""
    caller = writer_of(request)
    hub = hub_of(request)
    repo_id = _named(await json_body(request), caller)
    repository = hub.store.find(repo_id)
    if repository is None:
        raise repository_not_found()
    if not caller.may_write(repo_id.owner):
        # The same answer as for an absent one, so that nobody learns of it.
        if repository.settings.private:
            raise repository_not_found()
        raise HubError(403, f"Forbidden: you cannot delete {repo_id.full_name}")
    await run_in_threadpool(hub.store.delete, repository)
    return JSONResponse({})


async def update_settings(request: Request) -> Response:
    """Make a repository private or public."""
    caller = writer_of(request)
    repository = visible_repository(request)
    require_write(caller, repository)
    visibility = (await json_body(request)).get("visibility")
    if visibility not in ("private", "public"):
        raise HubError(400, "'visibility' must be 'private' or 'public'")
    await run_in_threadpool(repository.set_private, visibility == "private")
    return JSONResponse({"private": repository.settings.private})


def _create(hub: Hub, caller: Caller, body: Mapping[str, Any]) -> Response:
    repo_id = _named(body, caller)
    check_name(repo_id.name, what="repository name")
    assert caller.name is not None
    # Spent first, because the Hub counts the request even when the repository exists.
    hub.quotas.spend_repository(caller.name)
    if not caller.may_write(repo_id.owner):
        raise HubError(
            403,
            f"You don't have the rights to create a {repo_id.kind} under the namespace "
            f'"{repo_id.owner}"',
        )
    repository, created = hub.store.create(
        repo_id,
        author=caller.name,
        private=body.get("visibility") == "private" or body.get("private") is True,
        sdk=body.get("sdk") if repo_id.kind is RepoKind.SPACE else None,
    )
    answer = {
        "url": hub.url(repo_id.web_path),
        "name": repo_id.full_name,
        "id": repository.settings.created_at,
    }
    if created:
        return JSONResponse(answer)
    raise HubError(
        409, f"You already created this {repo_id.kind} repo: {repo_id.full_name}", extra=answer
    )


def _named(body: Mapping[str, Any], caller: Caller) -> RepoId:
    try:
        kind = RepoKind(body.get("type") or "model")
    except ValueError as error:
        raise HubError(400, f"Invalid repository type {body.get('type')!r}") from error
    assert caller.name is not None
    return RepoId(kind, body.get("organization") or caller.name, text_field(body, "name"))


routes = [
    Route("/api/repos/create", create, methods=["POST"]),
    Route("/api/repos/delete", delete, methods=["DELETE"]),
    Route(f"{REPO_API}/settings", update_settings, methods=["PUT"]),
]
