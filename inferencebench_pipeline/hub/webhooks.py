"""Receiver of the Hub's webhooks, which only make the next crawl come sooner.

A webhook is triggered at most a thousand times a day, tried once, and anyone who knows the secret
can send one. So nothing in the payload is believed: it moves the time at which we look for
ourselves.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.documents import LenientPart
from inferencebench_pipeline.files import read_plain, write_atomically
from inferencebench_pipeline.settings import SettingsError
from inferencebench_pipeline.untrusted import parse_json, problems_of

NUDGE_FILE = "nudge.json"
"""Name of the file under the root of the store."""
MAX_BODY_BYTES = 256 * 1024
SECRET_VARIABLE = "INFERENCEBENCH_WEBHOOK_SECRET"  # noqa: S105 - a name
SECRET_FILE_VARIABLE = "INFERENCEBENCH_WEBHOOK_SECRET_FILE"  # noqa: S105 - a name
_MIN_SECRET_CHARACTERS = 16
_MOST_NUDGE_BYTES = 1024
_MAIN = "refs/heads/main"


class _Event(LenientPart):
    action: str
    scope: str


class _Repo(LenientPart):
    type: Literal["dataset", "model", "space"]
    name: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")


class _UpdatedRef(LenientPart):
    ref: str
    newSha: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")  # noqa: N815 - on the wire


class _Payload(LenientPart):
    event: _Event
    repo: _Repo
    updatedRefs: list[_UpdatedRef] | None = None  # noqa: N815 - on the wire

    def concerns_records(self) -> bool:
        """Return whether a dataset's main branch moved, or a dataset came, went or was renamed.

        ``updatedRefs`` says so; ``repo.headSha`` is sent with changes of any other ref, too.
        """
        if self.repo.type != "dataset" or not re.match(r"repo(\.|$)", self.event.scope):
            return False
        if self.event.scope.startswith("repo.content"):
            return any(ref.ref == _MAIN for ref in self.updatedRefs or [])
        return True


def webhook_app(root: Path, secret: Callable[[], str]) -> Starlette:
    """Return the receiver; it answers ``POST /`` and does nothing but move a file's content.

    Args:
        root: of the store; the nudge is written there.
        secret: what the Hub was told to send along; asked at each request.
    """

    async def receive(request: Request) -> Response:
        sent = request.headers.get("x-webhook-secret", "")
        # An ordinary comparison tells by its duration how much of a guess was right.
        if not hmac.compare_digest(sent.encode(), secret().encode()):
            return JSONResponse({"error": "the secret is not ours"}, 403)
        body = await _bounded_body(request)
        if body is None:
            return JSONResponse({"error": f"more than {MAX_BODY_BYTES} bytes"}, 413)
        try:
            payload = _Payload.model_validate_json(body)
        except ValidationError as error:
            return JSONResponse({"error": problems_of(error, whole="the body")}, 400)
        if not payload.concerns_records():
            return JSONResponse({"nudged": False})
        # Writing waits for the disk, and the event loop must not.
        await run_in_threadpool(nudge, root)
        return JSONResponse({"nudged": True})

    return Starlette(routes=[Route("/", receive, methods=["POST"])])


def webhook_secret(environ: Mapping[str, str] = os.environ) -> str:
    """Return the secret, from its variable or the file the other one names, read now.

    Raises:
        SettingsError: neither is set, the file cannot be read, or the secret is too short.
    """
    text = environ.get(SECRET_VARIABLE, "").strip()
    if not text and (path := environ.get(SECRET_FILE_VARIABLE)):
        try:
            text = Path(path).read_text().strip()
        except OSError as error:
            raise SettingsError(
                f"{SECRET_FILE_VARIABLE} names {path}, which cannot be read ({error.strerror})"
            ) from error
    if len(text) < _MIN_SECRET_CHARACTERS or not text.isascii():
        raise SettingsError(
            f"set {SECRET_VARIABLE} or {SECRET_FILE_VARIABLE} to the webhook's secret: ASCII, "
            f"{_MIN_SECRET_CHARACTERS} characters or more"
        )
    return text


def nudge(root: Path) -> None:
    """Say that it is time to look at the Hub."""
    document = {"schema_version": "1", "nudged_at_ns": time.time_ns()}
    write_atomically(root / NUDGE_FILE, json.dumps(document).encode() + b"\n")


def nudged_since(root: Path, when: datetime) -> bool:
    """Return whether a nudge came after ``when`` (with a time zone) and until now.

    One of a time to come was written while a clock was wrong; it must not be news until then.
    """
    at = last_nudge(root)
    return at is not None and when < at <= datetime.now(tz=UTC)


def last_nudge(root: Path) -> datetime | None:
    """Return when the last nudge came; ``None`` for never, or when its file is damaged."""
    try:
        data = read_plain(root / NUDGE_FILE, max_bytes=_MOST_NUDGE_BYTES)
        document = parse_json(data, what=NUDGE_FILE, max_bytes=_MOST_NUDGE_BYTES)
        return datetime.fromtimestamp(document["nudged_at_ns"] / 1e9, tz=UTC)
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None  # polling goes on without it


async def _bounded_body(request: Request) -> bytes | None:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            return None
    return bytes(body)
