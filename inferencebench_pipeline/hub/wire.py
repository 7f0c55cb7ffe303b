"""Requests to one Hub, under one token: sent once, refused answers raised, JSON taken apart."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

from inferencebench_pipeline import __version__
from inferencebench_pipeline.hub import transport
from inferencebench_pipeline.hub.errors import HubIntegrityError, HubPermissionError
from inferencebench_pipeline.hub.transport import build_hf_headers, get_session, hf_raise_for_status


@dataclass(frozen=True)
class Wire:
    """One attempt's access to a Hub: its endpoint, and the token read for this attempt."""

    endpoint: str
    token: str | None = field(repr=False)

    def url(self, path: str) -> str:
        """Return the address of ``path`` (without leading slash)."""
        return f"{self.endpoint}/{path}"

    def headers(self) -> dict[str, str]:
        """Return the headers of a request to the Hub, with the token when there is one."""
        return headers(self.token)

    def require_token(self) -> str:
        """Return the token.

        Raises:
            HubPermissionError: there is none.
        """
        if self.token is None:
            raise HubPermissionError(
                "no Hub token: set HF_TOKEN, or HF_TOKEN_PATH to a file that holds one, with "
                "write access to the namespace"
            )
        return self.token

    def get(self, url: str) -> httpx2.Response:
        """Return the answer to a GET.

        Raises:
            HfHubHTTPError: it is a refusal.
        """
        response = get_session().get(url, headers=self.headers())
        hf_raise_for_status(response)
        return response

    def post(self, path: str, body: Mapping[str, Any]) -> httpx2.Response:
        """Return the answer, refusal or not, to a POST of JSON that needs a token."""
        self.require_token()
        return get_session().post(self.url(path), headers=self.headers(), json=dict(body))

    def post_for_object(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON object that a POST is answered with.

        Raises:
            HfHubHTTPError: a refusal.
            HubIntegrityError: the answer is no JSON object.
        """
        response = self.post(path, body)
        hf_raise_for_status(response)
        return json_object(response)

    def download(self, url: str, revision: str, *, max_bytes: int, deadline_s: float) -> bytes:
        """Return the bytes at ``url``, as they come from the wire.

        Raises:
            HfHubHTTPError: a refusal.
            HubIntegrityError: they are of another commit than ``revision``, or too many.
            ConnectionFailedError: they did not all come within ``deadline_s``.
        """
        ends_at_s = time.monotonic() + deadline_s
        asked = {**self.headers(), "Accept-Encoding": "identity"}
        with get_session().stream("GET", url, headers=asked) as response:
            if response.is_error:
                response.read()
            hf_raise_for_status(response)
            first = response.history[0] if response.history else response
            if first.headers.get("X-Repo-Commit", revision) != revision:
                raise HubIntegrityError(
                    f"{url} was answered with commit {first.headers['X-Repo-Commit']}"
                )
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) > max_bytes:
                    raise HubIntegrityError(f"{url} is larger than {max_bytes} bytes; not read")
                if time.monotonic() > ends_at_s:
                    raise transport.ConnectionFailedError("the download did not end in time")
        return bytes(data)

    def is_ours(self, url: str) -> bool:
        """Whether ``url`` is at this Hub, so that the token may go there."""
        return urlsplit(url)[:2] == urlsplit(self.endpoint)[:2]


def headers(token: str | None) -> dict[str, str]:
    """Return the headers that mark a request as ours, and its account."""
    return build_hf_headers(
        token=token or False, library_name=transport.LIBRARY_NAME, library_version=__version__
    )


def json_object(response: httpx2.Response) -> dict[str, Any]:
    """Return the JSON object of an answer.

    Raises:
        json.JSONDecodeError: it is no JSON.
        HubIntegrityError: it is JSON, but no object.
    """
    answer = response.json()
    if not isinstance(answer, dict):
        raise HubIntegrityError(f"{response.url} did not answer with a JSON object")
    return answer
