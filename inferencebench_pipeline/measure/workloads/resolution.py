"""Resolution of a spec: every default that depends on this host or on a file is filled in."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from inferencebench_pipeline.measure.errors import SpecError
from inferencebench_pipeline.measure.spec.engine import EmbeddedEngine
from inferencebench_pipeline.measure.spec.load import ReplayLoad
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec
from inferencebench_pipeline.measure.spec.workload import JsonlDataset, ShareGptDataset
from inferencebench_pipeline.measure.workloads.datasets import file_sha256

_MAX_SCHEDULE_BYTES = 64_000_000


def resolve(spec: BenchmarkSpec) -> BenchmarkSpec:
    """Return ``spec`` with every default that depends on this host or on another field filled in.

    The result is what ``spec.json`` records: reading it never needs the defaults of a version.

    Raises:
        SpecError: a file that it names cannot be read.
    """
    engine = spec.engine
    if isinstance(engine, EmbeddedEngine) and engine.threads is None:
        engine = engine.model_copy(update={"threads": max(1, usable_cores() - 1)})
    model = spec.model
    if model.served_name is None:
        model = model.model_copy(update={"served_name": model.id})
    workload = spec.workload.model_copy(update={"salt": spec.workload.salted_by})
    if isinstance(workload.dataset, JsonlDataset | ShareGptDataset):
        pinned = {"sha256": workload.dataset.sha256 or file_sha256(workload.dataset)}
        dataset = workload.dataset.model_copy(update=pinned)
        workload = workload.model_copy(update={"dataset": dataset})
    load = spec.load
    if isinstance(load, ReplayLoad):
        found = hashlib.sha256(read_schedule(load)).hexdigest()
        load = load.model_copy(update={"schedule_sha256": found})
    resolved = {"engine": engine, "model": model, "workload": workload, "load": load}
    return spec.model_copy(update=resolved)


def read_schedule(load: ReplayLoad) -> bytes:
    """Return the bytes of the schedule that ``load`` replays.

    Raises:
        SpecError: the file cannot be read, is too large, or is not the one that
            ``schedule_sha256`` names.
    """
    try:
        with Path(load.schedule).open("rb") as handle:
            data = handle.read(_MAX_SCHEDULE_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot read load.schedule = {load.schedule!r}: {error.strerror or error}; "
            "check the path"
        ) from error
    if len(data) > _MAX_SCHEDULE_BYTES:
        raise SpecError(
            f"load.schedule = {load.schedule!r} is larger than {_MAX_SCHEDULE_BYTES} bytes; "
            "cut it down to the arrivals that are replayed"
        )
    found = hashlib.sha256(data).hexdigest()
    if load.schedule_sha256 not in (None, found):
        raise SpecError(
            f"load.schedule = {load.schedule!r} has SHA-256 {found}, not load.schedule_sha256 = "
            f"{load.schedule_sha256}; bring the file it was made for, or correct the hash"
        )
    return data


def usable_cores() -> int:
    """Return the number of cores for this process, which a container may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
