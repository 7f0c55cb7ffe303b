"""Envelopes of made-up runs with given numbers, for comparisons."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import serialise
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from tests.envelope.measured import measurement_of, traces_bytes

Change = Callable[[dict[str, Any]], None]


@cache
def _template() -> bytes:
    run_id = new_run_id(unix_ms=1, entropy=bytes(10))
    return serialise(build_envelope(measurement_of(run_id, traces_bytes(run_id))))


def envelope_with(
    number: int, metrics: dict[str, float | None], *changes: Change
) -> tuple[str, bytes]:
    """The run id and envelope of run ``number``: the same as any other but for what is given."""
    document = json.loads(_template())
    run_id = new_run_id(unix_ms=1000 + number, entropy=number.to_bytes(10, "big"))
    document["run_id"] = run_id
    document["metrics"] |= metrics
    for change in changes:
        change(document)
    return run_id, json.dumps(document).encode()


def engine(version: str) -> Change:
    return lambda document: document["engine"].update(version=version)


def concurrency(value: int) -> Change:
    return lambda document: document["driver_options"]["load"].update(concurrency=value)


def slo(text: str) -> Change:
    return lambda document: document.update(slo_template=text)


def definitions(version: str) -> Change:
    return lambda document: document["inferencebench_pipeline"].update(metric_definitions=version)


def invalid(document: dict[str, Any]) -> None:
    flag = {"name": "lateness", "ok": False, "severity": "error", "detail": "client too slow"}
    document["inferencebench_pipeline"]["validity"] = [flag]


def foreign(document: dict[str, Any]) -> None:
    del document["inferencebench_pipeline"]


def write_run(store: Path, number: int, metrics: dict[str, float | None], *changes: Change) -> Path:
    """A run directory with a signed-looking envelope; comparing does not look at signatures."""
    run_id, data = envelope_with(number, metrics, *changes)
    run = RunStore(store).run(run_id)
    run.write(RunFile.ENVELOPE, data)
    return run.path
