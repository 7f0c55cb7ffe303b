"""``inferencebench run``: measure a spec, and write everything up to the unsigned envelope."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from inferencebench_pipeline.envelope.build import write_envelope
from inferencebench_pipeline.measure.audit import EngineAudit
from inferencebench_pipeline.measure.measurement import Measurement, write_measurement
from inferencebench_pipeline.measure.metrics import DEFINITIONS
from inferencebench_pipeline.measure.run import run_benchmark
from inferencebench_pipeline.measure.spec_file import load_spec, named_spec
from inferencebench_pipeline.measure.traces import write_traces
from inferencebench_pipeline.runs import RunStore, new_run_id
from inferencebench_pipeline.settings import Settings


def run(
    spec: Annotated[str, typer.Argument(help="A spec file, or the name of a shipped spec.")],
    run_id: Annotated[
        str | None, typer.Option(help="Finish this run instead of starting a new one.")
    ] = None,
) -> None:
    """Run a benchmark: capture, traces.parquet, metrics and the unsigned envelope."""
    settings = Settings.from_environment()
    path = Path(spec) if spec.endswith((".yaml", ".yml")) else named_spec(settings.specs, spec)
    loaded = load_spec(path)
    directory = RunStore(settings.store).run(run_id or new_run_id())
    console = Console(highlight=False)
    console.print(f"run {directory.run_id}", markup=False)
    run_benchmark(
        loaded, directory, on_progress=lambda step: console.print(str(step), markup=False)
    )
    write_traces(directory)
    measurement = write_measurement(directory)
    write_envelope(directory)
    console.print(_headline(measurement))
    if measurement.audit is not None:
        console.print(_audit(measurement.audit))
    console.print(f"written to {directory.path}", markup=False, soft_wrap=True)
    console.print(f"next: inferencebench sign {directory.run_id}", markup=False)


def _audit(audit: EngineAudit) -> Table:
    """Return the engine's own numbers beside ours; the caption says why there are none."""
    title = "the engine's own numbers, warm-up included"
    table = Table("quantity", "engine", "ours", "unit", "", title=title, caption=audit.null_reason)
    for line in audit.lines:
        ours = "" if line.ours is None else f"{line.ours:,.3f}"
        table.add_row(line.name, f"{line.engine:,.3f}", ours, line.unit, line.note)
    return table


def _headline(measurement: Measurement) -> Table:
    table = Table("metric", "value", "unit", "n", title=measurement.spec.name)
    for key, metric in measurement.metrics.items():
        if DEFINITIONS[key].headline:
            value = metric.null_reason if metric.value is None else f"{metric.value:,.3f}"
            table.add_row(DEFINITIONS[key].label, value, metric.unit, str(metric.n))
    return table
