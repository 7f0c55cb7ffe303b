"""Every command explains itself, to the letter."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from inferencebench_pipeline.cli.app import app


def commands() -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group."""
    waiting = [((), typer.main.get_command(app))]
    while waiting:
        words, command = waiting.pop()
        yield words
        waiting += [((*words, name), sub) for name, sub in getattr(command, "commands", {}).items()]


def help_of(*words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.exception
    return done.output


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_is_shown(words: tuple[str, ...]) -> None:
    assert "Usage" in help_of(*words)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("verify", "hf://datasets/ORG/NAME[/envelope.json][@revision]"),
        ("explain", "hf://datasets/ORG/NAME[/envelope.json][@revision]"),
        ("replay", "hf://datasets/ORG/NAME[@rev]"),
    ],
)
def test_brackets_in_help_are_text_not_markup(word: str, text: str) -> None:
    assert text in help_of(word)
