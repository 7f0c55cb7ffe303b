"""The HTTP client ``huggingface_hub`` is made to use: with timeouts, and without hidden retries.

The library's own client has no time limit at all, and part of its calls retry by rules that wait
as long as a server says (``Retry-After: 86400`` is obeyed), while its most important call, the
commit, never retries. Here every request of ours ends in time, head and body, and fails at once;
the one retry policy is in ``retry.py``. Answers are bounded in size after
decompression. And a redirect away from the Hub is followed for downloads only, without the token:
nothing else is read from, or sent to, another host.
"""

from __future__ import annotations

import ipaddress
import threading
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import httpx2
from httpx2._utils import get_environment_proxies
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import (
    get_session,
    hf_request_event_hook,
    parse_ratelimit_headers,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from inferencebench_pipeline.hub.client.budget import active_budget
from inferencebench_pipeline.hub.client.refusal import hf_raise_for_status, tame_headers
from inferencebench_pipeline.untrusted import EXTENSION, BoundedTransport, Bounds, within

__all__ = [
    "LIBRARY_NAME",
    "MAX_JSON_BYTES",
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

MAX_JSON_BYTES: Final = 32 * 1024 * 1024
"""Bound on an answer that is no file: 500 lines of a list with a card of 64 KB each."""
SLOWEST_UPLOAD_BYTES_PER_S: Final = 64 * 1024
"""The slowest upload that is waited for: each second more of bytes gets a second more."""
_MOST_REDIRECTS = 5
# The statuses on which the library's own calls would try again without being asked.
_TRANSIENT_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_installed: Timeouts | None = None
_install_lock = threading.Lock()


@dataclass(frozen=True)
class Timeouts:
    """Longest waits of one request, in seconds."""

    connect_s: float = 10.0
    read_s: float = 60.0
    """Between two reads of a response, and therefore also until its first byte."""
    write_s: float = 60.0
    whole_s: float = 120.0
    """Time from the start of the connection to the last byte of the answer. What is uploaded, and a
    download that says how much longer it may take, get more."""


class ConnectionFailedError(Exception):
    """No usable response: refused, reset, cut short or timed out.

    Not one of the client's own exceptions on purpose, so that no hidden retry catches it.
    """


class RedirectRefusedError(Exception):
    """The answer sends a request elsewhere that is not followed there; nothing was sent to it."""


class Client(httpx2.Client):
    """A client whose transient failures surface at once, for requests that are ours."""

    def __init__(self, timeouts: Timeouts) -> None:
        # A client that is given a transport no longer looks for proxies in the environment by
        # itself.
        proxies = get_environment_proxies().items()
        super().__init__(
            transport=BoundedTransport(),
            mounts={
                pattern: None if proxy is None else BoundedTransport(proxy=proxy)
                for pattern, proxy in proxies
            },
            event_hooks={"request": [hf_request_event_hook]},
            follow_redirects=True,
            timeout=httpx2.Timeout(
                connect=timeouts.connect_s,
                read=timeouts.read_s,
                write=timeouts.write_s,
                pool=timeouts.connect_s,
            ),
        )
        self._whole_s = timeouts.whole_s

    def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:  # noqa: ANN401
        """Send ``request``; the whole of ``huggingface_hub`` comes through here.

        Raises:
            ConnectionFailedError: no response came, and the request is ours.
            RedirectRefusedError: a redirect that is not followed, and the request is ours.
            HfHubHTTPError: a status that may pass by itself, and the request is ours.
            AnswerTooLargeError: more came than may, and the request is ours.
            HubRateLimitError: the active budget has nothing left; nothing was sent.
        """
        # The client belongs to the process, and others who use the library in it get the stock
        # behaviour.
        if not request.headers.get("user-agent", "").startswith(LIBRARY_NAME):
            return super().send(request, **kwargs)
        bounds = self._bound(request)
        try:
            with within(bounds.whole_s):
                # Redirects are followed one by one, each looked at before it is taken.
                response = self._follow(request, **{**kwargs, "follow_redirects": False})
            # Read in here, because the message needs the body and the connection may end in the
            # middle of it.
            if response.status_code in _TRANSIENT_STATUS:
                response.read()
        except httpx2.TransportError as error:
            raise ConnectionFailedError(f"{type(error).__name__}: {error}") from error
        if response.status_code in _TRANSIENT_STATUS:
            hf_raise_for_status(response)
        return response

    def _bound(self, request: httpx2.Request) -> Bounds:
        """Return what bounds ``request``, its own bounds or those of any; it carries them now."""
        bounds = request.extensions.get(EXTENSION)
        if not isinstance(bounds, Bounds):
            sent = request.headers.get("Content-Length", "")
            sending_s = int(sent) / SLOWEST_UPLOAD_BYTES_PER_S if sent.isdecimal() else 0.0
            bounds = Bounds(MAX_JSON_BYTES, self._whole_s + sending_s)
            request.extensions = {**request.extensions, **bounds.extensions()}
        # Our bounded decoder understands this one coding.
        if request.headers.get("Accept-Encoding") != "identity":
            request.headers["Accept-Encoding"] = "gzip"
        return bounds

    def _follow(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:  # noqa: ANN401
        history: list[httpx2.Response] = []
        budget = active_budget()
        while True:
            if budget is not None:
                budget.spend(request.url.path)
            response = super().send(request, **kwargs)
            response.headers = tame_headers(response.headers)
            if budget is not None:
                budget.note(response.headers)
            following = response.next_request
            if following is None:
                response.history = history
                return response
            response.read()
            check_redirect(request, following)
            if len(history) == _MOST_REDIRECTS:
                raise RedirectRefusedError(f"{_MOST_REDIRECTS} redirects did not lead anywhere")
            history.append(response)
            request = following


def check_redirect(request: httpx2.Request, following: httpx2.Request) -> None:
    """Let reads move within the Hub, and downloads to its store (the client drops the token)."""
    here, there = request.url, following.url
    stays = (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port)
    is_download = "/resolve/" in here.path and not _leads_inside(here, there)
    if request.method in {"GET", "HEAD"} and (stays or is_download):
        return
    place = f"{there.path}" if stays else f"{there.scheme}://{there.netloc.decode()}"
    raise RedirectRefusedError(f"{request.method} {here.path} is redirected to {place}")


def _leads_inside(here: httpx2.URL, there: httpx2.URL) -> bool:
    """Return whether a redirect gives up encryption or leads from the net to this machine.

    A name that resolves to such an address is not looked through: only what a redirect spells out.
    """
    return (here.scheme == "https" and there.scheme != "https") or (
        _is_inside(there.host) and not _is_inside(here.host)
    )


def _is_inside(host: str) -> bool:
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith((".localhost", ".internal", ".local")):
        return True
    try:
        return not ipaddress.ip_address(name.strip("[]")).is_global
    except ValueError:
        # Resolvers also take 2130706433, 127.1 and 0x7f000001 for addresses of this machine.
        return name.replace(".", "").isdigit() or name.startswith("0x")


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
            set_client_factory(partial(Client, timeouts))
            _installed = timeouts
