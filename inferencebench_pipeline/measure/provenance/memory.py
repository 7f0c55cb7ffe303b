"""Memory channels, speed and error correction, from the EDAC driver and the SMBIOS tables.

EDAC names the channel of every DIMM to any user; the SMBIOS tables (DMTF DSP0134, structures 16 and
17) know speed and error correction, and only root reads them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inferencebench_pipeline.measure.provenance.document import Memory

_EDAC: Final = Path("/sys/devices/system/edac/mc")
_TABLES: Final = Path("/sys/firmware/dmi/tables/DMI")
_MOST_CHANNELS: Final = 16
"""The largest number of channels that the envelope has room for."""

_ARRAY, _DEVICE, _END = 16, 17, 127
_SYSTEM_MEMORY: Final = 3
_CORRECTING: Final = {5, 6, 7}
"""Single-bit ECC, multi-bit ECC, CRC."""
_EDAC_CHANNEL: Final = re.compile(r"channel (\d+)")
_SMBIOS_CHANNEL: Final = re.compile(r"CHANNEL[ _-]?[A-Z0-9]{1,16}+(?=[ _-]|\Z)", re.IGNORECASE)
"""The end of a locator's part that names a channel; what is before it may name the socket."""


@dataclass(frozen=True)
class _Structure:
    kind: int
    fields: bytes
    """The bytes of the structure from its first one, since the specification counts offsets from
    there."""
    strings: tuple[str, ...]

    def byte(self, offset: int) -> int:
        return self.fields[offset] if offset < len(self.fields) else 0

    def word(self, offset: int) -> int:
        if offset + 2 > len(self.fields):
            return 0
        value: int = struct.unpack_from("<H", self.fields, offset)[0]
        return value

    def string(self, offset: int) -> str:
        number = self.byte(offset)
        return self.strings[number - 1].strip() if 0 < number <= len(self.strings) else ""


def read_memory(warnings: list[str], *, edac: Path = _EDAC, tables: Path = _TABLES) -> Memory:
    """Return the memory layout; what cannot be read is the smallest legal value, with a warning.

    Args:
        warnings: takes a sentence for everything that is unknown.
        edac: the EDAC driver's memory controllers.
        tables: the raw SMBIOS tables.
    """
    structures = list(_structures(_read(tables)))
    # At 0x0C is the size of the module. An empty socket has 0.
    fitted = [item for item in structures if item.kind == _DEVICE and item.word(0x0C)]
    channels = _edac_channels(edac) or _smbios_channels(fitted)
    # At 0x20 is the speed that it runs at. Older tables have only the rated one, at 0x15.
    speeds = [speed for item in fitted if (speed := item.word(0x20) or item.word(0x15))]
    if not channels:
        warnings.append(
            "hardware.memory.channels is unknown: no EDAC driver names them and the DMI tables "
            "need root; 1 is the smallest value the envelope allows"
        )
    if channels > _MOST_CHANNELS:
        warnings.append(
            f"hardware.memory.channels is {channels}; the envelope has room for {_MOST_CHANNELS}"
        )
    if not speeds:
        warnings.append(
            "hardware.memory.speed_mts is unknown: only the DMI tables say it, and they need root; "
            "1 is the smallest value the envelope allows"
        )
    return Memory(
        channels=min(max(channels, 1), _MOST_CHANNELS),
        speed_mts=min(speeds, default=1),
        ecc=_corrects(structures, edac, warnings),
    )


def _edac_channels(edac: Path) -> int:
    """Return the number of channels with a DIMM, over all memory controllers."""
    found: set[tuple[str, str]] = set()
    for location in edac.glob("mc[0-9]*/*/dimm_location"):
        channel = _EDAC_CHANNEL.search(_read(location).decode(errors="replace"))
        if channel is not None:
            found.add((location.parents[1].name, channel[1]))
    return len(found)


def _smbios_channels(fitted: list[_Structure]) -> int:
    """Return the number of channels that the locators name, when every one names its own."""
    found: set[str] = set()
    for device in fitted:
        bank, locator = device.string(0x11), device.string(0x10)
        named = _channel_of(bank) or _channel_of(locator)
        if named is None:
            return 0
        found.add(named.upper())
    return len(found)


def _channel_of(locator: str) -> str | None:
    """Return a locator up to its last word that names a channel; None when it has none."""
    ends = [word.end() for word in _SMBIOS_CHANNEL.finditer(locator)]
    return locator[: ends[-1]] if ends else None


def _corrects(structures: list[_Structure], edac: Path, warnings: list[str]) -> bool:
    arrays = [
        item.byte(0x06)
        for item in structures
        if item.kind == _ARRAY and item.byte(0x05) == _SYSTEM_MEMORY
    ]
    if arrays:
        return all(kind in _CORRECTING for kind in arrays)
    if any(edac.glob("mc[0-9]*")):
        return True  # the driver attaches to controllers that correct
    warnings.append("hardware.memory.ecc is unknown: no EDAC driver; recorded as false")
    return False


def _structures(table: bytes) -> Iterator[_Structure]:
    """Yield the structures of a raw SMBIOS table, up to its end or the first damaged one."""
    place = 0
    while place + 4 <= len(table):
        kind, length = table[place], table[place + 1]
        # Strings follow the fields of a structure, and two zero bytes end it.
        end = table.find(b"\0\0", place + length)
        if length < 4 or end < 0:
            return
        strings = table[place + length : end].split(b"\0")
        yield _Structure(
            kind,
            table[place : place + length],
            tuple(text.decode("latin-1") for text in strings),
        )
        if kind == _END:
            return
        place = end + 2


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
