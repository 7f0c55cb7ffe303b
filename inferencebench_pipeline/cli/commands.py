"""The commands by name, each with a sentence and with its file, which is loaded when it is run.

A command thus costs only its own imports, the list of commands costs none of them, and a command
whose extra is not installed does not prevent the others.
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
        epilog: ``file:name`` of the function that returns the last lines of its help, if any.
    """

    name: str
    place: str
    summary: str
    epilog: str | None = None

    def load(self) -> Callable[..., None] | typer.Typer:
        """Import the command's file and return its function, or the ``Typer`` of a group."""
        loaded: Callable[..., None] | typer.Typer = _named(self.place)
        return loaded

    def last_lines(self) -> str | None:
        """Return the last lines of the command's help, or None if it has none of its own."""
        if self.epilog is None:
            return None
        lines: str = _named(self.epilog)()
        return lines


def _named(place: str) -> Any:  # noqa: ANN401 - what a place names is the caller's to know
    file, _, name = place.partition(":")
    return getattr(importlib.import_module(f"{__package__}.{file}"), name)


COMMANDS: Final = (
    Command(
        "run",
        "measurement.measuring:run",
        "Run a benchmark, and write the traces, metrics and unsigned envelope of each load point.",
    ),
    Command(
        "search",
        "measurement.measuring:search",
        "Find the highest load that meets the SLO; each probe is recorded as a run.",
    ),
    Command(
        "replay",
        "measurement.measuring:replay",
        "Send the load of an envelope again, with the same questions and times, to your engine.",
    ),
    Command(
        "deliver",
        "publication.delivering:deliver",
        "Copy a finished run into the inbox of the deployment that signs and publishes it.",
    ),
    Command(
        "sign",
        "publication.publishing:sign",
        "Sign the envelopes of runs and log the signatures; a signed run is left unchanged.",
    ),
    Command(
        "dev-key",
        "publication.publishing:dev_key",
        "Make an Ed25519 key to sign with on this machine, and print the policy that accepts it.",
    ),
    Command(
        "publish",
        "publication.publishing:publish",
        "Publish a signed run as a dataset, after verifying it, and compare what the Hub serves.",
    ),
    Command(
        "card",
        "publication.publishing:card",
        "Print the dataset card of a run or an envelope, as it would be published.",
    ),
    Command(
        "takedown",
        "publication.takedown:takedown",
        "Remove our links from model cards, close our pull requests there, and never link again.",
    ),
    Command(
        "verify",
        "verification.verifying:verify",
        "Verify a record: its content hash, signature, signer, inclusion proof and metrics.",
        epilog="verification.exit_codes:exit_code_lines",
    ),
    Command(
        "explain",
        "verification.verifying:explain",
        "Verify a record, and show each question, its answer and the evidence as a tree.",
        epilog="verification.exit_codes:exit_code_lines",
    ),
    Command(
        "compare",
        "comparing:compare",
        "Compare two sets of runs: which metrics changed, by how much, and how certainly.",
    ),
    Command(
        "crawl",
        "publication.crawling:crawl",
        "Take stock of the published runs on the Hub, and print the requests that it took.",
    ),
    Command(
        "trust",
        "verification.trust_root:app",
        "Show, refresh or pin the trust root: the authorities and logs that count (docs/trust.md).",
    ),
    Command(
        "policy",
        "policy.policies:app",
        "Write, check and explain identity policies: who may sign for whom (docs/trust.md).",
    ),
    Command("spec", "measurement.specs:app", "Write and check benchmark specs (docs/specs.md)."),
    Command(
        "webhooks", "publication.crawling:webhooks", "Receive webhooks of the Hub about pushes."
    ),
    Command(
        "evals",
        "publication.evaluations:app",
        "Check, read and propose community evaluation results.",
    ),
)


class LazyCommands(TyperGroup):
    """The group of all commands: it lists them by their sentences, and loads the one that is run.

    Only :meth:`resolve_command` meets the words that a person typed. All else that Typer does with
    the commands of a group is help, completion and suggestions, for which the sentences are enough.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - private types
        """Return the command that the words name, with its file loaded."""
        # Typer finds the stand-in by its name; it is replaced before its options are parsed.
        name, unloaded, rest = super().resolve_command(ctx, args)
        by_name = {command.name: command for command in COMMANDS}
        return name, unloaded if name is None else with_options(by_name[name]), rest


def with_options(command: Command) -> Any:  # noqa: ANN401 - Typer's classes of them are private
    """Return a command with its options and arguments, or a group with its commands."""
    loaded = command.load()
    if isinstance(loaded, typer.Typer):
        return typer.main.get_group(loaded)
    # Typer makes commands of applications only, so the function gets one of its own.
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    alone.command(command.name, epilog=command.last_lines())(loaded)
    return typer.main.get_command(alone)


def unloaded() -> None:
    """Stand for a command in the list of all commands; it is never called."""
