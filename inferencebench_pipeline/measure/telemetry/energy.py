"""Joules of a window from readings: counters before integrals, gaps named, null when unmeasured."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from inferencebench_pipeline.measure.telemetry import nvml, rapl
from inferencebench_pipeline.measure.telemetry.readings import DeviceFacts, Reading
from inferencebench_pipeline.measure.telemetry.report import DeviceEnergy, Energy, EnergySource

Window = tuple[int, int]
"""Begin and end on the readings' clock (CLOCK_MONOTONIC), in nanoseconds."""

_LARGEST_GAP_S: Final = 3.0
"""The longest time between two readings of a GPU in seconds, as InferenceX allows."""
_LARGEST_RAPL_GAP_S: Final = 60.0
"""A counter of 32 bits and 15 uJ at 1 kW starts again after 65 s: twice could not be told."""
# InferenceX grants the counter and the integral of power as much.
_DISAGREEMENT: Final = 0.05
_SHORTEST_GPU_WINDOW_S: Final = 10.0
"""The shortest window in seconds. Below, the time that NVML averages over (100 ms to 1 s) is not
small against it."""

Series = list[tuple[int, float]]


def unmeasured(window: Window, *reasons: str) -> Energy:
    """Return an energy that is null for these reasons."""
    return Energy(
        joules=None,
        valid=False,
        source="none",
        window_s=(window[1] - window[0]) / 1e9,
        devices=(),
        reasons=reasons,
    )


def gpu_energy(
    readings: Sequence[Reading], devices: Sequence[DeviceFacts], window: Window
) -> Energy:
    """Return the energy of these GPUs: by counter where there is one, and checked by power.

    Power is integrated by trapezoids between readings, interpolated at the window's ends.
    """
    found: list[DeviceEnergy] = []
    reasons: list[str] = []
    source: EnergySource = "nvml_total_energy"
    for device in devices:
        counter, power = (
            _series(readings, device.device, name) for name in (nvml.ENERGY, nvml.POWER)
        )
        integral = _integral(power, window)
        total = _counted(counter, window, None) if counter else None
        if not counter:
            source = "nvml_power"  # the weaker method of any device names the sum
        joules = integral if total is None else total
        used = counter if total is not None else power
        if joules is None:
            return unmeasured(
                window, *reasons, f"{device.device}: the readings do not cover the window"
            )
        gap_s = _largest_gap_s(used, window)
        found.append(
            DeviceEnergy(
                device=device.device,
                joules=joules / 1e3,
                integral_joules=None if integral is None else integral / 1e3,
                largest_gap_s=gap_s,
            )
        )
        reasons += _doubts(device, gap_s, total, integral)
    if not found:
        return unmeasured(window, "no GPU was used")
    if window[1] - window[0] < _SHORTEST_GPU_WINDOW_S * 1e9:
        reasons.append(
            f"the window is too short: {(window[1] - window[0]) / 1e9:.1f} s, and NVML needs "
            f"{_SHORTEST_GPU_WINDOW_S:g} s"
        )
    return _sum(found, source, reasons, window)


def cpu_energy(
    readings: Sequence[Reading], packages: Sequence[DeviceFacts], window: Window
) -> Energy:
    """Return the energy of these CPU packages and memory zones, wraps of their counters undone."""
    found: list[DeviceEnergy] = []
    reasons: list[str] = []
    for package in packages:
        series = _series(readings, package.device, rapl.ENERGY)
        try:
            microjoules = _counted(series, window, package.counter_range)
        except ValueError as error:
            return unmeasured(window, f"{package.device}: {error}")
        if microjoules is None:
            return unmeasured(window, f"{package.device}: the readings do not cover the window")
        gap_s = _largest_gap_s(series, window)
        found.append(
            DeviceEnergy(device=package.device, joules=microjoules / 1e6, largest_gap_s=gap_s)
        )
        if gap_s > _LARGEST_RAPL_GAP_S:
            reasons.append(
                f"{package.device}: no reading for {gap_s:.1f} s, in which its counter may have "
                "started again more than once"
            )
    if not found:
        return unmeasured(window, "no CPU package can be read")
    return _sum(found, "rapl", reasons, window)


