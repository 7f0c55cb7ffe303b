"""Memory channels, speed and ECC from tables constructed by the SMBIOS specification (DSP0134)."""

from __future__ import annotations

import struct
from pathlib import Path

from inferencebench_pipeline.measure.provenance.memory import read_memory


def structure(kind: int, fields: dict[int, bytes], length: int, *strings: str) -> bytes:
    content = bytearray(length)
    content[:2] = bytes([kind, length])
    for offset, value in fields.items():
        content[offset : offset + len(value)] = value
    text = b"".join(item.encode() + b"\0" for item in strings) or b"\0"
    return bytes(content) + text + b"\0"


def dimm(bank: str, *, size: int = 0x4000, configured: int = 4400) -> bytes:
    fields = {
        0x0C: struct.pack("<H", size),
        0x10: b"\1",
        0x11: b"\2",
        0x15: struct.pack("<H", 4800),
        0x20: struct.pack("<H", configured),
    }
    return structure(17, fields, 0x28, "DIMM 0", bank)


def array(correction: int) -> bytes:
    return structure(16, {0x05: b"\3", 0x06: bytes([correction])}, 0x17)


END = structure(127, {}, 4)


def test_channels_speed_and_correction_come_from_the_smbios_tables(tmp_path) -> None:
    banks = [f"P0 CHANNEL {letter}" for letter in "ABCDEFGH"]
    table = array(6) + b"".join(dimm(bank) for bank in [*banks, *banks])
    table += dimm("P0 CHANNEL I", size=0)  # an empty slot
    (tmp_path / "DMI").write_bytes(table + END)
    warnings: list[str] = []
    memory = read_memory(warnings, edac=tmp_path / "none", tables=tmp_path / "DMI")
    assert (memory.channels, memory.speed_mts, memory.ecc) == (8, 4400, True)
    assert warnings == []


def test_locators_that_name_no_channel_are_not_guessed_at(tmp_path) -> None:
    (tmp_path / "DMI").write_bytes(array(3) + dimm("BANK 0", configured=0) + END)
    warnings: list[str] = []
    memory = read_memory(warnings, edac=tmp_path / "none", tables=tmp_path / "DMI")
    assert (memory.channels, memory.speed_mts, memory.ecc) == (1, 4800, False)
    assert [warning.split(" ")[0] for warning in warnings] == ["hardware.memory.channels"]


def edac_dimm(root: Path, controller: int, index: int, location: str) -> None:
    folder = root / f"mc{controller}" / f"dimm{index}"
    folder.mkdir(parents=True)
    (folder / "dimm_location").write_text(location + "\n")


def test_edac_names_the_channels_without_root(tmp_path) -> None:
    for controller in (0, 1):
        for channel in (0, 1):
            for slot in (0, 1):
                location = f"channel {channel} slot {slot}"
                edac_dimm(tmp_path, controller, channel * 2 + slot, location)
    warnings: list[str] = []
    memory = read_memory(warnings, edac=tmp_path, tables=tmp_path / "none")
    assert (memory.channels, memory.ecc) == (4, True)
    assert [warning.split(" ")[0] for warning in warnings] == ["hardware.memory.speed_mts"]


def test_more_channels_than_the_envelope_has_room_for_are_said(tmp_path) -> None:
    for channel in range(24):
        edac_dimm(tmp_path, 0, channel, f"channel {channel} slot 0")
    warnings: list[str] = []
    memory = read_memory(warnings, edac=tmp_path, tables=tmp_path / "none")
    assert memory.channels == 16
    assert "hardware.memory.channels is 24" in warnings[0]


def test_a_damaged_table_is_read_up_to_the_damage(tmp_path) -> None:
    (tmp_path / "DMI").write_bytes(array(6) + dimm("CHANNEL A") + b"\x11\x02\x00\x00")
    memory = read_memory([], edac=tmp_path / "none", tables=tmp_path / "DMI")
    assert (memory.channels, memory.ecc) == (1, True)
