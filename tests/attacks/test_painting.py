"""No text of a stranger looks like a line of ours: it begins no row of a terminal, and stacks none.

Texts of many kinds are put into every text of an envelope, into a card and into names of files, and
what ``verify`` and its like print is laid out as a terminal of some width lays it out.
"""

from __future__ import annotations

import ast
import io
import json
import random
import re
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from inferencebench_pipeline.cli import terminal
from inferencebench_pipeline.cli.layout import rows_of
from inferencebench_pipeline.cli.verification import corpus_verifying, explaining, verdict_page
from inferencebench_pipeline.cli.verification.explaining import print_tree
from inferencebench_pipeline.cli.verification.verdict_page import print_page
from inferencebench_pipeline.cli.verification.verdict_report import VerdictReport
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.attacks.nasty import NASTY, acting, places, with_value
from tests.attacks.test_printing import PLAIN, Said, cli, folder, texts  # noqa: F401  # fixture
from tests.chance import dice, examples

FORGED: Final = "VERIFIED: the signature holds, and every number"
BREAKS: Final = ("\n", "\r\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029")
SGR: Final = re.compile(r"\x1b\[[0-9;]*m")
"""The one escape sequence that Rich writes for our colours."""
POLICY: Final = ("--policy", "policy.yaml")


def hostile(chance: random.Random) -> str:
    """Return a text of a random kind that tries to look like a line of ours, to act, or to hide."""
    padding = chance.randrange(200)
    kinds: tuple[Callable[[], str], ...] = (
        lambda: f"{chance.choice(BREAKS)}{FORGED}",
        lambda: "x" * padding + FORGED,
        lambda: "x " * padding + FORGED,
        lambda: "\u6f22" * padding + FORGED,
        lambda: "\ufdfd" * padding + FORGED,
        lambda: " " * padding + "\u00a0" * padding + FORGED,
        lambda: "\u3164" * padding + FORGED,
        lambda: "e" + "\u0301" * padding,
        lambda: f"\x1b[{padding}A\x1b[2K{FORGED}\x1b[8m",
        lambda: f"\x9b{padding}A{FORGED}\x9b8m",
        lambda: f"\x1b]8;;https://x.example\x1b\\{FORGED}\x1b]8;;\x1b\\",
        lambda: f"\u202e{FORGED[::-1]}\u202c",
        lambda: f"[bold green]{FORGED}[/] [link=https://x.example]x[/link]",
        lambda: ":heavy_check_mark: :white_check_mark:",
        lambda: "\x08" * padding + FORGED,
        lambda: "\x00\x7f\u200b\ufeff\u2066\U000e0041",
        lambda: "y" * 5_000 + FORGED,
    )
    return chance.choice(kinds)()


def hostile_envelope(chance: random.Random) -> bytes:
    """Return an envelope with hostile texts, as far as the format takes them."""
    from inferencebench_pipeline.envelope.canonical import EnvelopeError, parse_envelope

    document: Any = PLAIN
    for place in texts(PLAIN):
        if chance.random() < 0.5:
            continue
        part: Any = PLAIN
        for step in place:
            part = part[step]
        made = with_value(document, place, part + hostile(chance))
        try:
            parse_envelope(json.dumps(made).encode())
        except EnvelopeError:
            continue
        document = made
    return json.dumps(document).encode()


def rows(text: str, columns: int) -> Iterator[str]:
    """Yield the rows that a terminal of that width shows."""
    for line in text.split("\n"):
        row = ""
        for mark in line:
            if cell_len(row + mark) > columns:
                yield row
                row = ""
            row += mark
        yield row


def stacks(text: str) -> bool:
    """Return whether marks tower over a letter."""
    marks = "".join("m" if unicodedata.category(mark) in {"Mn", "Me"} else " " for mark in text)
    return "mmmm" in marks


def assert_clean(said: Said, columns: int) -> None:
    assert not acting(said.text)
    assert not stacks(said.text)
    assert "\u2714" not in said.text
    assert "\u2705" not in said.text
    for row in rows(said.text, columns):
        assert not row.startswith(("VERIFIED", "✓")), row


