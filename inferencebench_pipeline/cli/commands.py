"""The commands by name, each with its sentence and its file, which is loaded when it is run.

So a command costs what it imports itself, the list of commands costs nothing of theirs, and a
command whose extra is not installed stands in no other's way.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import typer
from typer.core import TyperGroup


@dataclass(frozen=True)
class Command:
    """One command, or one group of commands.

    Attributes:
        name: the word that a person types.
        place: ``file:name`` of the function, or of the ``Typer`` of a group, in this folder.
        summary: the first sentence of its help, for the list of all commands.
    """

    name: str
    place: str
    summary: str

    def load(self) -> Callable[..., None] | typer.Typer:
        """Import the command's file and return its function, or the ``Typer`` of a group."""
        file, _, name = self.place.partition(":")
        loaded: Callable[..., None] | typer.Typer = getattr(
            importlib.import_module(f"{__package__}.{file}"), name
        )
        return loaded


COMMANDS: Final = (
    Command(
        "run",
        "measuring:run",
        "Run a benchmark: for each load point, capture, traces.parquet, metrics and envelope.",
    ),
    Command(
        "search",
        "measuring:search",
        "Find the highest load that meets the SLO; each probe is a run, all are recorded.",
    ),
    Command(
        "replay",
        "measuring:replay",
        "Drive the load of an envelope again, on an engine of yours: the same questions and times.",
    ),
    Command(
        "deliver",
        "delivering:deliver",
        "Copy a finished run into another deployment's inbox; the new_runs sensor takes it from "
        "there.",
    ),
    Command(
        "sign",
        "publishing:sign",
        "Sign the envelopes of runs and log the signatures; a run that is signed stays as it is.",
    ),
    Command(
        "dev-key",
        "publishing:dev_key",
        "Make an Ed25519 key to sign with on this machine, and print how a policy pins it.",
    ),
    Command(
        "publish",
        "publishing:publish",
        "Publish a signed run as a dataset: verified first, one commit, read back and compared.",
    ),
    Command(
        "card",
        "publishing:card",
        "Print the dataset card of a run or an envelope, as publishing would render it.",
    ),
    Command(
        "takedown",
        "takedown:takedown",
        "Remove our links from model cards, close our pull requests there, and never come back.",
    ),
    Command(
        "verify",
        "verifying:verify",
        "Re-derive the content hash and the metrics, check signature, identity and inclusion "
        "proof.",
    ),
    Command(
        "explain",
        "verifying:explain",
        "Verify, and show the verdict as a tree: what was asked, what was found, on what it rests.",
    ),
    Command(
        "compare",
        "comparing:compare",
        "Compare two sets of runs of one benchmark: what changed, by how much, how sure.",
    ),
    Command(
        "crawl",
        "crawling:crawl",
        "Take stock of what is published, and say what it cost of the Hub's request limits.",
    ),
    Command("spec", "specs:app", "Write and check benchmark specs (docs/specs.md)."),
    Command("webhooks", "crawling:webhooks", "Being told by the Hub that something was pushed."),
    Command(
        "evals", "evaluations:app", "Community evaluation results: check, read and propose them."
    ),
)


class LazyCommands(TyperGroup):
    """The group of all commands: it lists them by their sentences, and loads the one that is run.

    Only :meth:`resolve_command` meets the words that a person typed. All else that Typer does with
    the commands of a group is help, completion and suggestions, for which the sentences are enough.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - private types
        """Return the command that the words name, with its file loaded."""
        name, unloaded, rest = super().resolve_command(ctx, args)
        by_name = {command.name: command for command in COMMANDS}
        return name, unloaded if name is None else with_options(by_name[name]), rest


def with_options(command: Command) -> Any:  # noqa: ANN401 - Typer's classes of them are private
    """Return a command with its options and arguments, or a group with its commands."""
    loaded = command.load()
    if isinstance(loaded, typer.Typer):
        return typer.main.get_group(loaded)
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(command.name)(loaded)
    return typer.main.get_command(alone)


def unloaded() -> None:
    """Stand for a command in the list of all; nobody calls it."""
