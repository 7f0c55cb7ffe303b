"""CPU packages and memory through RAPL's powercap tree, every joule counted once.

A package's ``core`` and ``uncore`` are inside it, ``psys`` holds the packages, and the ``mmio``
interface shows the same package again: only packages and ``dram`` zones, which lie beside their
package, add up (Linux ``Documentation/power/powercap/powercap.rst``; Intel SDM volume 3, RAPL).
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, Final

from inferencebench_pipeline.measure.telemetry.readings import (
    DeviceFacts,
    Reading,
    SourceFacts,
    SourceName,
)

ENERGY: Final = "energy_uj"
_ROOT: Final = Path("/sys/class/powercap")
_ZONE: Final = re.compile(r"intel-rapl:\d+(?::\d+)?")
"""AMD's packages appear under the same name; ``intel-rapl-mmio`` does not match."""


class RaplSource:
    """The packages and memory zones of this machine."""

    name: SourceName = "rapl"
    period_s = 0.5

    def __init__(self, root: Path = _ROOT) -> None:
        self._reasons: list[str] = []
        self._zones: dict[str, Path] = {}
        self._ranges: dict[str, float | None] = {}
        if not root.is_dir():
            self._reasons.append(
                f"rapl: {root} does not exist: no powercap driver, or a virtual machine"
            )
            return
        for zone in sorted(entry for entry in root.iterdir() if _ZONE.fullmatch(entry.name)):
            self._add(zone)
        if not self._zones and not self._reasons:
            self._reasons.append(f"rapl: {root} holds no package")

    def _add(self, zone: Path) -> None:
        name = _read(zone / "name") or ""
        if not (name.startswith("package") or name == "dram"):
            return
        try:
            # Tried once here, so that an unreadable counter is a reason and no row of gaps.
            (zone / ENERGY).read_text()
        except PermissionError:
            self._reasons.append(
                f"rapl: {zone.name}/{ENERGY} is readable by root only (CVE-2020-8694); let the "
                "measuring user's group read it"
            )
            return
        except OSError as error:
            self._reasons.append(f"rapl: {zone.name}/{ENERGY}: {error.strerror or error}")
            return
        device = f"{zone.name}/{name}"
        self._zones[device] = zone / ENERGY
        largest = _read(zone / "max_energy_range_uj")
        self._ranges[device] = float(largest) if largest and largest.isdigit() else None

    def read(self) -> list[Reading]:
        """Return the energy counter of every zone."""
        readings: list[Reading] = []
        for device, path in self._zones.items():
            text = _read(path)
            value = float(text) if text else None
            readings.append(Reading(time.monotonic_ns(), "rapl", device, ENERGY, value))
        return readings

    def facts(self) -> SourceFacts:
        """Return the zones that count, and why others cannot be read."""
        devices = tuple(
            DeviceFacts(
                device=device, name=device.split("/")[1], counter_range=self._ranges[device]
            )
            for device in self._zones
        )
        return SourceFacts(source="rapl", devices=devices, reasons=tuple(self._reasons))

    def state(self) -> dict[str, dict[str, Any]]:
        """Return nothing: a counter has no state beside its value."""
        return {}


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
