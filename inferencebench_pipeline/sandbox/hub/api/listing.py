"""Listing models, datasets and spaces: filters, order, pages."""

from __future__ import annotations

import base64
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.hub.context import (
    caller_of,
    flag,
    hub_of,
    next_link,
    number_query,
)
from inferencebench_pipeline.sandbox.hub.describe import (
    FULL_LIST_PROPERTIES,
    LIST_PROPERTIES,
    describe,
    requested_properties,
    tags_of,
)
from inferencebench_pipeline.sandbox.hub.errors import HubError
from inferencebench_pipeline.sandbox.hub.names import RepoKind
from inferencebench_pipeline.sandbox.hub.repository import Repository

DEFAULT_PAGE = 100
# The most that the Hub's own JavaScript client asks for.
MAX_PAGE = 500

_SORT_KEYS: dict[str, Callable[[Repository], str]] = {
    "createdAt": lambda repository: repository.settings.created_at,
    "lastModified": lambda repository: repository.head.created_at,
    "trendingScore": lambda repository: repository.head.created_at,
    # Nobody downloads or likes anything here, so age decides among equals.
    "downloads": lambda repository: repository.settings.created_at,
    "likes": lambda repository: repository.settings.created_at,
}


def list_repositories(request: Request) -> Response:
    """List what the caller may see, newest first unless sorted otherwise, page by page.

    The cursor names the last repository shown, not a position, so that repositories created
    while a client pages are neither repeated nor do they push others out.
    """
    kind: RepoKind = request.path_params["kind"]
    query = request.query_params
    found = [
        repository for repository in hub_of(request).store.all(kind) if _wanted(request, repository)
    ]
    sort = query.get("sort", "trendingScore")
    if sort not in _SORT_KEYS:
        raise HubError(400, f"Invalid sort {sort!r}; use one of {', '.join(_SORT_KEYS)}")
    key = _SORT_KEYS[sort]
    ordered = sorted(
        # The name makes the order total, without which the cursor could skip some.
        ((key(repository), repository.id.full_name, repository) for repository in found),
        key=lambda item: item[:2],
        reverse=query.get("direction", "-1") == "-1",
    )
    if "cursor" in query:
        ordered = _after(ordered, query["cursor"], descending=query.get("direction", "-1") == "-1")
    size = max(1, min(number_query(request, "limit", DEFAULT_PAGE), MAX_PAGE))
    page = ordered[:size]
    headers = next_link(request, cursor=_cursor(page[-1])) if len(ordered) > size else {}
    properties = requested_properties(query.getlist("expand")) or (
        FULL_LIST_PROPERTIES if flag(request, "full") else LIST_PROPERTIES
    )
    if flag(request, "cardData"):
        properties |= {"cardData"}
    return JSONResponse(
        [
            describe(repository, repository.head, hub_of(request).verify_tokens, properties)
            for _, _, repository in page
        ],
        headers=headers,
    )


def _wanted(request: Request, repository: Repository) -> bool:
    query = request.query_params
    owner = repository.id.owner
    if repository.settings.private and not caller_of(request).may_read_private(owner):
        return False
    if "author" in query and query["author"] != owner:
        return False
    searched = [text.lower() for text in query.getlist("search")]
    if not all(text in repository.id.full_name.lower() for text in searched):
        return False
    filters = query.getlist("filter")
    return not filters or set(filters) <= set(tags_of(repository))


def _cursor(item: tuple[str, str, Repository]) -> str:
    return base64.urlsafe_b64encode("\n".join(item[:2]).encode()).decode()


def _after(
    ordered: list[tuple[str, str, Repository]], cursor: str, *, descending: bool
) -> list[tuple[str, str, Repository]]:
    try:
        value, name = base64.urlsafe_b64decode(cursor).decode().split("\n")
    except ValueError as error:
        raise HubError(400, "Invalid cursor") from error
    if descending:
        return [item for item in ordered if item[:2] < (value, name)]
    return [item for item in ordered if item[:2] > (value, name)]


routes = [Route("/api/{kind:plural_kind}", list_repositories, methods=["GET"])]
