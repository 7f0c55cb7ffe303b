"""The HTTP client ``huggingface_hub`` is made to use: with timeouts, and without hidden retries.

The library's own client has no time limit at all, and part of its calls retry by rules that wait
as long as a server says (``Retry-After: 86400`` is obeyed), while its most important call, the
commit, never retries. Here every request of ours ends in time and fails at once; the one retry
policy is :mod:`inferencebench_pipeline.hub.retry`. And a redirect away from the Hub is followed for
downloads only, which are compared with a hash: nothing else is read from, or sent to, another host.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import (
    get_session,
    hf_raise_for_status,
    hf_request_event_hook,
    parse_ratelimit_headers,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from inferencebench_pipeline.hub.budget import active_budget

__all__ = [
    "LIBRARY_NAME",
    "Client",
    "ConnectionFailedError",
    "RedirectRefusedError",
    "Timeouts",
    "build_hf_headers",
    "get_session",
    "hf_raise_for_status",
    "install",
    "parse_ratelimit_headers",
]

LIBRARY_NAME = "inferencebench-pipeline"
"""First word of our ``User-Agent``; also how a request of ours is told from another library's."""

_MOST_REDIRECTS = 5
_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_installed: Timeouts | None = None
_install_lock = threading.Lock()


@dataclass(frozen=True)
class Timeouts:
    """Longest waits inside one request, in seconds."""

    connect_s: float = 10.0
    read_s: float = 60.0
    """Between two reads of a response, and therefore also until its first byte."""
    write_s: float = 60.0


class ConnectionFailedError(Exception):
    """No usable response: refused, reset, cut short or timed out.

    Not one of the client's own exceptions on purpose, so that no hidden retry catches it.
    """


class RedirectRefusedError(Exception):
    """The answer sends a request elsewhere that is not followed there; nothing was sent to it."""


class Client(httpx2.Client):
    """A client whose transient failures surface at once, for requests that are ours."""

    def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:  # noqa: ANN401
        """Send ``request``; the whole of ``huggingface_hub`` comes through here.

        Raises:
            ConnectionFailedError: no response came, and the request is ours.
            RedirectRefusedError: a redirect that is not followed, and the request is ours.
            HfHubHTTPError: a status that may pass by itself, and the request is ours.
            HubRateLimitError: the active budget has nothing left; nothing was sent.
        """
        if not request.headers.get("user-agent", "").startswith(LIBRARY_NAME):
            return super().send(request, **kwargs)
        try:
            response = self._follow(request, **{**kwargs, "follow_redirects": False})
            if response.status_code in _TRANSIENT_STATUS:
                response.read()
        except httpx2.TransportError as error:
            raise ConnectionFailedError(f"{type(error).__name__}: {error}") from error
        if response.status_code in _TRANSIENT_STATUS:
            hf_raise_for_status(response)
        return response

    def _follow(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:  # noqa: ANN401
        history: list[httpx2.Response] = []
        budget = active_budget()
        while True:
            if budget is not None:
                budget.spend(request.url.path)
            response = super().send(request, **kwargs)
            if budget is not None:
                budget.note(response.headers)
            following = response.next_request
            if following is None:
                response.history = history
                return response
            response.read()
            _check_redirect(request, following)
            if len(history) == _MOST_REDIRECTS:
                raise RedirectRefusedError(f"{_MOST_REDIRECTS} redirects did not lead anywhere")
            history.append(response)
            request = following


def _check_redirect(request: httpx2.Request, following: httpx2.Request) -> None:
    """Let reads move within the Hub, and downloads to its store (the client drops the token)."""
    here, there = request.url, following.url
    stays = (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port)
    if request.method in {"GET", "HEAD"} and (stays or "/resolve/" in here.path):
        return
    place = f"{there.path}" if stays else f"{there.scheme}://{there.netloc.decode()}"
    raise RedirectRefusedError(f"{request.method} {here.path} is redirected to {place}")


def install(timeouts: Timeouts) -> None:
    """Make ``huggingface_hub`` use :class:`Client`, in this process, with these ``timeouts``.

    The library keeps one client per process; installing the same timeouts again does nothing, so
    that requests under way on another thread keep their connection. Three more switches of the
    process are set: no telemetry (it asks the public Hub for a list, whichever endpoint the request
    itself goes to), no Xet (it may split a commit in parts, and not every Hub has it), and no
    progress bars (they end up in the logs of a service).
    """
    global _installed
    with _install_lock:
        constants.HF_HUB_DISABLE_TELEMETRY = True
        constants.HF_HUB_DISABLE_XET = True
        disable_progress_bars()
        if timeouts != _installed:
            set_client_factory(partial(_client, timeouts))
            _installed = timeouts


def _client(timeouts: Timeouts) -> Client:
    return Client(
        event_hooks={"request": [hf_request_event_hook]},
        follow_redirects=True,
        timeout=httpx2.Timeout(
            connect=timeouts.connect_s,
            read=timeouts.read_s,
            write=timeouts.write_s,
            pool=timeouts.connect_s,
        ),
    )
