"""A running engine of any kind, and the questions that we ask it over HTTP."""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from inferencebench_pipeline import __version__
from inferencebench_pipeline.measure.child_process import log_tail
from inferencebench_pipeline.measure.errors import (
    EngineAccessError,
    EngineAnswerError,
    EngineUnreachableError,
    ModelNotServedError,
)
from inferencebench_pipeline.measure.provenance.document import EngineProvenance, ModelProvenance
from inferencebench_pipeline.measure.spec.engine_keys import api_key
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.spec.stated_parts import Quantization
from inferencebench_pipeline.untrusted import (
    AnswerTooLargeError,
    Bounds,
    HttpAnswer,
    JsonDocumentError,
    NoAnswerError,
    exchange,
    printable,
)

_MOST_ANSWER_BYTES: Final = 4 * 2**20
_POLL_S: Final = 0.05
_PROBE_TIMEOUT_S: Final = 10.0
_SHOWN_NAMES: Final = 10
_SHOWN_CHARACTERS: Final = 100


@dataclass(frozen=True)
class Access:
    """The key and the proxy that a question to an engine needs."""

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
    """True when the hardware of this machine is the hardware that was measured."""
    warnings: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = None
    """The engine's process, when we started it."""
    proxy: str | None = None
    """The HTTP proxy on the way to it."""

    @property
    def access(self) -> Access:
        """The key and the proxy that a question to it needs."""
        return Access(self.api_key_env, self.proxy)


def ask(
    url: str, access: Access, timeout_s: float, *, content: dict[str, object] | None = None
) -> HttpAnswer:
    """Return the engine's answer to ``GET url``, or to a POST of ``content``, of whatever status.

    A redirect is an answer like any other: the API key goes to the address of the spec only.

    Args:
        url: an address of the engine.
        access: the key and the proxy.
        timeout_s: for the whole answer.
        content: plain data to send as JSON.

    Raises:
        NoAnswerError: nothing answered in time.
        AnswerTooLargeError: the answer is larger than any engine's.
        EngineAccessError: the API key is not for that address; nothing was sent.
    """
    headers = {"User-Agent": f"inferencebench-pipeline/{__version__}"}
    if key := access.key_for(url):
        headers["Authorization"] = f"Bearer {key}"
    if content is not None:
        headers["Content-Type"] = "application/json"
    return exchange(
        "GET" if content is None else "POST",
        url,
        Bounds(max_bytes=_MOST_ANSWER_BYTES, whole_s=timeout_s),
        headers=headers,
        body=None if content is None else json.dumps(content).encode(),
        proxy=access.proxy,
    )


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
            left_s = max(deadline - time.monotonic(), _POLL_S)
            probe_s = min(_PROBE_TIMEOUT_S, left_s)
            if ask(f"{root_url}/health", NO_KEY, probe_s).status == HTTPStatus.OK:
                return
        except (NoAnswerError, AnswerTooLargeError):
            pass  # not listening yet, or something else still has the port
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
        EngineAnswerError: it answers with something that no engine does.
        ModelNotServedError: it lists its models, and ours is not among them.
    """
    timeout_s = min(_PROBE_TIMEOUT_S, spec.deadlines.engine_start_s)
    url = f"{base_url}/models"
    try:
        answer = ask(url, access, timeout_s)
    except NoAnswerError as error:
        raise EngineUnreachableError(
            f"no engine answers at {url}: {error}; start it or correct engine.base_url"
        ) from error
    except AnswerTooLargeError as error:
        raise EngineAnswerError(f"{error} Correct engine.base_url") from error
    if answer.status in (401, 403):
        raise EngineAccessError(
            f"the engine at {base_url} refuses access (HTTP {answer.status}); put a valid key in "
            f"the environment variable that engine.api_key_env names "
            f"({access.api_key_env or 'it names none'})"
        )
    # Worth another try, unlike the refusal above: a server that still loads answers like this.
    if answer.status >= 500:
        raise EngineUnreachableError(
            f"the engine at {url} answers HTTP {answer.status}; is it still loading?"
        )
    if answer.location is not None:
        raise EngineAnswerError(
            f"the engine at {url} redirects to {printable(answer.location)} (HTTP "
            f"{answer.status}), which is not followed: a key is sent to engine.base_url only; name "
            "the engine's own address there"
        )
    served = _models_listed(answer)
    # A server that lists nothing may serve the model all the same, so this is a warning only.
    if served is None:
        return (f"the engine does not list its models (HTTP {answer.status} from /v1/models)",)
    wanted = spec.model.served_name or spec.model.id
    if wanted not in served:
        shown = ", ".join(printable(name, _SHOWN_CHARACTERS) for name in served[:_SHOWN_NAMES])
        raise ModelNotServedError(
            f"the engine at {base_url} does not serve {wanted!r}, it serves {shown or 'nothing'}"
            f"{f' and {len(served) - _SHOWN_NAMES} more' if len(served) > _SHOWN_NAMES else ''}; "
            "correct model.id or model.served_name"
        )
    return ()


def _models_listed(answer: HttpAnswer) -> list[str] | None:
    """Return the names in an answer to ``/v1/models``; None when it is no list of models.

    Raises:
        EngineAnswerError: it is a document that no reader can be asked to follow.
    """
    if answer.status != HTTPStatus.OK:
        return None
    try:
        content = answer.json()
    except JsonDocumentError as error:
        if isinstance(error.__cause__, json.JSONDecodeError):
            return None  # a page, as from a server that answers everything with one
        raise EngineAnswerError(
            f"{error}; no engine answers like this: correct engine.base_url"
        ) from error
    models = content.get("data") if isinstance(content, dict) else None
    if not isinstance(models, list):
        return None
    return sorted(str(row.get("id")) for row in models if isinstance(row, dict))


def free_port() -> int:
    """Return a loopback port that is free now, for an engine that we start."""
    # Closing the probe frees the port for the engine, and for anybody who is faster.
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
