"""The heartbeat: heard outside while everything lives, and silent as soon as something does not."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from definitions import build_definitions
from inferencebench_pipeline.alerts import (
    HeartbeatAddressError,
    HeartbeatNotSentError,
    send_heartbeat,
)
from inferencebench_pipeline.automation.instance.webserver import exposed_secrets
from inferencebench_pipeline.settings import Settings, heartbeat_url
from inferencebench_pipeline.untrusted.http import Bounds
from tests.automation.sensors.test_alerts import instigator, ticked
from tests.automation.ticks import sensor_tick
from tests.paths import REPOSITORY

SECRET = "0f3c-secret"


class Monitor:
    """A monitor on loopback: the paths it was called at, and what it answers."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.status = 200
        self.location = ""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/ping/{SECRET}"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        monitor = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                monitor.calls.append(self.path)
                self.send_response(monitor.status)
                if monitor.location:
                    self.send_header("Location", monitor.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                return

        return Handler


@pytest.fixture
def monitor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Monitor]:
    monitor = Monitor()
    monkeypatch.setenv("INFERENCEBENCH_HEARTBEAT_URL", monitor.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield monitor
    monitor.server.shutdown()
    monitor.server.server_close()


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    return build_definitions(Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)}))


def alive(instance: dg.DagsterInstance, *, ago_s: float = 1.0, silent: str | None = None) -> None:
    """Have every part of the daemon have spoken a second ago, and one so long ago."""
    for kind in instance.get_required_daemon_types():
        at = time.time() - (ago_s if kind == silent else 1.0)
        instance.add_daemon_heartbeat(DaemonHeartbeat(at, kind, None, None))


def said(definitions: dg.Definitions, instance: dg.DagsterInstance) -> str:
    return str(sensor_tick(definitions, instance, "heartbeat").skip_message)


def test_while_everything_lives_the_monitor_is_called(definitions, instance, monitor):
    alive(instance)
    assert said(definitions, instance).startswith("sent at")
    assert monitor.calls == [f"/ping/{SECRET}"]


def test_a_daemon_of_which_any_part_hangs_is_silent(definitions, instance, monitor):
    for kind in instance.get_required_daemon_types():
        alive(instance, ago_s=600, silent=kind)
        assert f"part {kind} has been silent" in said(definitions, instance)
    assert monitor.calls == []


def test_when_people_cannot_be_told_the_monitor_is_left_to_tell_them(
    definitions, instance, monitor, monkeypatch
):
    alive(instance)
    monkeypatch.setenv("INFERENCEBENCH_ALERTS", "json://127.0.0.1:9/")
    state = instigator(definitions, instance, "alerts", on_for=timedelta(days=1))
    ticked(instance, state, datetime.now(tz=UTC), "not all of the addresses took the alert")
    assert "alerts failed" in said(definitions, instance)
    assert monitor.calls == []
    ticked(instance, state, datetime.now(tz=UTC))
    assert said(definitions, instance).startswith("sent at")


def test_without_an_address_the_sensor_says_so(definitions, instance, monkeypatch):
    monkeypatch.delenv("INFERENCEBENCH_HEARTBEAT_URL", raising=False)
    assert "INFERENCEBENCH_HEARTBEAT_URL is not set" in said(definitions, instance)


def test_a_monitor_that_is_away_fails_no_tick_and_its_address_is_in_no_message(
    definitions, instance, monitor, caplog
):
    alive(instance)
    monitor.status = 503
    assert said(definitions, instance) == "the monitor answered with 503"
    monitor.server.shutdown()
    monitor.server.server_close()
    assert "could not be reached" in said(definitions, instance)
    assert SECRET not in caplog.text


def test_a_redirect_is_not_followed(monitor):
    monitor.status, monitor.location = 302, monitor.url + "/elsewhere"
    with pytest.raises(HeartbeatNotSentError, match="302"):
        send_heartbeat(monitor.url)
    assert len(monitor.calls) == 1


def test_a_monitor_that_answers_byte_by_byte_holds_up_no_sensor(monkeypatch):
    monkeypatch.setattr("inferencebench_pipeline.alerts._HEARTBEAT_BOUNDS", Bounds(1000, 1.0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def dribble() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                for byte in itertools.cycle(b"HTTP/1.1 200 OK\r\nA: "):
                    connection.sendall(bytes([byte]))
                    time.sleep(0.1)

        threading.Thread(target=dribble, daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(HeartbeatNotSentError):
            send_heartbeat(f"http://127.0.0.1:{server.getsockname()[1]}/{SECRET}")
        assert time.monotonic() - begun < 8


@pytest.mark.parametrize(
    "url", [f"file:///etc/{SECRET}", f"ftp://host/{SECRET}", SECRET, f"data:,{SECRET}"]
)
def test_another_kind_of_address_is_refused_and_not_repeated(url):
    with pytest.raises(HeartbeatAddressError) as caught:
        send_heartbeat(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", [f"http://[{SECRET}/", f"http://a b/{SECRET}", "http://", "http://127.0.0.1:x/"]
)
def test_an_address_that_cannot_be_parsed_is_not_repeated(url):
    with pytest.raises(HeartbeatNotSentError) as caught:
        send_heartbeat(url)
    assert SECRET not in str(caught.value)


def test_the_address_comes_from_the_environment_or_from_a_secret_file(tmp_path):
    secret = tmp_path / "heartbeat"
    secret.write_text("https://a/\n")
    assert heartbeat_url({"INFERENCEBENCH_HEARTBEAT_URL": f"@{secret}"}) == "https://a/"
    assert heartbeat_url({"INFERENCEBENCH_HEARTBEAT_URL": "https://b/"}) == "https://b/"
    assert heartbeat_url({}) is None


def test_every_setting_that_the_documentation_calls_secret_is_kept_from_a_webserver():
    text = (REPOSITORY / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.MULTILINE)
    secret = [name for name, meaning in rows if meaning.strip().endswith("; secret")]
    assert {"INFERENCEBENCH_ALERTS", "INFERENCEBENCH_HEARTBEAT_URL"} <= set(secret)
    environ = dict.fromkeys(secret, "https://a/b")
    assert exposed_secrets("0.0.0.0", environ) == sorted(secret)
