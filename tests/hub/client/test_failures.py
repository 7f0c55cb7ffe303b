"""Error translations: each answer of the Hub becomes the right kind of error and remedy."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

from inferencebench_pipeline.errors import PermanentError, RetryableError
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
from inferencebench_pipeline.hub.client.failures import (
    LIBRARY_ERRORS,
    tells_a_token,
    translate,
)
from inferencebench_pipeline.hub.client.transport import (
    ConnectionFailedError,
    RedirectRefusedError,
    hf_raise_for_status,
)
from inferencebench_pipeline.untrusted import AnswerTooLargeError, JsonDocumentError

LOCK = "Another commit operation is in progress for this repository."
QUOTA = "You have exceeded the rate limit for repository commits (128 per hour)."


def answered(
    status: int, said: str = "the Hub's words", headers: dict[str, str] | None = None
) -> HfHubHTTPError:
    request = httpx2.Request("GET", "https://hub.example/api")
    response = httpx2.Response(status, headers=headers or {}, request=request)
    return HfHubHTTPError(f"{status} error", response=response, server_message=said)


def translated(error: Exception, token: str | None = "hf_secret") -> Any:
    return translate(error, "read dataset a/b", token)


@pytest.mark.parametrize(
    ("status", "headers", "said", "kind", "remedy"),
    [
        (400, {}, "bad", HubRejectedError, "the request itself must change"),
        (401, {}, "who", HubPermissionError, "invalid or expired: set HF_TOKEN"),
        (401, {"X-Error-Code": "RepoNotFound"}, "who", HubNotFoundError, "check the name"),
        (402, {}, "pay", HubPermissionError, "create one with write access"),
        (403, {}, "no", HubPermissionError, "create one with write access"),
        (403, {"X-Error-Code": "GatedRepo"}, "no", HubPermissionError, "grants access on request"),
        (404, {}, "none", HubNotFoundError, "check the name"),
        (400, {"X-Error-Code": "RevisionNotFound"}, "none", HubNotFoundError, "check the name"),
        (400, {"X-Error-Code": "EntryNotFound"}, "none", HubNotFoundError, "check the name"),
        (408, {}, "slow", HubUnavailableError, "it should pass, try again"),
        (409, {}, LOCK, HubUnavailableError, "it should pass, try again"),
        (409, {}, "exists", HubConflictError, "the name is taken"),
        (410, {}, "gone", HubRejectedError, "the request itself must change"),
        (412, {}, "moved", HubHeadMovedError, "somebody else committed first"),
        (423, {}, "locked", HubUnavailableError, "it should pass, try again"),
        (429, {}, "slow down", HubRateLimitError, "a quota is used up, try again later"),
        (500, {}, "oops", HubUnavailableError, "it should pass, try again"),
        (503, {}, "oops", HubUnavailableError, "it should pass, try again"),
        (599, {}, "oops", HubUnavailableError, "it should pass, try again"),
    ],
)
def test_each_status_becomes_its_error_with_what_to_do(
    status: int, headers: dict[str, str], said: str, kind: type[Exception], remedy: str
) -> None:
    error = translated(answered(status, said, headers))
    assert type(error) is kind
    assert f"cannot read dataset a/b: the Hub answered {status}" in str(error)
    assert remedy in str(error)


def test_a_401_without_a_token_says_that_none_was_sent() -> None:
    assert "no token was sent" in str(translated(answered(401), token=None))


def json_error(*, syntax: bool) -> JsonDocumentError:
    error = JsonDocumentError("the answer is not what it should be")
    if syntax:
        error.__cause__ = json.JSONDecodeError("no JSON", "<html>", 0)
    return error


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OfflineModeIsEnabled("offline"), HubRejectedError, "HF_HUB_OFFLINE is set; unset it"),
        (RedirectRefusedError("to https://x"), HubRejectedError, "which is not followed"),
        (ConnectionFailedError("refused"), HubUnavailableError, r"no answer \(refused\)"),
        (httpx2.ReadTimeout("slow"), HubUnavailableError, r"no answer \(slow\)"),
        (json_error(syntax=True), HubUnavailableError, "as from a proxy during an outage"),
        (json_error(syntax=False), HubIntegrityError, "is this endpoint a Hub"),
        (AnswerTooLargeError("9 bytes"), HubIntegrityError, "is this endpoint a Hub"),
        (KeyError("sha"), HubIntegrityError, "the answer has no field 'sha'"),
        (HFValidationError("a b"), HubRejectedError, "does not allow this name: a b"),
        (httpx2.InvalidURL("no url"), HubRejectedError, "refused: no url"),
        (ValueError("front matter"), HubRejectedError, "refused: front matter"),
    ],
)
def test_each_error_of_the_library_becomes_ours(
    error: Exception, kind: type[Exception], said: str
) -> None:
    assert isinstance(error, LIBRARY_ERRORS)
    found = translated(error)
    assert type(found) is kind
    with pytest.raises(kind, match=said):
        raise found


def test_every_error_that_is_translated_is_tried_above() -> None:
    assert {kind.__name__ for kind in LIBRARY_ERRORS} == {
        "HfHubHTTPError",
        "HTTPError",
        "InvalidURL",
        "ConnectionFailedError",
        "RedirectRefusedError",
        "AnswerTooLargeError",
        "OfflineModeIsEnabled",
        "KeyError",
        "ValueError",
    }


@pytest.mark.parametrize(
    ("said", "headers", "seconds"),
    [
        ("x", {"RateLimit": '"api";r=0;t=41'}, 42.0),
        ("x", {"RateLimit": '"api";r=7;t=41'}, None),
        ("x", {"RateLimit": '"api";r=7;t=41', "Retry-After": "9"}, 9.0),
        ("x", {"Retry-After": "9"}, 9.0),
        ("You can retry this action in about 1 hour.", {}, 3600.0),
        ("You can retry this action in an hour.", {}, 3600.0),
        ("Try again in 5 minutes.", {}, 300.0),
        ("Try again in 1 day.", {}, 86400.0),
        ("Try again in 7 seconds.", {}, 7.0),
        (QUOTA, {}, 3600.0),
        (f"{QUOTA} Try again in 2 minutes.", {}, 120.0),
        ("Limit of 3 commits per day", {}, 3600.0),
        ("x", {}, None),
    ],
)
def test_a_quota_is_waited_for_by_the_first_hint_that_is_given(
    said: str, headers: dict[str, str], seconds: float | None
) -> None:
    error = translated(answered(429, said, headers))
    assert error.retry_after_s == seconds
    when = "later" if seconds is None else f"in {seconds:.0f} s"
    assert str(error).endswith(f"try again {when}")


@pytest.mark.parametrize("status", [408, 423, 503])
def test_an_outage_carries_the_wait_that_the_answer_asks_for(status: int) -> None:
    assert translated(answered(status, "x", {"Retry-After": "12"})).retry_after_s == 12.0
    assert translated(answered(status, "x", {})).retry_after_s is None
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 90 < translated(answered(status, "x", {"Retry-After": soon})).retry_after_s <= 100


def test_a_token_is_shown_in_no_message_and_found_in_every_cause() -> None:
    error = ValueError("sent hf_secret and hf_AbCdEf123")
    assert "hf_" not in str(translated(error))
    assert str(translated(error)).count("[token]") == 2
    outer = ValueError("outer")
    outer.__cause__ = ValueError("middle")
    outer.__cause__.__context__ = error
    assert tells_a_token(outer, "hf_secret")
    assert tells_a_token(ValueError("has other-secret in it"), "other-secret")
    assert not tells_a_token(ValueError("nothing"), "hf_secret")
    assert not tells_a_token(None, "hf_secret")


@pytest.mark.parametrize("status", [400, 409, 429, 503])
def test_any_byte_in_a_wait_stays_inside_the_two_families(status: int) -> None:
    for byte in range(256):
        for sent in (bytes([byte]), b"1" + bytes([byte]), b"Mon, 01 Jan 2001 " + bytes([byte])):
            response = httpx2.Response(
                status,
                headers=[(b"Retry-After", sent)],
                request=httpx2.Request("GET", "https://hub.example/api"),
            )
            with pytest.raises(LIBRARY_ERRORS) as caught:
                hf_raise_for_status(response)
            assert isinstance(translated(caught.value), RetryableError | PermanentError)
