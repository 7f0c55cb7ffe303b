"""One question to a stranger's HTTP server, within bounds and without following redirects.

An answer of any status is an answer. What a redirect would be is for the caller to refuse: the
request, and the key in its headers, go to the one address that was asked and nowhere else.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx2

from inferencebench_pipeline.errors import RetryableError
from inferencebench_pipeline.untrusted.http_body import AnswerTooLargeError
from inferencebench_pipeline.untrusted.http_transport import BoundedTransport, Bounds
from inferencebench_pipeline.untrusted.json_documents import Json, parse_json
from inferencebench_pipeline.untrusted.text import printable

__all__ = ["AnswerTooLargeError", "Bounds", "HttpAnswer", "NoAnswerError", "exchange"]

_ONE_QUESTION: Final = {"Accept-Encoding": "identity", "Connection": "close"}


class NoAnswerError(RetryableError):
    """Nothing that is HTTP came back, or not all of it in time; the message is the bare reason."""


@dataclass(frozen=True)
class HttpAnswer:
    """A whole answer, whatever its status."""

    url: str
    status: int
    body: bytes
    location: str | None
    """The target of a redirect that was not followed."""

    def json(self) -> Json:
        """Return the body's plain data.

        Raises:
            JsonDocumentError: it is no JSON, or deeper than a reader may be asked to follow.
        """
        return parse_json(
            self.body, what=f"the answer of {printable(self.url)}", max_bytes=len(self.body)
        )


def exchange(
    method: str,
    url: str,
    bounds: Bounds,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    proxy: str | None = None,
) -> HttpAnswer:
    """Send one request on a connection of its own and return the whole answer.

    Args:
        method: such as ``GET``.
        url: where to.
        bounds: what the answer may cost.
        headers: of the request; nothing but what HTTP needs is added.
        body: of the request.
        proxy: an HTTP proxy to go through.

    Raises:
        NoAnswerError: nothing answers there, not in time, or not in HTTP.
        AnswerTooLargeError: the answer is larger than the bounds say.
    """
    seconds = dict.fromkeys(("connect", "read", "write", "pool"), bounds.whole_s)
    try:
        request = httpx2.Request(
            method,
            url,
            headers={**_ONE_QUESTION, **headers},
            content=body,
            extensions={"timeout": seconds, **bounds.extensions()},
        )
        # The caller names the proxy, so the environment is not asked for one.
        with BoundedTransport(verify=_tls(url), trust_env=False, proxy=proxy) as transport:
            answer = transport.handle_request(request)
            try:
                content = answer.read()
            finally:
                answer.close()
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
        raise NoAnswerError(printable(error) or type(error).__name__) from error
    return HttpAnswer(url, answer.status_code, content, answer.headers.get("Location"))


def _tls(url: str) -> ssl.SSLContext:
    """Return the context of this machine's own trust, read anew as it may have changed."""
    if url.lower().startswith("https:"):
        return ssl.create_default_context()
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # needed by nobody; trust takes time to load
