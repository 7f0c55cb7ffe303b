"""The command ``compare``: it tells whether two sets of runs of one benchmark differ."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from inferencebench_pipeline.cli.layout import rows_of
from inferencebench_pipeline.cli.targets import envelopes
from inferencebench_pipeline.cli.terminal import console, say_json
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.leaderboard import (
    COMPARED,
    ComparedRun,
    Comparison,
    MetricComparison,
    read_run,
)
from inferencebench_pipeline.leaderboard import compare as compare_runs
from inferencebench_pipeline.settings import Settings

# The backslash keeps Rich, which prints the help, from reading ``[@revision]`` as markup.
_SIDE = (
    "A run directory, an envelope.json, hf://datasets/ORG/NAME\\[@revision], a folder of run "
    "directories, or @FILE with one of these on each line."
)
_WITHOUT_PARTNER = " (the other side has no run with its load)"
_VERDICTS = {
    "better": ("B is better", "green"),
    "worse": ("B is worse", "bold red"),
    "not_separated": ("not separated", ""),
    "identical": ("the same in every run", "dim"),
    "too_few_runs": ("too few runs", "dim"),
}


def compare(
    a: Annotated[str, typer.Argument(help=f"The runs that B is compared with. {_SIDE}")],
    b: Annotated[str, typer.Argument(help="The runs to compare, in the same form as A.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Compare this metric instead of the usual ones. Repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare two sets of runs: which metrics changed, by how much, and how certainly.

    The statistics of the runs are compared by permutation tests, at a false-discovery rate of 5 %
    over the metrics. Each side needs at least four runs, or six to find a change in a single one of
    many metrics. Runs of different workloads are refused. Signatures are not verified:
    `inferencebench verify` does that.
    Exit codes: 0 compared, 2 the runs cannot be compared or read, 3 outage.
    """
    found = compare_runs(_runs(a), _runs(b), metric or COMPARED)
    if as_json:
        say_json(found.model_dump_json(indent=2))
    else:
        _print(found)


def _runs(target: str) -> list[ComparedRun]:
    deployment = Deployment(Settings.from_environment())
    return [read_run(data, where) for where, data in envelopes(target, deployment.hub)]


def _print(found: Comparison) -> None:
    out = console()
    lines = [f"at {'; '.join(found.load_points)}"]
    lines += [
        f"differs: {factor.field}: A {', '.join(factor.a)}   B {', '.join(factor.b)}"
        for factor in found.differs
    ]
    if not found.differs:
        lines.append("A and B do not differ in anything that is recorded")
    _say(lines, out)
    table = Table("metric", "unit", "A", "B", "B against A", "95 % interval", "q", "verdict")
    for item in found.metrics:
        said, style = _VERDICTS[item.verdict]
        table.add_row(
            item.label,
            item.unit,
            f"{item.median_a:.4g} ({item.n_a})",
            f"{item.median_b:.4g} ({item.n_b})",
            _effect(item, item.effect),
            f"{_effect(item, item.effect_low)} to {_effect(item, item.effect_high)}",
            "–" if item.q_value is None else f"{item.q_value:.2g}",
            Text(said, style=style),
        )
    out.print(table)
    _say([f"left out: {where}{_WITHOUT_PARTNER}" for where in found.left_out], out)


def _say(lines: Iterable[str], out: Console) -> None:
    """Print lines that begin with our words and quote records, which may be a stranger's."""
    for line in rows_of(((Text(), Text(line)) for line in lines), 0, out):
        out.print(line, soft_wrap=True)


def _effect(item: MetricComparison, value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value:+.1%}" if item.scale == "relative" else f"{value:+.4g}"
