"""The routes of a user's webhooks."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.hub.context import hub_of, json_body, writer_of
from inferencebench_pipeline.sandbox.hub.errors import HubError
from inferencebench_pipeline.sandbox.hub.webhooks import Webhook, new_hook_id


def list_webhooks(request: Request) -> Response:
    """List the caller's webhooks."""
    return JSONResponse([hook.wire() for hook in hub_of(request).webhooks.of(_owner(request))])


async def create(request: Request) -> Response:
    """Register a webhook: ``{"watched", "domains", "url", "secret"?}``."""
    owner = _owner(request)
    hook = _parsed({**await json_body(request), "id": new_hook_id(), "owner": owner})
    return _answer(hub_of(request).webhooks.put(hook))


def read(request: Request) -> Response:
    """Show one webhook."""
    return _answer(hub_of(request).webhooks.find(_owner(request), _id(request)))


async def update(request: Request) -> Response:
    """Change what a webhook watches, and optionally its address, domains and secret."""
    body = await json_body(request)

    def change(hook: Webhook) -> Webhook:
        watched = body.get("watched") or [item.model_dump() for item in hook.watched]
        return _parsed(hook.model_dump() | body | {"watched": watched})

    return _answer(hub_of(request).webhooks.change(_owner(request), _id(request), change))


def switch(request: Request) -> Response:
    """Enable or disable a webhook."""
    disabled = request.url.path.endswith("/disable")
    changed = hub_of(request).webhooks.change(
        _owner(request),
        _id(request),
        lambda hook: hook.model_copy(update={"disabled": disabled}),
    )
    return _answer(changed)


def delete(request: Request) -> Response:
    """Remove a webhook."""
    hub_of(request).webhooks.delete(_owner(request), _id(request))
    return JSONResponse({"success": True})


def _owner(request: Request) -> str:
    name = writer_of(request).name
    assert name is not None
    return name


def _id(request: Request) -> str:
    return str(request.path_params["id"])


def _parsed(document: dict[str, Any]) -> Webhook:
    try:
        return Webhook.model_validate(document)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise HubError(400, f"{place!r}: {problem['msg']}") from error


def _answer(hook: Webhook) -> Response:
    return JSONResponse({"webhook": hook.wire()})


_ALL = "/api/settings/webhooks"
_ONE = f"{_ALL}/{{id}}"

routes = [
    Route(_ALL, list_webhooks, methods=["GET"]),
    Route(_ALL, create, methods=["POST"]),
    Route(_ONE, read, methods=["GET"]),
    Route(_ONE, update, methods=["POST"]),
    Route(_ONE, delete, methods=["DELETE"]),
    Route(f"{_ONE}/enable", switch, methods=["POST"]),
    Route(f"{_ONE}/disable", switch, methods=["POST"]),
]
