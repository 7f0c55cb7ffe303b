"""The GPUs that the engine really used, and the energy of exactly those, or of the CPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from inferencebench_pipeline.measure.telemetry.energy import (
    cpu_energy,
    gpu_energy,
    unmeasured,
)
from inferencebench_pipeline.measure.telemetry.readings import DeviceFacts, Reading, SourceFacts
from inferencebench_pipeline.measure.telemetry.report import Energy, EngineUse

_PROC: Final = Path("/proc")


def engine_use(
    states: Mapping[str, Mapping[str, Any]], engine_pid: int | None, proc: Path = _PROC
) -> EngineUse:
    """Return which GPUs the engine uses now.

    Args:
        states: each GPU's state with its ``compute_pids``.
        engine_pid: the engine's first process when we started it.
        proc: where processes are listed.
    """
    listed = {gpu: set(state.get("compute_pids") or ()) for gpu, state in states.items()}
    everyone = set().union(*listed.values())
    if not everyone:
        return EngineUse(gpus=(), how="no GPU has a compute process")
    if engine_pid is None:
        busy = tuple(gpu for gpu, pids in listed.items() if pids)
        return EngineUse(
            gpus=busy, how="every GPU with a compute process: the engine is not ours to ask"
        )
    ours = process_tree(engine_pid, proc)
    used = tuple(gpu for gpu, pids in listed.items() if pids & ours)
    if used:
        shared = tuple(gpu for gpu in used if listed[gpu] - ours)
        return EngineUse(gpus=used, shared=shared, how="the GPUs that list the engine's processes")
    if any(not (proc / str(pid)).exists() for pid in everyone):
        return EngineUse(
            gpus=None,
            how="the driver lists processes of another PID namespace, so which GPUs the engine "
            "used is unknown; share the host's PID namespace",
        )
    return EngineUse(gpus=(), how="no GPU lists a process of the engine")


def process_tree(pid: int, proc: Path = _PROC) -> set[int]:
    """Return ``pid`` and all its descendants."""
    parents: dict[int, int] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                # The command, in brackets, may hold anything: the fields follow the last bracket.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            # After the command come the state and then the parent (proc(5)).
            parents[int(entry.name)] = int(fields[1])
    tree = {pid}
    # In rounds, since a process may be listed before its parent.
    grown = True
    while grown:
        more = {child for child, parent in parents.items() if parent in tree} - tree
        tree |= more
        grown = bool(more)
    return tree


def run_energy(
    readings: Sequence[Reading],
    sources: Sequence[SourceFacts],
    use: EngineUse,
    window: tuple[int, int],
) -> Energy:
    """Return the energy of what computed in ``window``, an interval on the readings' clock.

    GPUs when the engine used some; else the CPU packages and their memory, the whole sockets, the
    measuring client included. Never the sum of both: results compare within one kind.
    """
    if use.gpus is None:
        return unmeasured(window, use.how)
    if use.gpus:
        gpus = [device for device in _devices(sources, "nvml") if device.device in use.gpus]
        energy = gpu_energy(readings, gpus, window)
        doubts = tuple(f"{gpu}: other processes computed on it too" for gpu in use.shared)
        return energy.model_copy(
            update={"valid": energy.valid and not doubts, "reasons": energy.reasons + doubts}
        )
    packages = _devices(sources, "rapl")
    why = [reason for facts in sources if facts.source == "rapl" for reason in facts.reasons]
    if not packages:
        return unmeasured(window, *why, f"nvml: {use.how}")
    energy = cpu_energy(readings, packages, window)
    # A package that may not be read is missing from the sum.
    return energy.model_copy(
        update={"valid": energy.valid and not why, "reasons": (*energy.reasons, *why)}
    )


def _devices(sources: Sequence[SourceFacts], name: str) -> list[DeviceFacts]:
    return [device for facts in sources if facts.source == name for device in facts.devices]
