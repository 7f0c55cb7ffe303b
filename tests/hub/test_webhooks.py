"""Webhooks of the sandbox Hub arrive, are checked, and do no more than move the next look."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from huggingface_hub import HfApi

from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.webhooks import (
    MAX_BODY_BYTES,
    NUDGE_FILE,
    last_nudge,
    nudged_since,
    webhook_app,
    webhook_secret,
)
from inferencebench_pipeline.settings import SettingsError
from tests.hub.conftest import World

SECRET = "correct horse battery staple"
PUSH: dict[str, Any] = {
    "event": {"action": "update", "scope": "repo.content"},
    "repo": {"type": "dataset", "name": "org/run", "headSha": "f" * 40},
    "updatedRefs": [{"ref": "refs/heads/main", "oldSha": "a" * 40, "newSha": "b" * 40}],
    "webhook": {"id": "x", "version": 3},
}


class Receiver:
    """The receiver on a free port of loopback."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        config = uvicorn.Config(webhook_app(root, lambda: SECRET), log_level="warning")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()

    def post(
        self, body: bytes, secret: str | None = SECRET, method: str = "POST"
    ) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        headers = {} if secret is None else {"X-Webhook-Secret": secret}
        connection.request(method, "/", body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        is_json = answer.headers.get("content-type") == "application/json"
        return answer.status, json.loads(text) if is_json else text

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path)
    yield receiver
    receiver.stop()


def test_a_push_to_a_dataset_nudges_and_nothing_of_it_is_kept(receiver: Receiver) -> None:
    before = datetime.now(tz=UTC)
    assert receiver.post(json.dumps(PUSH).encode()) == (200, {"nudged": True})
    assert nudged_since(receiver.root, before)
    kept = (receiver.root / NUDGE_FILE).read_text()
    assert json.loads(kept).keys() == {"schema_version", "nudged_at_ns"}


@pytest.mark.parametrize(
    ("changes", "nudged"),
    [
        ({"updatedRefs": [{"ref": "refs/pr/1", "newSha": "b" * 40}]}, False),
        ({"updatedRefs": None}, False),
        ({"repo": {"type": "model", "name": "org/model"}}, False),
        ({"event": {"action": "create", "scope": "discussion"}}, False),
        ({"event": {"action": "create", "scope": "repo"}, "updatedRefs": None}, True),
        ({"event": {"action": "update", "scope": "repo.config"}, "updatedRefs": None}, True),
    ],
)
def test_only_what_concerns_records_nudges(
    receiver: Receiver, changes: dict[str, Any], nudged: bool
) -> None:
    assert receiver.post(json.dumps(PUSH | changes).encode()) == (200, {"nudged": nudged})
    assert (last_nudge(receiver.root) is not None) is nudged


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET[:-1], SECRET + "x", "\xff"])
def test_without_the_secret_nothing_happens(receiver: Receiver, secret: str | None) -> None:
    status, answer = receiver.post(json.dumps(PUSH).encode(), secret)
    assert status == 403
    assert SECRET not in json.dumps(answer)
    assert last_nudge(receiver.root) is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (json.dumps(PUSH | {"repo": {"type": "dataset", "name": "../../x"}}).encode(), 400),
        (b" " * (MAX_BODY_BYTES + 1), 413),
    ],
)
def test_what_is_no_webhook_is_refused(receiver: Receiver, body: bytes, status: int) -> None:
    assert receiver.post(body)[0] == status
    assert last_nudge(receiver.root) is None


def test_only_posts_are_received(receiver: Receiver) -> None:
    assert receiver.post(b"", method="GET")[0] == 405


def test_a_damaged_nudge_is_none(tmp_path: Path) -> None:
    (tmp_path / NUDGE_FILE).write_text("{")
    assert last_nudge(tmp_path) is None


def test_the_sandbox_s_webhook_reaches_us_when_a_record_is_pushed(
    world: World, receiver: Receiver
) -> None:
    owner = world.user("watched-owner")
    token = str(world.ask("/_sandbox/tokens", {"user": "watched-owner", "role": "write"})["token"])
    HfApi(endpoint=world.url, token=token).create_webhook(
        url=f"http://127.0.0.1:{receiver.port}/",
        watched=[{"type": "user", "name": "watched-owner"}],
        domains=["repo"],
        secret=SECRET,
    )
    repo = Repo("dataset", "watched-owner/run")
    assert owner.create(repo)
    owner.commit(repo, {"envelope.json": b"{}"}, message="publish", parent=None)
    deadline_s = time.monotonic() + 10
    while last_nudge(receiver.root) is None and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert last_nudge(receiver.root) is not None


def test_the_secret_is_read_from_the_environment_or_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    assert webhook_secret({"INFERENCEBENCH_WEBHOOK_SECRET": SECRET}) == SECRET
    assert webhook_secret({"INFERENCEBENCH_WEBHOOK_SECRET_FILE": str(file)}) == SECRET


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"INFERENCEBENCH_WEBHOOK_SECRET": "short"},
        {"INFERENCEBENCH_WEBHOOK_SECRET_FILE": "/nowhere/at/all"},
    ],
)
def test_a_secret_that_is_missing_or_guessable_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="INFERENCEBENCH_WEBHOOK_SECRET") as caught:
        webhook_secret(environ)
    assert "short" not in str(caught.value).replace("too short", "")
