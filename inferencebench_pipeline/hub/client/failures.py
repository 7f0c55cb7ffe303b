"""Translation of the client library's exceptions into our errors: event, place and remedy.

The table is the one place that knows which answers pass by themselves. Statuses and texts are the
Hub's own: a 409 may be a lock to wait for or a name that is taken, a 429 an exhausted request
window (seconds) or an exhausted action quota (an hour).
"""

from __future__ import annotations

import json
import re

import httpx2
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.hub.client.errors import (
    HubConflictError,
    HubHeadMovedError,
    HubIntegrityError,
    HubNotFoundError,
    HubPermissionError,
    HubRateLimitError,
    HubRejectedError,
    HubUnavailableError,
)
from inferencebench_pipeline.hub.client.transport import (
    ConnectionFailedError,
    RedirectRefusedError,
    parse_ratelimit_headers,
)
from inferencebench_pipeline.untrusted import (
    LONGEST_S,
    AnswerTooLargeError,
    JsonDocumentError,
    printable,
    retry_after_s,
)

LIBRARY_ERRORS = (
    HfHubHTTPError,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    ConnectionFailedError,
    RedirectRefusedError,
    AnswerTooLargeError,
    OfflineModeIsEnabled,
    KeyError,  # an answer without a field it always has
    ValueError,  # refused front matter, refused names, and answers that are not JSON
)
"""Exceptions of the library for an answer that it does not accept; any other is a bug of ours."""

# The Hub's words: "(128 per hour). You can retry this action in about 1 hour."
_ACTION_QUOTA = re.compile(r"\bper (?:hour|day)\b", re.IGNORECASE)
_TRY_AGAIN_IN = re.compile(r"\bin (?:about )?(an?|\d+) (second|minute|hour|day)", re.IGNORECASE)
# The Hub's words: "Another commit operation is in progress", and "another conflicting operation".
_LOCKED = re.compile(r"another \w+ operation is in progress", re.IGNORECASE)
# The two beginnings that tokens of the Hub have: a user's and an organisation's.
_TOKEN = re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{4,}")
_UNIT_S = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_SHOWN_CHARACTERS = 300


def translate(error: Exception, doing: str, token: str | None) -> PipelineError:
    """Return our error for one of :data:`LIBRARY_ERRORS`.

    Args:
        error: what the library raised.
        doing: the action and its place, such as ``"commit to ORG/NAME at https://..."``.
        token: the token that was sent, so that it can be kept out of the message.
    """
    said, doing = _shown(str(error), token), _shown(doing, token)
    if isinstance(error, HfHubHTTPError):
        return _from_status(error, doing, token)
    if isinstance(error, OfflineModeIsEnabled):
        return HubRejectedError(f"cannot {doing}: HF_HUB_OFFLINE is set; unset it to reach the Hub")
    if isinstance(error, RedirectRefusedError):
        return HubRejectedError(
            f"cannot {doing}: {said}, which is not followed; was the repository renamed, or is "
            "there a proxy that wants a login? Check HF_ENDPOINT"
        )
    if isinstance(error, ConnectionFailedError | httpx2.TransportError):
        return HubUnavailableError(
            f"cannot {doing}: no answer ({said}); check HF_ENDPOINT and the network, then try again"
        )
    if isinstance(error, JsonDocumentError) and isinstance(error.__cause__, json.JSONDecodeError):
        return HubUnavailableError(
            f"cannot {doing}: {said}, as from a proxy during an outage; try again"
        )
    if isinstance(error, JsonDocumentError | AnswerTooLargeError):
        return HubIntegrityError(f"cannot {doing}: {said}; is this endpoint a Hub?")
    if isinstance(error, KeyError):
        return HubIntegrityError(
            f"cannot {doing}: the answer has no field {said}; is this endpoint a Hub?"
        )
    if isinstance(error, HFValidationError):
        return HubRejectedError(f"cannot {doing}: the Hub does not allow this name: {said}")
    return HubRejectedError(f"cannot {doing}: refused: {said}")


def tells_a_token(error: BaseException | None, token: str | None) -> bool:
    """Return whether the error, or one it came from, holds a token in its text.

    A server may echo what it was sent; such an error must not be kept as a cause, since whoever
    logs an exception logs its causes.
    """
    while error is not None:
        text = str(error)
        if (token and token in text) or _TOKEN.search(text):
            return True
        error = error.__cause__ or error.__context__
    return False


def _from_status(error: HfHubHTTPError, doing: str, token: str | None) -> PipelineError:
    response = error.response
    status = response.status_code
    said = _shown(error.server_message or str(error), token)
    answer = f"cannot {doing}: the Hub answered {status} ({said})"
    code = response.headers.get("X-Error-Code", "")
    if status == 429:
        return _rate_limit(response, said, answer)
    if status in {408, 423} or status >= 500 or (status == 409 and _LOCKED.search(said)):
        return HubUnavailableError(
            f"{answer}; it should pass, try again",
            retry_after_s=retry_after_s(response.headers.get("Retry-After")),
        )
    if status == 412:
        return HubHeadMovedError(f"{answer}; somebody else committed first, read again")
    if status == 409:
        return HubConflictError(f"{answer}; the name is taken")
    # Asked before 401, with which the Hub answers for repositories that are absent or hidden, too.
    if status == 404 or code in {"RepoNotFound", "RevisionNotFound", "EntryNotFound"}:
        return HubNotFoundError(f"{answer}; check the name, or whether the token may see it")
    if code == "GatedRepo":
        return HubPermissionError(f"{answer}; its owner grants access on request: ask on its page")
    if status == 401:
        remedy = "the token is invalid or expired" if token else "no token was sent"
        return HubPermissionError(
            f"{answer}; {remedy}: set HF_TOKEN or HF_TOKEN_PATH to a valid one"
        )
    if status in {402, 403}:
        return HubPermissionError(
            f"{answer}; the token may not do this: create one with write access to this "
            "namespace (role 'write', or fine-grained with repo.write) and set HF_TOKEN"
        )
    return HubRejectedError(f"{answer}; the request itself must change")


def _rate_limit(response: httpx2.Response, said: str, answer: str) -> HubRateLimitError:
    """Return the error with the wait the Hub asks for, by the first hint it gives."""
    window = parse_ratelimit_headers(response.headers)
    text_hint_s = _text_hint_s(said)
    # With requests left in the window, a 429 is about a quota on actions, and the window says
    # nothing.
    if window is not None and window.remaining == 0:
        # One second more, as the client library waits: the hint is rounded down.
        wait_s: float | None = min(window.reset_in_seconds + 1.0, LONGEST_S)
    elif (header_s := retry_after_s(response.headers.get("Retry-After"))) is not None:
        wait_s = header_s
    elif text_hint_s is not None or _ACTION_QUOTA.search(said):
        wait_s = text_hint_s or _UNIT_S["hour"]
    else:
        wait_s = None
    when = "later" if wait_s is None else f"in {wait_s:.0f} s"
    return HubRateLimitError(
        f"{answer}; a quota is used up, try again {when}", retry_after_s=wait_s
    )


def _text_hint_s(text: str) -> float | None:
    match = _TRY_AGAIN_IN.search(text)
    if match is None:
        return None
    count = 1.0 if match[1].lower() in {"a", "an"} else float(match[1])
    return min(count * _UNIT_S[match[2].lower()], LONGEST_S)


def _shown(text: str, token: str | None) -> str:
    """Return a server's text, fit for a message: one line, bounded, and without any token."""
    if token:
        text = text.replace(token, "[token]")
    return printable(_TOKEN.sub("[token]", text), _SHOWN_CHARACTERS)