def unwrapped(values: Sequence[float], counter_range: float | None) -> list[float]:
    """Return a counter's values as if it had never started again from zero.

    Raises:
        ValueError: it went backwards, and nobody said where it starts again.
    """
    offset = 0.0
    straight = list(values[:1])
    for before, after in pairwise(values):
        if after < before:
            if counter_range is None:
                raise ValueError("the counter went backwards and its range is unknown")
            # Once: a gap in which it could have started again twice is a reason of its own.
            offset += counter_range
        straight.append(after + offset)
    return straight


def _series(readings: Sequence[Reading], device: str, quantity: str) -> Series:
    return [
        (reading.time_ns, reading.value)
        for reading in readings
        if reading.device == device and reading.quantity == quantity and reading.value is not None
    ]


def _at(series: Series, time_ns: int) -> float:
    """Return the value at an instant inside the series, on the line between its neighbours."""
    # Minus infinity sorts before every value of the same instant.
    place = bisect_left(series, (time_ns, float("-inf")))
    later_ns, later = series[place]
    if later_ns == time_ns:
        return later
    earlier_ns, earlier = series[place - 1]
    return earlier + (later - earlier) * (time_ns - earlier_ns) / (later_ns - earlier_ns)


def _covers(series: Series, window: Window) -> bool:
    return bool(series) and series[0][0] <= window[0] and series[-1][0] >= window[1]


def _counted(series: Series, window: Window, counter_range: float | None) -> float | None:
    if not _covers(series, window):
        return None
    straight = unwrapped([value for _, value in series], counter_range)
    steady = list(zip([time_ns for time_ns, _ in series], straight, strict=True))
    return _at(steady, window[1]) - _at(steady, window[0])


def _inside(series: Series, window: Window) -> Series:
    """Return the series cut to the window, with interpolated ends."""
    begin, end = window
    middle = [(time_ns, value) for time_ns, value in series if begin < time_ns < end]
    return [(begin, _at(series, begin)), *middle, (end, _at(series, end))]


def _integral(power: Series, window: Window) -> float | None:
    """Return the integral of power over the window, in its unit times seconds."""
    if not _covers(power, window):
        return None
    return sum(
        (before + after) / 2 * (later - earlier) / 1e9
        for (earlier, before), (later, after) in pairwise(_inside(power, window))
    )


def _largest_gap_s(series: Series, window: Window) -> float:
    """Return the longest time without a reading that touches the window."""
    gaps = [
        later - earlier
        for (earlier, _), (later, _) in pairwise(series)
        if later > window[0] and earlier < window[1]
    ]
    return max(gaps, default=0) / 1e9


def _doubts(
    device: DeviceFacts, gap_s: float, total: float | None, integral: float | None
) -> list[str]:
    reasons = []
    if gap_s > _LARGEST_GAP_S:
        reasons.append(f"{device.device}: no reading for {gap_s:.1f} s")
    if total is not None and integral and abs(total - integral) > _DISAGREEMENT * integral:
        reasons.append(
            f"{device.device}: its energy counter says {total / 1e3:.1f} J and its power "
            f"{integral / 1e3:.1f} J, more than {_DISAGREEMENT:.0%} apart"
        )
    if device.before.get("mig_mode"):
        reasons.append(f"{device.device}: MIG is on, and energy is that of the whole GPU")
    return reasons


def _sum(
    found: list[DeviceEnergy], source: EnergySource, reasons: list[str], window: Window
) -> Energy:
    joules = sum(device.joules for device in found)
    if joules <= 0:
        reasons.append("the counters did not move: nothing was measured")
    return Energy(
        joules=joules or None,
        valid=not reasons,
        source=source,
        window_s=(window[1] - window[0]) / 1e9,
        devices=tuple(found),
        reasons=tuple(reasons),
    )
