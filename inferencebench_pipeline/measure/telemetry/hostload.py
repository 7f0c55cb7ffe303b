"""The host itself: how busy its CPUs are, their clocks, and memory that is left."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Final

from inferencebench_pipeline.measure.telemetry.readings import (
    DeviceFacts,
    Reading,
    SourceFacts,
    SourceName,
)

_DEVICE: Final = "host"
_CPUS: Final = Path("/sys/devices/system/cpu")
_CGROUP: Final = Path("/sys/fs/cgroup")


class HostLoad:
    """``/proc`` and ``/sys`` of this machine."""

    name: SourceName = "host"
    period_s = 0.5

    def __init__(self) -> None:
        self._last = _cpu_times()

    def read(self) -> list[Reading]:
        """Return the share of CPU time that was busy since the last reading, and free memory."""
        now = time.monotonic_ns()
        values = {"memory_available_bytes": _memory_available(), "cpu_busy_share": self._busy()}
        clock_mhz = _mean_clock_mhz()
        if clock_mhz is not None:
            values["cpu_clock_mhz"] = clock_mhz
        return [Reading(now, "host", _DEVICE, name, value) for name, value in values.items()]

    def _busy(self) -> float | None:
        times = _cpu_times()
        if times is None or self._last is None:
            return None
        busy, total = times[0] - self._last[0], times[1] - self._last[1]
        # Within one clock tick nothing has been counted. The next reading covers that time, too.
        if total > 0:
            self._last = times
        return busy / total if total > 0 else None

    def facts(self) -> SourceFacts:
        """Return the one device there is."""
        return SourceFacts(
            source="host", devices=(DeviceFacts(device=_DEVICE, name=_DEVICE),), reasons=()
        )

    def state(self) -> dict[str, dict[str, Any]]:
        """Return governor, load average, and the limits that a container sets."""
        governors = {
            text
            for path in _CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor")
            if (text := _read(path)) is not None
        }
        return {
            _DEVICE: {
                "governors": sorted(governors),
                "load_average_1m": os.getloadavg()[0],
                "usable_cores": len(os.sched_getaffinity(0))
                if hasattr(os, "sched_getaffinity")
                else os.cpu_count(),
                "cgroup_cpu_max": _read(_CGROUP / "cpu.max"),
                "cgroup_memory_max": _read(_CGROUP / "memory.max"),
            }
        }


def _cpu_times() -> tuple[int, int] | None:
    """Return busy and total CPU time of all cores since boot, in clock ticks (``proc(5)``)."""
    line = (_read(Path("/proc/stat")) or "").partition("\n")[0].split()
    if not line or line[0] != "cpu":
        return None
    ticks = [int(word) for word in line[1:9]]  # guest time is inside user time
    # Waiting for I/O (iowait) is not busy either.
    idle = ticks[3] + ticks[4]
    return sum(ticks) - idle, sum(ticks)


def _memory_available() -> float | None:
    for line in (_read(Path("/proc/meminfo")) or "").splitlines():
        if line.startswith("MemAvailable:"):
            # The file says kB and means 1024 bytes (proc(5)).
            return float(line.split()[1]) * 1024
    return None


def _mean_clock_mhz() -> float | None:
    clocks = [
        int(text) / 1000
        for path in _CPUS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
        if (text := _read(path)) is not None and text.isdigit()
    ]
    return sum(clocks) / len(clocks) if clocks else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
