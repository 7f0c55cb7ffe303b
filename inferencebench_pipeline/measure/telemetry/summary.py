"""The summary of a run's telemetry: from the sampler's readings to the report and its flags."""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inferencebench_pipeline.measure.client.capture import Capture
from inferencebench_pipeline.measure.metrics.validity_flags import ValidityFlag
from inferencebench_pipeline.measure.telemetry.document import (
    Sampling,
    read_sampling,
    telemetry_parquet,
)
from inferencebench_pipeline.measure.telemetry.energy import Window, unmeasured
from inferencebench_pipeline.measure.telemetry.nvml import THROTTLE, throttle_names
from inferencebench_pipeline.measure.telemetry.readings import DeviceFacts, Reading
from inferencebench_pipeline.measure.telemetry.report import EngineUse, TelemetryReport
from inferencebench_pipeline.measure.telemetry.usage import run_energy
from inferencebench_pipeline.runs import RunFile

SPOOL: Final = "telemetry.jsonl"
FACTS: Final = "telemetry.json"

_HARMFUL_THROTTLING: Final = {
    "hw_slowdown",
    "sw_thermal_slowdown",
    "hw_thermal_slowdown",
    "hw_power_brake_slowdown",
}
_PRIVATE_STATE: Final = {"compute_pids"}
_ELSEWHERE: Final = "the engine runs on another machine, whose energy cannot be read from here"


def write_telemetry(capture: Capture, table: pa.Table) -> TelemetryReport:
    """Write ``telemetry.parquet`` beside the traces and return what it says.

    Args:
        capture: of a complete run.
        table: its traces, which tell the measured windows.

    Raises:
        CaptureError: the telemetry is damaged.
        StoreError: the run directory is not writable.
    """
    loop = capture.require_completion().loop
    windows = _windows(table, loop.origin_monotonic_ns)
    sampled = read_sampling(capture.path / SPOOL, capture.path / FACTS)
    if sampled is None:
        reason = "nothing was sampled while this run was measured"
        return TelemetryReport(
            engine=EngineUse(gpus=None, how=reason),
            sources=(),
            energy=tuple(unmeasured(window, reason) for window in windows),
            sampler_cpu_share=0.0,
            readings=0,
            file_sha256=None,
        )
    readings, described = sampled
    if capture.provenance().hardware_class == "remote":
        described = described.model_copy(update={"engine": EngineUse(gpus=None, how=_ELSEWHERE)})
    data = telemetry_parquet(readings, _published(described), loop.origin_unix_ns)
    capture.run.write(RunFile.TELEMETRY, data)
    return _report(readings, described, windows, hashlib.sha256(data).hexdigest())


def _report(
    readings: list[Reading], described: Sampling, windows: list[Window], sha256: str
) -> TelemetryReport:
    wall_s = described.sampler_wall_s
    return TelemetryReport(
        engine=described.engine,
        sources=_published(described).sources,
        energy=tuple(
            run_energy(readings, described.sources, described.engine, window) for window in windows
        ),
        throttled=_throttled(readings, described.engine, windows),
        sampler_cpu_share=described.sampler_cpu_s / wall_s if wall_s else 0.0,
        readings=described.readings,
        file_sha256=sha256,
    )


def _throttled(
    readings: list[Reading], use: EngineUse, windows: list[Window]
) -> dict[str, tuple[str, ...]]:
    """Return the throttle reasons that were read of the engine's GPUs inside the windows."""
    masks = dict.fromkeys(use.gpus or (), 0)
    for reading in readings:
        # Between the windows nothing is measured, so throttling there slowed down no number.
        inside = any(begin <= reading.time_ns <= end for begin, end in windows)
        if reading.quantity == THROTTLE and reading.device in masks and reading.value and inside:
            masks[reading.device] |= int(reading.value)
    return {
        gpu: tuple(name for name in throttle_names(mask) if name != "gpu_idle")
        for gpu, mask in masks.items()
    }


def telemetry_flags(report: TelemetryReport) -> tuple[ValidityFlag, ...]:
    """Return the statements that follow from the state of the engine's GPUs.

    A software power cap is how a GPU under load works; heat and failing power are not.
    """
    gpus = set(report.engine.gpus or ())
    if not gpus:
        return ()
    hot = {
        gpu: bad
        for gpu, names in report.throttled.items()
        if (bad := [name for name in names if name in _HARMFUL_THROTTLING])
    }
    failing = [
        device.device
        for facts in report.sources
        for device in facts.devices
        if device.device in gpus and _uncorrected(device) > 0
    ]
    return (
        ValidityFlag(
            name="gpus_not_throttled",
            ok=not hot,
            severity="warn",
            detail="; ".join(f"{gpu}: {', '.join(bad)}" for gpu, bad in hot.items())
            or "no GPU was slowed down by heat or failing power",
        ),
        ValidityFlag(
            name="gpu_memory_clean",
            ok=not failing,
            severity="warn",
            detail=f"uncorrected memory errors during the run: {', '.join(failing)}"
            if failing
            else "no uncorrected memory error was counted",
        ),
    )


def _uncorrected(device: DeviceFacts) -> int:
    before, after = (side.get("ecc_uncorrected") for side in (device.before, device.after))
    # What a GPU does not count cannot be held against it.
    return 0 if before is None or after is None else int(after - before)


def _published(described: Sampling) -> Sampling:
    """Return the state that may leave the machine, without process ids."""
    sources = tuple(
        facts.model_copy(
            update={
                "devices": tuple(
                    device.model_copy(
                        update={
                            side: {
                                name: value
                                for name, value in getattr(device, side).items()
                                if name not in _PRIVATE_STATE
                            }
                            for side in ("before", "after")
                        }
                    )
                    for device in facts.devices
                )
            }
        )
        for facts in described.sources
    )
    return described.model_copy(update={"sources": sources})


def _windows(table: pa.Table, origin_monotonic_ns: int) -> list[Window]:
    """Return when each repeat was measured: from its first request to the end of its last."""
    measured = table.filter(pc.equal(table["phase"], pa.scalar("measured")))
    windows: list[Window] = []
    for repeat in np.unique(measured["repeat"].to_numpy()).tolist():
        rows = measured.filter(pc.equal(measured["repeat"], pa.scalar(repeat, pa.int16())))
        begin, end = pc.min(rows["scheduled_ns"]).as_py(), pc.max(rows["end_ns"]).as_py()
        windows.append((origin_monotonic_ns + begin, origin_monotonic_ns + end))
    return windows
