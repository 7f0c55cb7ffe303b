"""The server of the sandbox: both services in one process, on loopback, for one state folder."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import json
import os
import shlex
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import write_atomically
from inferencebench_pipeline.sandbox.faults import FaultInjection
from inferencebench_pipeline.sandbox.hub.identities import DEFAULT_ORGANISATION
from inferencebench_pipeline.sandbox.hub.quotas import Quotas
from inferencebench_pipeline.sandbox.hub_app import create_hub_app
from inferencebench_pipeline.sandbox.sigstore.app import (
    create_sigstore_app,
    identity_token_file,
    write_policy,
    write_trust_config,
)

_GRACE_S = 1
"""The seconds that requests in flight get at shutdown before they are cancelled."""

_READY_POLL_S = 0.01


class SandboxError(PermanentError):
    """The sandbox cannot start with these options."""


@dataclass(frozen=True)
class ServeOptions:
    """The options of the server."""

    state: Path
    host: str = "127.0.0.1"
    hub_port: int | None = None
    """The port, or None for the remembered port or else a free one."""
    sigstore_port: int | None = None
    quotas: Quotas = field(default_factory=Quotas)


def serve(options: ServeOptions, *, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    When both services answer, ``<state>/env`` is written and the text of what to do next handed
    to ``announce``; the file is removed again at shutdown.

    Raises:
        SandboxError: the host is not loopback, an explicitly given port is taken, or another
            process serves this state folder.
    """
    state = options.state.resolve()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _sole_server_of(state):
        # A killed predecessor may have left one, which names addresses that nobody answers at.
        env_file = state / "env"
        env_file.unlink(missing_ok=True)
        try:
            asyncio.run(_serve(options, state, env_file, announce))
        finally:
            env_file.unlink(missing_ok=True)


async def _serve(
    options: ServeOptions, state: Path, env_file: Path, announce: Callable[[str], None]
) -> None:
    remembered = _remembered_ports(state)
    with (
        _bound(options.host, options.hub_port, remembered.get("hub")) as hub_socket,
        _bound(options.host, options.sigstore_port, remembered.get("sigstore")) as sigstore_socket,
    ):
        ports = {"hub": _port(hub_socket), "sigstore": _port(sigstore_socket)}
        write_atomically(state / "ports.json", json.dumps(ports).encode())
        hub_url, sigstore_url = (_url(options.host, ports[name]) for name in ("hub", "sigstore"))
        hub = create_hub_app(state, base_url=hub_url, quotas=options.quotas)
        sigstore = create_sigstore_app(state, base_url=sigstore_url)
        environment = _environment(state, hub_url, sigstore_url)
        servers = [_server(hub, options.host), _server(sigstore, options.host)]
        _stop_on_signals(servers)
        sockets = [hub_socket, sigstore_socket]
        running = [
            asyncio.create_task(server.serve(sockets=[sock]))
            for server, sock in zip(servers, sockets, strict=True)
        ]
        if await _all_started(servers, running):
            lines = [
                f"{key}={shlex.quote(value) if value else ''}\n"
                for key, value in environment.items()
            ]
            write_atomically(env_file, "".join(lines).encode())
            announce(_banner(hub_url, sigstore_url, env_file))
        await asyncio.gather(*running)


class _Server(uvicorn.Server):
    """A server that leaves signals to :func:`_stop_on_signals`, which stops both at once."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server(app: Starlette, host: str) -> _Server:
    # A page in a browser that reaches us under another name (DNS rebinding) is turned away.
    # The middleware hands uvicorn's own ``send`` on, which the fault injection needs.
    guarded = TrustedHostMiddleware(
        FaultInjection(app), allowed_hosts=[host, "localhost"], www_redirect=False
    )
    return _Server(
        uvicorn.Config(
            guarded,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=_GRACE_S,
            timeout_keep_alive=60,
        )
    )


def _stop_on_signals(servers: list[_Server]) -> None:
    def stop() -> None:
        for server in servers:
            # A second signal does not wait for requests in flight.
            server.force_exit = server.should_exit
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


async def _all_started(servers: list[_Server], running: list[asyncio.Task[None]]) -> bool:
    # A flag is all by which uvicorn tells that it has started.
    while not all(server.started for server in servers):
        if any(task.done() for task in running):
            return False
        await asyncio.sleep(_READY_POLL_S)
    return True


@contextlib.contextmanager
def _sole_server_of(state: Path) -> Iterator[None]:
    # Opened without emptying it: the process that holds the lock has left its id in it.
    with (state / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise SandboxError(
                f"a sandbox (process {lock.read().strip()}) already serves {state}; use it, "
                "stop it, or choose another state folder"
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def _bound(host: str, wanted: int | None, remembered: int | None) -> Iterator[socket.socket]:
    """Yield a listening socket: on the wanted port, or the remembered one, or a free one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise SandboxError(f"host {host!r} is not an IP address; use 127.0.0.1") from error
    if not address.is_loopback:
        raise SandboxError(
            f"refusing to serve the sandbox on {host}: its tokens and signatures are make-believe "
            "and must not be reachable from elsewhere; use 127.0.0.1"
        )
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    # asyncio sends small writes at once (TCP_NODELAY) only where the protocol is named: without it
    # every answer of two writes costs the client a delayed acknowledgement, 40 ms.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        # A restart gets its port back although connections of the last one linger.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, wanted if wanted is not None else remembered or 0))
        except OSError as error:
            if wanted is not None:
                raise SandboxError(
                    f"port {wanted} on {host} is not free ({error.strerror}); choose another"
                ) from error
            listening.bind((host, 0))
        yield listening


def _remembered_ports(state: Path) -> dict[str, int]:
    try:
        ports = json.loads((state / "ports.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return {str(name): int(port) for name, port in ports.items()}


def _port(listening: socket.socket) -> int:
    port: int = listening.getsockname()[1]
    return port


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _environment(state: Path, hub_url: str, sigstore_url: str) -> dict[str, str]:
    """Write the files for a client, and return the environment that names them."""
    return {
        "HF_ENDPOINT": hub_url,
        # Emptied, or a real token of the surrounding shell would be sent here, and win.
        "HF_TOKEN": "",
        "HUGGING_FACE_HUB_TOKEN": "",
        "HF_TOKEN_PATH": str(state / "hub/tokens/write"),
        # The client's cache is keyed by repository alone, so each endpoint needs its own.
        "HF_HOME": str(state / "hf-home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1,localhost,::1",
        "no_proxy": "127.0.0.1,localhost,::1",
        "INFERENCEBENCH_ORGANISATION": DEFAULT_ORGANISATION,
        "INFERENCEBENCH_TRUST_CONFIG": str(write_trust_config(state, sigstore_url)),
        "INFERENCEBENCH_POLICY": str(write_policy(state)),
        "INFERENCEBENCH_IDENTITY_TOKEN_FILE": str(identity_token_file(state)),
        "INFERENCEBENCH_LOG_VIEWER": f"{sigstore_url}/log/v2/{{index}}",
        "INFERENCEBENCH_SANDBOX_SIGSTORE": sigstore_url,
        "INFERENCEBENCH_SANDBOX_PID": str(os.getpid()),
    }


def _banner(hub_url: str, sigstore_url: str, env_file: Path) -> str:
    return (
        "Sandbox on loopback. What it stores and signs proves nothing to anyone else.\n"
        f"  Hub       {hub_url}\n"
        f"  Sigstore  {sigstore_url}\n"
        f"  use it    set -a; . {shlex.quote(str(env_file))}; set +a\n"
        "Stop with Ctrl+C.\n"
    )
