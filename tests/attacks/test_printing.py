"""No text of a stranger acts on a terminal, a log, a card, a page or an alert.

Every text of an envelope is made to end in characters that move a cursor, name a window, reorder
a line or hide, and every command that shows it prints nothing of the kind.
"""

from __future__ import annotations

import ast
import json
import logging
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest
import yaml
from rich.table import Table
from rich.text import Text

from inferencebench_pipeline.alerts import send_alert
from inferencebench_pipeline.cli import terminal
from inferencebench_pipeline.cli.app import main
from inferencebench_pipeline.corpus.findings import FindingKind, finding
from inferencebench_pipeline.envelope.canonical import EnvelopeError, parse_envelope
from inferencebench_pipeline.envelope.reading import ReadEnvelope
from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.hub.dataset.card import render_card
from inferencebench_pipeline.lifecycle.metadata import table
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.attacks.nasty import acting, places, with_value
from tests.corpus.world import KEY, public_pem, record

EVIL: Final = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\u2066\u200b\x7f\u2028\U000e0041\ue000"
PLAIN: Final[dict[str, Any]] = json.loads(record(new_run_id(), "example-org/one")["envelope.json"])
KEPT_OBJECTS: Final[tuple[tuple[str, ...], ...]] = (
    (),
    ("metrics",),
    ("driver_options",),
    ("distributions",),
    ("inferencebench_pipeline",),
    ("inferencebench_pipeline", "metric_notes"),
)
"""Objects of an envelope whose keys are the writer's."""


def texts(document: Any) -> Iterator[tuple[str | int, ...]]:
    for place in places(document):
        part = document
        for step in place:
            part = part[step]
        if isinstance(part, str):
            yield place


def evil_envelope() -> bytes:
    """Return an envelope every text of which is evil, as far as the format has such texts."""
    document = PLAIN
    for place in texts(PLAIN):
        part: Any = PLAIN
        for step in place:
            part = part[step]
        evil = with_value(document, place, part + EVIL)
        try:
            parse_envelope(json.dumps(evil).encode())
        except EnvelopeError:
            continue
        document = evil
    return json.dumps(document).encode()


@dataclass(frozen=True)
class Said:
    """The output of a command, and its exit code."""

    text: str
    code: int


def cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> Said:
    """Run a command as the console script does."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["inferencebench", *arguments])
        main()
    shown = capsys.readouterr()
    code = ended.value.code
    assert len(shown.out + shown.err) < 200_000
    return Said(shown.out + shown.err, code if isinstance(code, int) else 0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INFERENCEBENCH_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("INFERENCEBENCH_ORGANISATION", "example-org")
    rule = {"organisation": "example-org", "suites": ["*"], "public_key_pem": public_pem(KEY)}
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump({"version": 1, "dev_keys": [rule]}))
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "envelope.json").write_bytes(evil_envelope())
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "envelope.json").write_bytes(json.dumps(PLAIN).encode())
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ("verify", "evil", "--policy", "policy.yaml"),
        ("verify", "evil", "--policy", "policy.yaml", "--json"),
        ("explain", "evil", "--policy", "policy.yaml"),
        ("card", "evil/envelope.json"),
        ("compare", "evil", "evil"),
        ("compare", "plain", "evil"),
        ("compare", "plain", "evil", "--json"),
        ("replay", "evil"),
    ],
    ids=" ".join,
)
def test_no_command_prints_what_acts(
    folder: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert folder.is_dir()
    said = cli(capsys, *command)
    assert len(said.text) > 20
    assert not acting(said.text)


@pytest.mark.parametrize(
    "command",
    [
        ("verify", f"/{EVIL}", "--policy", "policy.yaml"),
        ("verify", f"hf://datasets/{EVIL}/x", "--policy", "policy.yaml", "--offline"),
        ("verify", "evil", "--policy", f"{EVIL}.yaml"),
        ("verify", "evil", "--policy", "policy.yaml", "--revision", EVIL),
        ("card", EVIL),
        ("compare", f"@{EVIL}", "plain"),
        ("compare", "plain", "plain", "--metric", EVIL),
        ("spec", "check", f"{EVIL}.yaml"),
        ("spec", "check", EVIL),
        ("spec", "check", "smoke", "--set", f"load.requests={EVIL}"),
        ("evals", "check", f"{EVIL}.yaml"),
        ("sign", EVIL),
        ("deliver", EVIL, "--to", "inbox"),
    ],
    ids=lambda command: " ".join(command[:2]).encode("unicode_escape").decode()[:30],
)
def test_no_argument_is_echoed_as_it_is(
    folder: Path, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert folder.is_dir()
    said = cli(capsys, *command)
    assert said.code == 2
    assert "error: " in said.text
    assert not acting(said.text)


def test_each_text_of_an_envelope_alone_leaves_card_and_errors_clean() -> None:
    for place in texts(PLAIN):
        part: Any = PLAIN
        for step in place:
            part = part[step]
        data = json.dumps(with_value(PLAIN, place, part + EVIL)).encode()
        try:
            card = render_card(
                ReadEnvelope(parse_envelope(data)),
                "example-org/x",
                signer=None,
                endpoint="https://hub",
            ).decode()
        except EnvelopeError as error:
            card = str(error)
        assert not acting(card), place


def test_a_key_of_an_envelope_is_a_text_too() -> None:
    for place in KEPT_OBJECTS:
        for value in ({"n": EVIL}, EVIL, 1, [EVIL]):
            document = with_value(PLAIN, (*place, EVIL), value)
            try:
                shown = render_card(
                    ReadEnvelope(parse_envelope(json.dumps(document).encode())),
                    "example-org/x",
                    signer=None,
                    endpoint="https://hub",
                ).decode()
            except EnvelopeError as error:
                shown = str(error)
            assert not acting(shown), place


def test_a_card_is_short_whatever_the_texts_are() -> None:
    document = with_value(PLAIN, ("warnings",), ["y" * 100_000] * 9)
    for place in (("suite_id",), ("model", "id"), ("engine", "name")):
        document = with_value(document, place, "x" * 100_000)
    card = render_card(
        ReadEnvelope(parse_envelope(json.dumps(document).encode())),
        "a/b",
        signer=None,
        endpoint="https://hub",
    )
    assert len(card) < 100_000


@pytest.mark.parametrize("kind", [PermanentError, RetryableError])
def test_an_error_of_ours_is_safe_wherever_it_is_shown(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    error = kind(f"the engine says {EVIL}; ask it again\nand again")
    assert not acting(str(error))
    assert str(error).endswith("; ask it again\nand again")
    with caplog.at_level(logging.ERROR):
        logging.getLogger("x").error("failed: %s", error)
    assert not acting(caplog.text)


def test_findings_tables_and_alerts_are_safe() -> None:
    found = finding(FindingKind.REJECTED, "a/b", None, EVIL * 1000, datetime.now(UTC))
    assert not acting(found.detail)
    assert len(found.detail) < 2100
    value = table([{"why": EVIL, "n": 1}])
    assert isinstance(value, dg.TableMetadataValue)
    assert not acting(str(value.records[0].data["why"]))
    assert not acting(json.dumps(_told(title=EVIL, body=f"- a\n- {EVIL}"), ensure_ascii=False))


def _told(*, title: str, body: str) -> Any:
    """Return what somebody who reads alerts over HTTP is sent."""
    bodies: list[bytes] = []

    class Reader(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Reader) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        send_alert([f"json://127.0.0.1:{server.server_port}/"], title=title, body=body)
    return json.loads(bodies[0])


def test_the_terminal_shows_what_would_act(capsys: pytest.CaptureFixture[str]) -> None:
    cells = Table("a", EVIL, title=EVIL)
    cells.add_row(EVIL, Text(EVIL))
    terminal.console().print(cells)
    terminal.console().print(EVIL, Text(EVIL), [EVIL])
    terminal.say(f"[red]{EVIL}[/red]\nsecond line")
    terminal.say_document(f"# card\n\n{EVIL}\n")
    terminal.say_error(PermanentError(EVIL * 10_000))
    shown = capsys.readouterr()
    assert not acting(shown.out + shown.err)
    assert "[red]" in shown.out
    assert "\nsecond line\n" in shown.out
    assert len(shown.err) < 25_000


def test_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    for document in ({"a": EVIL, EVIL: [EVIL]}, {"ü": "日本語 🙂"}):
        terminal.say_json(json.dumps(document, ensure_ascii=False, indent=2))
        shown = capsys.readouterr().out
        assert not acting(shown)
        assert json.loads(shown) == document


def test_colours_are_ours_and_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    console = terminal.console()
    with console.capture() as captured:
        console.print(Text(f"done {EVIL}", style="green"))
    assert captured.get().startswith("\x1b[32mdone \\x1b]0;owned")


STREAMS: Final = {"sys.stdout", "sys.stderr"}


def test_commands_print_in_one_place() -> None:
    """Whatever the next command is, it prints through ``cli/terminal.py``."""
    elsewhere = []
    for module in sorted(Path(terminal.__file__).parent.glob("*.py")):
        if module.name == "terminal.py":
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in {"print", "Console", "typer.echo", "typer.secho", "rich.print"}:
                    elsewhere.append(f"{module.name}:{node.lineno}: {called}")
            if isinstance(node, ast.Attribute) and ast.unparse(node) in {
                "sys.stdout",
                "sys.stderr",
            }:
                elsewhere.append(f"{module.name}:{node.lineno}")
    assert not elsewhere
