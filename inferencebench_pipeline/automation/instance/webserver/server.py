"""The command ``dagster-webserver`` with the guard before the application that it serves."""

from __future__ import annotations

import os
import sys

import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster_webserver import cli

from .app import GuardedWebserver
from .environment import ALLOWED_VARIABLE, exposed_secrets
from .guard import HOSTS_VARIABLE, MAX_QUERY_BYTES, Guard

_SERVE = "host_dagster_ui_with_workspace_process_context"
"""The last step of Dagster's own command, which builds the app and runs it: the one we replace."""


def serve(
    context: WorkspaceProcessContext,
    host: str | None,
    port: int | None,
    path_prefix: str,
    log_level: str,
    live_data_poll_rate: int | None = None,
) -> None:
    """Run the webserver with the guard before it; Dagster's command calls this with its options."""
    host = host or "127.0.0.1"
    if named := exposed_secrets(host, os.environ):
        sys.exit(
            f"{', '.join(named)} must not be in the environment of a webserver on {host}: tokens "
            f"belong into run processes only; {ALLOWED_VARIABLE} names what is no secret, or what "
            "Dagster itself needs there (docs/ui-safety.md)"
        )
    if path_prefix and (not path_prefix.startswith("/") or path_prefix.endswith("/")):
        sys.exit(f"--path-prefix {path_prefix}: begin it with a slash, and end it without one")
    uvicorn.run(
        guarded(context, path_prefix, live_data_poll_rate),
        host=host,
        port=port or 3000,
        log_level=log_level,
        # Unlike the other implementation, this one bounds the length of a request's headers.
        http="h11",
        ws_max_size=MAX_QUERY_BYTES,
    )


def guarded(
    context: WorkspaceProcessContext, path_prefix: str = "", live_data_poll_rate: int | None = None
) -> Guard:
    """Return the guard with Dagster's webserver behind it, as the environment says."""
    app = GuardedWebserver(
        context, path_prefix, live_data_poll_rate, read_only=context.read_only
    ).create_asgi_app()
    hosts = [name.strip() for name in os.environ.get(HOSTS_VARIABLE, "").split(",")]
    return Guard(app, hosts=filter(None, hosts), read_only=context.read_only)


def main() -> None:
    """Run ``dagster-webserver`` with the guard before it; takes the same options."""
    if not hasattr(cli, _SERVE):
        sys.exit(f"this dagster-webserver has no {_SERVE}: the guard does not fit it")
    setattr(cli, _SERVE, serve)
    cli.cli(auto_envvar_prefix="DAGSTER_WEBSERVER")
