"""The commands ``spec check`` and ``spec schema``: they help to write a benchmark spec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from inferencebench_pipeline.cli.terminal import console, say_document
from inferencebench_pipeline.measure import (
    Plan,
    json_schema,
    load_label,
    load_plan,
    named_spec,
    recipe_of,
)
from inferencebench_pipeline.settings import Settings

SpecArgument = Annotated[str, typer.Argument(help="A spec file, or the name of a shipped spec.")]
SetOption = Annotated[
    list[str],
    typer.Option("--set", help="Replace a field of the spec, like load.concurrency=8. Repeatable."),
]

app = typer.Typer(help="Write and check benchmark specs (docs/specs.md).", no_args_is_help=True)


def plan_of(spec: str, overrides: list[str]) -> Plan:
    """Return the plan of a spec file, or of the shipped spec of that name.

    Raises:
        SpecError: there is no such spec, or something in it is wrong.
    """
    is_file = spec.endswith((".yaml", ".yml"))
    path = Path(spec) if is_file else named_spec(Settings.from_environment().specs, spec)
    return load_plan(path, overrides, allow_code=True)  # the machine is the user's own


@app.command("check")
def check(spec: SpecArgument, overrides: SetOption = []) -> None:  # noqa: B006 - typer copies it
    """Check a spec and list its runs, without starting any."""
    plan = plan_of(spec, overrides)
    table = Table("run", "model", "engine", "data set", "load", "repeats", title=plan.name)
    for number, run in enumerate(plan.runs, start=1):
        recipe_of(run.workload, run.seed)  # a missing data file is an error now, and not at night
        table.add_row(
            str(number),
            run.model.id,
            run.engine.kind,
            run.workload.dataset.kind,
            load_label(run.load),
            str(run.repeats.least),
        )
    console().print(table)


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of spec files, of which specs/spec.schema.json is a copy."""
    say_document(json_schema().decode())
