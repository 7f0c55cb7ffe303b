"""What every kind of engine is once it runs, and the questions we ask it over HTTP."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from inferencebench_pipeline import __version__
from inferencebench_pipeline.measure.child import log_tail
from inferencebench_pipeline.measure.engine_keys import api_key
from inferencebench_pipeline.measure.errors import (
    EngineAccessError,
    EngineUnreachableError,
    ModelNotServedError,
)
from inferencebench_pipeline.measure.provenance import EngineProvenance, ModelProvenance
from inferencebench_pipeline.measure.spec import BenchmarkSpec, Quantization

_MOST_ANSWER_BYTES: Final = 4 * 2**20
_POLL_S: Final = 0.05
_PROBE_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True)
class Access:
    """What it takes to ask an engine, besides its address."""

    api_key_env: str | None = None
    """The environment variable that holds the API key."""
    proxy: str | None = None
    """The HTTP proxy to go through; the environment's proxies are not followed."""

    def key_for(self, url: str) -> str | None:
        """Return the API key to send along with a question to ``url``; None when there is none.

        Raises:
            EngineAccessError: it is not set, or not for that address.
        """
        return api_key(self.api_key_env, url, proxy=self.proxy)


NO_KEY: Final = Access()


@dataclass(frozen=True)
class RunningEngine:
    """An engine that answers, and what is known about it."""

    base_url: str
    """Address of its API including ``/v1``."""
    api_key_env: str | None
    model: ModelProvenance
    engine: EngineProvenance
    quantization: Quantization | None
    on_this_host: bool
    """Whether the hardware of this machine is the hardware that was measured."""
    warnings: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    """The engine's process, when we started it."""
    proxy: str | None = None
    """The HTTP proxy on the way to it."""

    @property
    def access(self) -> Access:
        """What it takes to ask it."""
        return Access(self.api_key_env, self.proxy)


@dataclass(frozen=True)
class HttpAnswer:
    """What an engine answered to a question."""

    status: int
    content: Any
    """The body as JSON; None when it is not."""
    body: bytes


def ask(url: str, access: Access, timeout_s: float) -> HttpAnswer:
    """Return the engine's answer to ``GET url``, whatever its status.

    Raises:
        OSError: nothing answered in time.
        EngineAccessError: the API key is not for that address; nothing was sent.
    """
    headers = {"User-Agent": f"inferencebench-pipeline/{__version__}"}
    if key := access.key_for(url):
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url, headers=headers)  # noqa: S310 - spec allows http(s) only
    # Set on the request: a ProxyHandler would follow the environment's no_proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    if access.proxy:
        request.set_proxy(urlsplit(access.proxy).netloc, "http")
    try:
        with opener.open(request, timeout=timeout_s) as response:
            status, body = response.status, response.read(_MOST_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read(_MOST_ANSWER_BYTES)
    except http.client.HTTPException as error:
        raise ConnectionError(f"it does not speak HTTP ({error!r:.100})") from error
    try:
        return HttpAnswer(status, json.loads(body), body)
    except ValueError:
        return HttpAnswer(status, None, body)


def wait_until_healthy(
    root_url: str, deadline_s: float, process: subprocess.Popen[bytes], log: Path
) -> None:
    """Return once ``GET /health`` of an engine that we started answers 200.

    Raises:
        EngineUnreachableError: it exited, or the deadline passed; with the end of its log.
    """
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise EngineUnreachableError(
                f"the engine exited with status {process.returncode} before it was ready; the end "
                f"of {log}: {log_tail(log)}"
            )
        try:
            if ask(f"{root_url}/health", NO_KEY, _PROBE_TIMEOUT_S).status == http.HTTPStatus.OK:
                return
        except OSError:
            pass  # not listening yet
        time.sleep(_POLL_S)
    raise EngineUnreachableError(
        f"the engine was not ready within deadlines.engine_start_s = {deadline_s:g} s; the end of "
        f"{log}: {log_tail(log)}"
    )


def require_model(base_url: str, spec: BenchmarkSpec, access: Access) -> tuple[str, ...]:
    """Make sure that the engine serves the spec's model; return warnings.

    Raises:
        EngineUnreachableError: nothing answers at ``base_url``.
        EngineAccessError: the engine refuses our API key.
        ModelNotServedError: it lists its models, and ours is not among them.
    """
    timeout_s = min(_PROBE_TIMEOUT_S, spec.deadlines.engine_start_s)
    try:
        answer = ask(f"{base_url}/models", access, timeout_s)
    except OSError as error:
        reason = getattr(error, "reason", None) or error
        raise EngineUnreachableError(
            f"no engine answers at {base_url}/models: {reason}; start it or correct engine.base_url"
        ) from error
    if answer.status in (401, 403):
        raise EngineAccessError(
            f"the engine at {base_url} refuses access (HTTP {answer.status}); put a valid key in "
            f"the environment variable that engine.api_key_env names "
            f"({access.api_key_env or 'it names none'})"
        )
    if answer.status >= 500:
        raise EngineUnreachableError(
            f"the engine at {base_url}/models answers HTTP {answer.status}; is it still loading?"
        )
    models = answer.content.get("data") if isinstance(answer.content, dict) else None
    if answer.status != http.HTTPStatus.OK or not isinstance(models, list):
        return (f"the engine does not list its models (HTTP {answer.status} from /v1/models)",)
    served = sorted(str(row.get("id")) for row in models if isinstance(row, dict))
    wanted = spec.model.served_name or spec.model.id
    if wanted not in served:
        raise ModelNotServedError(
            f"the engine at {base_url} does not serve {wanted!r}, it serves "
            f"{', '.join(served[:10]) or 'nothing'}; correct model.id or model.served_name"
        )
    return ()


def free_port() -> int:
    """Return a loopback port that is free now, for an engine that we start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def sha256_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in lower-case hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_json(content: object) -> str:
    """Return the SHA-256 of plain data as canonical JSON: sorted keys, no spaces."""
    return sha256_text(json.dumps(content, sort_keys=True, separators=(",", ":")))
