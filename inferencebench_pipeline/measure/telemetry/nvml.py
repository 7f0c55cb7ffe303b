"""GPUs through NVML: energy, power, clocks, throttling, ECC and who computes on them.

NVML's power sensor is renewed about every 100 ms and on A100 and H100 covers a quarter of the time
(arXiv 2312.02741), so the energy counter (Volta and newer) is preferred wherever there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import pynvml  # type: ignore[import-untyped]

from inferencebench_pipeline.measure.telemetry.readings import (
    DeviceFacts,
    Reading,
    SourceFacts,
    SourceName,
)

ENERGY: Final = "energy_mj"
POWER: Final = "power_mw"
THROTTLE: Final = "throttle_mask"

_SLOW_EVERY: Final = 10
"""Readings of energy and power to one of everything else."""

_THROTTLE_REASONS: Final = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""``nvmlClocksEventReason*`` of ``nvml.h``."""


_ECC_KINDS: Final = (
    pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED,
    pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
)


def throttle_names(mask: int) -> list[str]:
    """Return the names of the reasons in a mask; one that has no name here as a number."""
    return [
        _THROTTLE_REASONS.get(1 << bit, f"0x{1 << bit:x}")
        for bit in range(mask.bit_length())
        if mask >> bit & 1
    ]


class NvmlSource:
    """All GPUs that the driver shows to this process."""

    name: SourceName = "nvml"
    period_s = 0.1

    def __init__(self, module: Any = pynvml) -> None:  # noqa: ANN401 - pynvml has no types
        self._nvml = module
        self._reasons: list[str] = []
        self._gpus: dict[str, Any] = {}
        try:
            module.nvmlInit()
            for index in range(module.nvmlDeviceGetCount()):
                handle = module.nvmlDeviceGetHandleByIndex(index)
                # By UUID, since NVML does not promise the order of its indices after a reboot.
                self._gpus[_text(module.nvmlDeviceGetUUID(handle))] = handle
        except module.NVMLError as error:
            self._reasons.append(f"nvml: no NVIDIA GPU can be read ({error})")
        self._turn = 0
        self._driver = self._try(module.nvmlSystemGetDriverVersion)
        # Asked again and again, what a GPU does not have costs time and says nothing.
        self._lacking: set[tuple[str, str]] = set()

    def read(self) -> list[Reading]:
        """Return energy and power of every GPU, and every second its load, clocks and memory."""
        readings: list[Reading] = []
        self._turn += 1
        for gpu, handle in self._gpus.items():
            for quantity, ask in self._quantities(handle).items():
                if (gpu, quantity) in self._lacking:
                    continue
                try:
                    value: float | None = ask()
                except self._nvml.NVMLError as error:
                    value = None
                    if quantity == ENERGY and _unsupported(error):
                        self._lacking.add((gpu, quantity))
                        self._reasons.append(f"nvml: {gpu} has no energy counter")
                        continue
                readings.append(Reading(time.monotonic_ns(), "nvml", gpu, quantity, value))
        return readings

    def _quantities(self, handle: object) -> dict[str, Callable[[], float]]:
        nvml = self._nvml
        fast: dict[str, Callable[[], float]] = {
            ENERGY: lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle),
            POWER: lambda: nvml.nvmlDeviceGetPowerUsage(handle),
        }
        if (self._turn - 1) % _SLOW_EVERY:
            return fast
        return fast | {
            "busy_percent": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            "memory_used_bytes": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used,
            "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(
                handle, pynvml.NVML_TEMPERATURE_GPU
            ),
            "sm_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM),
            THROTTLE: lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        }

    def facts(self) -> SourceFacts:
        """Return the GPUs by UUID, and why there are none or what they lack."""
        devices = tuple(
            DeviceFacts(device=gpu, name=_text(self._try(self._nvml.nvmlDeviceGetName, handle)))
            for gpu, handle in self._gpus.items()
        )
        return SourceFacts(source="nvml", devices=devices, reasons=tuple(self._reasons))

    def state(self) -> dict[str, dict[str, Any]]:
        """Return driver, clocks, limits, throttle reasons, ECC counts and processes of each GPU.

        A value that a GPU does not give is None.
        """
        return {gpu: self._state(handle) for gpu, handle in self._gpus.items()}

    def _state(self, handle: object) -> dict[str, Any]:
        nvml, ask = self._nvml, self._try
        mask = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        processes = ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        ecc_mode, mig_mode = (
            ask(function, handle)
            for function in (nvml.nvmlDeviceGetEccMode, nvml.nvmlDeviceGetMigMode)
        )
        # Volatile counts: those since the driver was loaded, which a difference makes the run's.
        corrected, uncorrected = (
            ask(nvml.nvmlDeviceGetTotalEccErrors, handle, kind, pynvml.NVML_VOLATILE_ECC)
            for kind in _ECC_KINDS
        )
        return {
            "driver": _text(self._driver),
            "sm_clock_mhz": ask(nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            "memory_clock_mhz": ask(nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
            "temperature_c": ask(
                nvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU
            ),
            "power_limit_mw": ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle),
            "persistence_mode": ask(nvml.nvmlDeviceGetPersistenceMode, handle),
            "throttle_reasons": None if mask is None else throttle_names(mask),
            "ecc_mode": None if ecc_mode is None else ecc_mode[0],
            "ecc_corrected": corrected,
            "ecc_uncorrected": uncorrected,
            "mig_mode": None if mig_mode is None else mig_mode[0],
            "compute_pids": None
            if processes is None
            else sorted(process.pid for process in processes),
        }

    def _try(self, function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
        with suppress(self._nvml.NVMLError):
            return function(*arguments)
        return None


def _unsupported(error: object) -> bool:
    return bool(getattr(error, "value", None) == pynvml.NVML_ERROR_NOT_SUPPORTED)


def _text(value: object) -> str:
    """Older bindings give bytes."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return "" if value is None else str(value)
