"""Requests to one Hub, under one token: sent once, refused answers raised, JSON taken apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import httpx2

from inferencebench_pipeline import __version__
from inferencebench_pipeline.hub.client import transport
from inferencebench_pipeline.hub.client.errors import HubIntegrityError, HubPermissionError
from inferencebench_pipeline.hub.client.transport import (
    MAX_JSON_BYTES,
    build_hf_headers,
    get_session,
    hf_raise_for_status,
)
from inferencebench_pipeline.untrusted import Bounds, Json, parse_json, printable


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

    def get_object(self, url: str) -> dict[str, Any]:
        """Return the JSON object at ``url``.

        Raises:
            HfHubHTTPError: a refusal.
            JsonDocumentError: the answer is no JSON, or too deep.
            HubIntegrityError: it is JSON, but no object.
        """
        return json_object(self.get(url))

    def get_objects(self, url: str) -> list[dict[str, Any]]:
        """Return the list of JSON objects at ``url``; otherwise as :meth:`get_object`."""
        return json_objects(json_of(self.get(url)), url)

    def post(self, path: str, body: Mapping[str, Any]) -> httpx2.Response:
        """Return the answer, refusal or not, to a POST of JSON that needs a token."""
        self.require_token()
        return get_session().post(self.url(path), headers=self.headers(), json=dict(body))

    def post_for_object(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JSON object that a POST is answered with.

        Raises:
            HfHubHTTPError: a refusal.
            JsonDocumentError: the answer is no JSON, or too deep.
            HubIntegrityError: it is JSON, but no object.
        """
        response = self.post(path, body)
        hf_raise_for_status(response)
        return json_object(response)

    def download(self, url: str, revision: str, *, max_bytes: int, deadline_s: float) -> bytes:
        """Return the bytes at ``url``, as they come from the wire; see :meth:`download_into`."""
        with self._downloading(url, revision, max_bytes, deadline_s) as response:
            return response.read()

    def download_into(
        self, into: IO[bytes], url: str, revision: str, *, max_bytes: int, deadline_s: float
    ) -> None:
        """Write the bytes at ``url``, as they come from the wire, in place of what a file holds.

        Raises:
            HfHubHTTPError: a refusal.
            HubIntegrityError: they are of another commit than ``revision``.
            AnswerTooLargeError: they are too many.
            httpx2.TimeoutException: they did not all come within ``deadline_s``.
        """
        with self._downloading(url, revision, max_bytes, deadline_s) as response:
            into.seek(0)
            into.truncate()
            for piece in response.iter_bytes():
                into.write(piece)
            into.flush()

    @contextmanager
    def _downloading(
        self, url: str, revision: str, max_bytes: int, deadline_s: float
    ) -> Iterator[httpx2.Response]:
        # What comes is compared with digests of the file as it is stored.
        asked = {**self.headers(), "Accept-Encoding": "identity"}
        bounds = Bounds(max_bytes, deadline_s)
        with get_session().stream(
            "GET", url, headers=asked, extensions=bounds.extensions()
        ) as response:
            hf_raise_for_status(response)
            # Behind a redirect the store answers, which knows no commits. The first answer is the
            # Hub's.
            first = response.history[0] if response.history else response
            told = first.headers.get("X-Repo-Commit", revision)
            if told != revision:
                raise HubIntegrityError(f"{url} was answered with commit {printable(told, 64)}")
            yield response

    def is_ours(self, url: str) -> bool:
        """Return whether ``url`` is at this Hub, so that the token may go there.

        Raises:
            httpx2.InvalidURL: it is no address.
        """
        here, there = httpx2.URL(self.endpoint), httpx2.URL(url)
        return not there.userinfo and (
            (here.scheme, here.host, here.port) == (there.scheme, there.host, there.port)
        )


def headers(token: str | None) -> dict[str, str]:
    """Return the headers that mark a request as ours, and its account."""
    return build_hf_headers(
        token=token or False, library_name=transport.LIBRARY_NAME, library_version=__version__
    )


def json_of(response: httpx2.Response) -> Json:
    """Return the plain data of an answer.

    Raises:
        JsonDocumentError: it is no JSON, or deeper than a reader may be asked to follow.
    """
    what = f"the answer of {printable(response.url)}"
    return parse_json(response.content, what=what, max_bytes=MAX_JSON_BYTES)


def json_object(response: httpx2.Response) -> dict[str, Any]:
    """Return the JSON object of an answer.

    Raises:
        JsonDocumentError: it is no JSON, or deeper than a reader may be asked to follow.
        HubIntegrityError: it is JSON, but no object.
    """
    answer = json_of(response)
    if not isinstance(answer, dict):
        raise HubIntegrityError(f"{printable(response.url)} did not answer with a JSON object")
    return answer


def json_objects(answer: Json, url: str) -> list[dict[str, Any]]:
    """Return ``answer`` when it is a list of objects.

    Raises:
        HubIntegrityError: it is none.
    """
    if not isinstance(answer, list) or not all(isinstance(item, dict) for item in answer):
        raise HubIntegrityError(f"{printable(url)} did not answer with a list of objects")
    return answer


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Take an answer apart as if it were a Hub's: whatever is not where it is there is one error.

    Raises:
        HubIntegrityError: a field is missing, or is of another type or size; names ``what``.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise HubIntegrityError(
            f"{what} is not what a Hub answers ({type(error).__name__}: {printable(error)}); is "
            "this endpoint a Hub?"
        ) from error
