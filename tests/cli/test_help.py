"""Every command explains itself, to the letter."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from inferencebench_pipeline import __version__
from inferencebench_pipeline.cli.app import app
from inferencebench_pipeline.cli.commands import COMMANDS, Command, with_options
from inferencebench_pipeline.trust import VERIFIER_VERSION


def commands() -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group."""
    yield ()
    for command in COMMANDS:
        yield (command.name,)
        yield from ((command.name, sub) for sub in getattr(with_options(command), "commands", {}))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_list_says_of_a_command_what_its_own_help_begins_with(command: Command) -> None:
    own = inspect.cleandoc(with_options(command).help or "")
    assert own.partition("\n\n")[0] == command.summary


def help_of(*words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0, done.exception
    return done.output


def test_the_version_is_that_of_the_package_and_of_the_verifier() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.exit_code == 0
    assert done.output == f"inferencebench {__version__}, verifier {VERIFIER_VERSION}\n"
    assert "Print the version" in help_of()


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_is_shown(words: tuple[str, ...]) -> None:
    assert "Usage" in help_of(*words)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("verify", "hf://datasets/ORG/NAME[/envelope.json][@revision]"),
        ("explain", "hf://datasets/ORG/NAME[/envelope.json][@revision]"),
        ("replay", "hf://datasets/ORG/NAME[@rev]"),
        ("compare", "hf://datasets/ORG/NAME[@revision]"),
    ],
)
def test_brackets_in_help_are_text_not_markup(word: str, text: str) -> None:
    assert text in help_of(word)
