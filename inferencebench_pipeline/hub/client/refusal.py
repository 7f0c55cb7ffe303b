"""Refusals of a Hub, made fit for the client library, which believes what is in them.

The library reads an error's body as JSON of its own shape and fails on any other with whatever
Python raises then; it logs warning headers as they are, and reads the rate limit headers with
expressions that take minutes for a long enough value. So it is shown a copy that holds the same
words, in the shape that it expects.
"""

from __future__ import annotations

import json
from typing import Final

import httpx2
from huggingface_hub.utils._http import hf_raise_for_status as _hf_raise_for_status

from inferencebench_pipeline.hub.client.errors import HubIntegrityError
from inferencebench_pipeline.untrusted import JsonDocumentError, parse_json, printable

_LONGEST_VALUE: Final = 512
_KEPT_WHOLE: Final = frozenset({"location", "link", "set-cookie", "etag"})
_MOST_READ: Final = 64 * 1024
_MOST_WORDS: Final = 20
_LONGEST_WORDS: Final = 2_000


def tame_headers(headers: httpx2.Headers) -> httpx2.Headers:
    """Return ``headers`` without what only a person would read, and each value printable.

    A value that is longer than any of the Hub's is left out, but for addresses.
    """
    kept = []
    for name, value in headers.multi_items():
        if name == "x-hf-warning":
            continue
        if name in _KEPT_WHOLE:
            kept.append((name, value))
        elif len(value) <= _LONGEST_VALUE:
            shown = printable(value, _LONGEST_VALUE).encode("ascii", "replace")
            kept.append((name, shown.decode()))
    return httpx2.Headers(kept)


def hf_raise_for_status(response: httpx2.Response) -> None:
    """Raise the client library's error when ``response`` is a refusal.

    Raises:
        HfHubHTTPError: it is; the answer in it is a copy with the Hub's words.
        HubIntegrityError: it is neither an answer nor a refusal.
    """
    if response.is_success:
        return
    if response.status_code < 400:
        raise HubIntegrityError(
            f"{printable(response.url)} answered {response.status_code}, which is neither an "
            "answer nor a refusal; is this endpoint a Hub?"
        )
    kept = tame_headers(response.headers)
    # These describe the body that came, and the copy has another.
    for name in ("Content-Type", "Content-Length", "Content-Encoding", "Transfer-Encoding"):
        kept.pop(name, None)
    copy = httpx2.Response(
        response.status_code,
        headers=kept,
        json={"error": _words(response.read(), response.headers.get("Content-Type", ""))},
        request=response.request,
    )
    _hf_raise_for_status(copy)


def _words(body: bytes, content_type: str) -> list[str]:
    """Return what a refusal says, from the shapes that the Hub's refusals have."""
    try:
        document = parse_json(body, what="the refusal", max_bytes=_MOST_READ)
    except JsonDocumentError:
        text = body[:_LONGEST_WORDS].decode("utf-8", "replace").strip()
        return [printable(text, _LONGEST_WORDS)] if text and "html" not in content_type else []
    if not isinstance(document, dict):
        return [printable(json.dumps(document), _LONGEST_WORDS)]
    said = []
    error, description = document.get("error"), document.get("error_description")
    if isinstance(error, list):
        said += error
    elif error is not None and description is not None:
        said.append(f"{error}: {description}")
    else:
        said += [text for text in (error, description) if text is not None]
    more = document.get("errors")
    for item in more if isinstance(more, list) else []:
        if isinstance(item, dict) and "message" in item:
            said.append(item["message"])
    return [printable(words, _LONGEST_WORDS) for words in said[:_MOST_WORDS]]
