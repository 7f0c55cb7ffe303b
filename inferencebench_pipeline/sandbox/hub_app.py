"""The Hub as one ASGI application."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from inferencebench_pipeline.sandbox.hub.api import (
    account,
    admin,
    commit,
    discussions,
    evaluations,
    lfs,
    listing,
    read,
    repos,
    resolve,
    webhooks,
)
from inferencebench_pipeline.sandbox.hub.context import Hub
from inferencebench_pipeline.sandbox.hub.errors import HubError, answer_hub_error
from inferencebench_pipeline.sandbox.hub.evaluations import VerifyTokens
from inferencebench_pipeline.sandbox.hub.identities import Identities, secret_key
from inferencebench_pipeline.sandbox.hub.pages import routes as pages
from inferencebench_pipeline.sandbox.hub.quotas import ActionQuotas, Quotas
from inferencebench_pipeline.sandbox.hub.seed import seed
from inferencebench_pipeline.sandbox.hub.store import HubStore
from inferencebench_pipeline.sandbox.hub.webhooks import Webhooks
from inferencebench_pipeline.sandbox.hub.windows import RateLimiting, RequestWindows


class RawPathRouting:
    """Routes on the path as it was sent, percent-encoded.

    The client sends the revision ``refs/pr/1`` as ``refs%2Fpr%2F1``; decoded first, it could not
    be told from the path that follows. Handlers decode each parameter (``context.param``).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on with its raw path as path."""
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self._app(scope, receive, send)


def create_hub_app(state: Path, *, base_url: str, quotas: Quotas = Quotas()) -> Starlette:  # noqa: B008
    """Return the Hub that keeps everything under ``<state>/hub``.

    Only one process may serve a state folder at a time: refs are kept in memory.

    Args:
        state: the sandbox's state folder.
        base_url: how clients reach this server, such as ``http://127.0.0.1:8000``.
        quotas: actions a user may take per hour.
    """
    root = state / "hub"
    root.mkdir(parents=True, exist_ok=True)
    identities = Identities.with_defaults(root)
    store = HubStore(root)
    seed(store)
    modules = (
        account, repos, listing, commit, lfs, discussions, evaluations, webhooks, read, resolve,
        # The pages come last: their patterns match the addresses of the others, too.
        admin, pages,
    )  # fmt: skip
    windows = RequestWindows()
    app = Starlette(
        routes=[route for module in modules for route in module.routes],
        middleware=[Middleware(RateLimiting, windows=windows), Middleware(RawPathRouting)],
        exception_handlers={HubError: answer_hub_error},
    )
    app.state.hub = Hub(
        store,
        identities,
        ActionQuotas(quotas),
        base_url.rstrip("/"),
        Webhooks(root),
        VerifyTokens(secret_key(root / "verify.key")),
        windows,
    )
    return app
