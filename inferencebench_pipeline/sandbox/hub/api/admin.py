"""The routes of the sandbox alone: users, tokens and limits on request, for tests and demos."""

from __future__ import annotations

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.hub.context import (
    hub_of,
    json_body,
    number_field,
    text_field,
)
from inferencebench_pipeline.sandbox.hub.errors import HubError
from inferencebench_pipeline.sandbox.hub.identities import Role, User
from inferencebench_pipeline.sandbox.hub.names import check_name
from inferencebench_pipeline.sandbox.hub.windows import KINDS


async def put_user(request: Request) -> Response:
    """Create or replace a user: ``{"name", "organisations": {org: "read"|"write"}}``."""
    body = await json_body(request)
    name = check_name(text_field(body, "name"), what="user name")
    try:
        user = User(organisations=body.get("organisations", {}))
    except ValidationError as error:
        raise HubError(400, f"Invalid 'organisations': {error}") from error
    hub_of(request).identities.put_user(name, user)
    return JSONResponse({"name": name, **user.model_dump(mode="json")})


async def issue_token(request: Request) -> Response:
    """Issue a token: ``{"user", "role": "read"|"write"}`` gives ``{"token"}``."""
    body = await json_body(request)
    try:
        role = Role(str(body.get("role", "read")))
    except ValueError as error:
        raise HubError(400, "'role' must be 'read' or 'write'") from error
    token = hub_of(request).identities.issue_token(text_field(body, "user"), role)
    return JSONResponse({"token": token})


async def limit_requests(request: Request) -> Response:
    """Limit requests: ``{"limits": {"api"|"resolvers"|"pages": n}, "window_s"}``; none to lift."""
    body = await json_body(request)
    limits = body.get("limits", {})
    if not isinstance(limits, dict) or not limits.keys() <= set(KINDS):
        raise HubError(400, f"'limits' must name kinds of requests: {', '.join(KINDS)}")
    allowed = {kind: number_field(limits, kind) for kind in limits}
    hub_of(request).windows.set_limits(allowed, number_field({"window_s": 300} | body, "window_s"))
    return JSONResponse({"limits": allowed})


routes = [
    Route("/_sandbox/users", put_user, methods=["POST"]),
    Route("/_sandbox/tokens", issue_token, methods=["POST"]),
    Route("/_sandbox/limits", limit_requests, methods=["POST"]),
]