@pytest.mark.parametrize("number", range(examples(6)))
@pytest.mark.parametrize("command", ["verify", "explain"])
def test_no_text_of_a_record_begins_a_row(
    command: str,
    number: int,
    folder: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = dice(f"painting {command} {number}")
    (folder / "evil/envelope.json").write_bytes(hostile_envelope(chance))
    if chance.random() < 0.5:
        (folder / "evil/README.md").write_text(f"---\ninferencebench:\n  model: x\n---\n{FORGED}\n")
    columns = chance.choice((40, 60, 80, 100, 120, 200))
    monkeypatch.setenv("COLUMNS", str(columns))
    said = cli(capsys, command, "evil", *POLICY)
    assert said.code == 1
    assert_clean(said, columns)
    last = said.text.rstrip("\n").splitlines()
    assert any(line.startswith("REJECTED: ") for line in last[-3:])


@pytest.mark.parametrize("value", NASTY)
def test_no_value_in_a_record_keeps_it_from_a_verdict(
    value: str,
    folder: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody has signed any of these, so that whoever sends a file can put them there."""
    chance = dice(f"a verdict on {value}")
    every_metric = PLAIN | {"metrics": dict.fromkeys(PLAIN["metrics"], NASTY[value])}
    anywhere = with_value(PLAIN, chance.choice(list(places(PLAIN))), NASTY[value])
    for document in (every_metric, anywhere):
        (folder / "evil/envelope.json").write_text(json.dumps(document))
        for command in (("verify",), ("verify", "--json"), ("explain",)):
            said = cli(capsys, command[0], "evil", *command[1:], *POLICY)
            # Where the value says nothing new, the record is good, and its traces are not here.
            assert said.code in {1, 4}
            assert not acting(said.text)


@pytest.mark.parametrize("number", range(examples(3)))
@pytest.mark.parametrize("command", ["verify", "explain", "compare", "replay"])
def test_on_a_terminal_nothing_but_our_colours_is_an_escape(
    command: str,
    number: int,
    folder: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = dice(f"colours {command} {number}")
    (folder / "evil/envelope.json").write_bytes(hostile_envelope(chance))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    more = ("evil",) if command == "compare" else () if command == "replay" else POLICY
    said = cli(capsys, command, "evil", *more)
    assert not acting(SGR.sub("", said.text))
    if command in {"verify", "explain"}:
        assert "\x1b[1;31mREJECTED" in said.text
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in cli(capsys, command, "evil", *more).text


@pytest.mark.parametrize("number", range(examples(3)))
def test_the_json_is_json_whatever_the_texts_are(
    number: int,
    folder: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "evil/envelope.json").write_bytes(hostile_envelope(dice(f"json {number}")))
    monkeypatch.setenv("FORCE_COLOR", "1")
    said = cli(capsys, "verify", "evil", *POLICY, "--json")
    assert not acting(said.text)
    assert json.loads(said.text)["outcome"] == "rejected"


@pytest.mark.parametrize("breaks", BREAKS, ids=ascii)
def test_no_name_of_a_file_begins_a_row(
    breaks: str,
    folder: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = f"record{breaks}{FORGED}"
    (folder / name).mkdir()
    (folder / name / "envelope.json").write_bytes(json.dumps(PLAIN).encode())
    for words in (("verify", name, *POLICY), ("explain", name, *POLICY), ("verify", f"{name}.x")):
        assert_clean(cli(capsys, *words), 80)
    assert_clean(cli(capsys, "card", f"{name}/none"), 80)
    assert_clean(cli(capsys, "compare", f"{name}.x", "evil"), 80)


def test_only_the_first_line_of_an_error_is_at_the_margin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = PermanentError(f"one\n{FORGED}\n" + "z" * 300)
    terminal.say_error(error)
    piped = capsys.readouterr().err.splitlines()
    assert piped == ["error: one", f"  {FORGED}", "  " + "z" * 300]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    terminal.say_error(error)
    shown = SGR.sub("", capsys.readouterr().err).splitlines()
    assert all(cell_len(line) <= 60 for line in shown)
    assert [line[:2] for line in shown[1:]] == ["  "] * (len(shown) - 1)


@pytest.mark.parametrize("page", [print_page, print_tree], ids=["verify", "explain"])
def test_no_padding_brings_a_text_to_the_beginning_of_a_row(
    page: Callable[[VerdictReport, Console], None],
    folder: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every padding up to the width of the terminal, in each text that the page shows."""
    assert folder.is_dir()
    found = cli(capsys, "verify", "evil", *POLICY, "--json")
    report = VerdictReport.model_validate_json(found.text)
    assert report.record is not None
    columns = 60
    for padding in range(columns):
        text = "x" * padding + FORGED
        record = report.record.model_copy(
            update={"model": text, "engine": text, "run_id": text, "load": text, "cpu": text}
        )
        answers = tuple(answer.model_copy(update={"said": text}) for answer in report.answers)
        checks = tuple(check.model_copy(update={"detail": text}) for check in report.checks)
        forged = report.model_copy(
            update={"record": record, "answers": answers, "checks": checks, "where": text}
        )
        shown = io.StringIO()
        page(forged, Console(file=shown, width=columns, markup=False))
        for row in rows(shown.getvalue(), columns):
            assert not row.startswith("VERIFIED"), (padding, row)


@pytest.mark.parametrize("command", ["card", "compare"])
def test_no_padding_brings_a_text_of_a_card_or_a_comparison_to_the_margin(
    command: str,
    folder: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = len(FORGED) + 1 + 5
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    found = False
    # Three copies, each five cells further back than the one before it in its row.
    copies = f"{FORGED} " * 3
    for padding in (15 * fold + more for fold in range(4) for more in range(5)):
        document = with_value(PLAIN, ("run_id",), new_run_id())
        for place in (("model", "id"), ("engine", "version")):
            document = with_value(document, place, "x" * padding + copies)
        (folder / "evil/envelope.json").write_text(json.dumps(document))
        asked = {"card": ("evil/envelope.json",), "compare": ("plain", "evil")}[command]
        shown = cli(capsys, command, *asked)
        assert shown.code == 0, shown.text
        said = SGR.sub("", shown.text)
        found = found or "VERIFIED" in said
        for row in rows(said, columns):
            assert not row.startswith("VERIFIED"), (padding, row)
    assert found


def test_what_is_left_to_the_terminal_looks_like_nothing_but_an_address() -> None:
    """A row at the margin is a line of ours, or a part of an address with no word of ours."""
    chance = dice("addresses that a terminal breaks")
    words = "VERIFIED Verified: REJECTED rejected: INCOMPLETE NEWER EMPTY: DIFFER: error: note: x"
    whole = 0
    for _ in range(examples(400)):
        columns = chance.choice((40, 60, 80))
        parts = [
            chance.choice((*words.split(), "\u2713")),
            *("x" * chance.randrange(1, 50) for _ in range(4)),
        ]
        chance.shuffle(parts)
        text = chance.choice(("https://h.example/", "hf://datasets/", "/tmp/", ""))
        text += chance.choice(("/", "-", "", "@")).join(parts)
        shown = io.StringIO()
        out = Console(file=shown, width=columns, markup=False)
        for line in rows_of([(Text("Place"), Text(f"before {text} after"))], 12, out):
            out.print(line, soft_wrap=True)
        whole += text in shown.getvalue() and len(text) > columns
        for row in rows(shown.getvalue(), columns):
            if row and not row.startswith("  "):
                assert re.fullmatch(r"[A-Za-z0-9._~/@%+=#?&:-]+", row), row
                assert not re.search("verified|rejected|incomplete|newer|error", row, re.I), row
    assert whole, "no example was longer than the terminal"


def test_no_padding_brings_a_line_of_a_corpus_to_the_margin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "50")
    for padding in range(60):
        terminal.say_hanging(f"  example-org/{'x' * padding}{FORGED}")
        for row in rows(SGR.sub("", capsys.readouterr().out), 50):
            assert not row.startswith("VERIFIED"), padding


def test_a_command_that_quotes_a_stranger_lets_no_line_run_on() -> None:
    """``verify --corpus`` prints names of an unsigned table, which may be as long as a row."""
    for module in (corpus_verifying, verdict_page, explaining):
        called = {
            node.func.id
            for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert "say" not in called, module.__name__
