"""The spec in an envelope: enough to drive the same load again, and nothing private."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Final

from inferencebench_pipeline.measure.arrivals import schedule_sha256
from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec import BenchmarkSpec
from inferencebench_pipeline.measure.spec_file import parse_spec
from inferencebench_pipeline.measure.workloads.recipe import recipe_of

_PRIVATE: Final = ("base_url", "api_key_env", "proxy", "model_path")
"""Fields of an engine that say where it runs or how to get in; a replay is given its own."""


def published_spec(spec: BenchmarkSpec) -> dict[str, Any]:
    """Return the resolved spec as an envelope states it.

    All that decides the load is in it. Addresses are not, and files go by their name and their
    SHA-256.
    """
    content = spec.model_dump(mode="json")
    for name in _PRIVATE:
        content["engine"].pop(name, None)
    for part, field in ((content["workload"]["dataset"], "path"), (content["load"], "schedule")):
        if field in part:
            part[field] = PurePath(part[field]).name
    return content


def replayed_spec(
    driver_options: Mapping[str, Any],
    *,
    engine: Mapping[str, Any] | None,
    model: str | None,
    folder: Path,
) -> BenchmarkSpec:
    """Return the spec that drives the load of an envelope again.

    Args:
        driver_options: of the envelope.
        engine: the engine to measure instead, as a spec file has it; the envelope's when null.
        model: the id of the model to ask for instead; the envelope's when null.
        folder: where data files are looked for, by their names.

    Raises:
        SpecError: the envelope does not state its spec, its engine cannot be started again from
            here, or a file is missing or another one.
    """
    stated = driver_options.get("spec")
    if not isinstance(stated, dict):
        raise SpecError(
            "the envelope does not state the spec it was measured by; only those of this pipeline "
            "do, in driver_options.spec"
        )
    content = {**stated, "place": None}
    if engine is not None:
        content["engine"] = dict(engine)
    elif _kind(content) == "openai":
        raise SpecError(
            "the envelope does not say where its engine answers; give one with --engine, for "
            "example --engine http://127.0.0.1:8000/v1"
        )
    if model is not None:
        content["model"] = {"id": model}
    elif engine is not None and isinstance(content.get("model"), dict):
        content["model"] = {**content["model"], "quantization": None}
    return parse_spec(_files_found(content, folder), where="of the envelope")


def _kind(content: Mapping[str, Any]) -> object:
    engine = content.get("engine")
    return engine.get("kind") if isinstance(engine, dict) else None


def _files_found(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the spec with the files it names found in ``folder``."""
    found = dict(content)
    load, workload = found.get("load"), found.get("workload")
    if isinstance(load, dict) and isinstance(name := load.get("schedule"), str):
        found["load"] = {**load, "schedule": str(folder / PurePath(name).name)}
    if isinstance(workload, dict) and isinstance(dataset := workload.get("dataset"), dict):
        name = dataset.get("path")
        if isinstance(name, str):
            path = str(folder / PurePath(name).name)
            found["workload"] = {**workload, "dataset": {**dataset, "path": path}}
    return found


def require_same_load(spec: BenchmarkSpec, *, workload_hash: str, schedule_hash: str) -> None:
    """Refuse to replay what would not be the same load.

    Args:
        spec: what is to be measured.
        workload_hash: of the envelope that is replayed.
        schedule_hash: of the same.

    Raises:
        SpecError: this version asks something else, or at other times, for the same spec.
    """
    found = recipe_of(spec.workload, spec.seed).identity_sha256
    if found != workload_hash:
        raise SpecError(
            f"the spec of the envelope comes to the workload {found[:12]} here, and the envelope "
            f"was measured with {workload_hash[:12]}; replay it with the version that measured it"
        )
    found = schedule_sha256(spec.load, spec.seed)
    if found != schedule_hash:
        raise SpecError(
            f"the spec of the envelope comes to the schedule {found[:12]} here, and the envelope "
            f"was measured with {schedule_hash[:12]}; replay it with the version that measured it"
        )
