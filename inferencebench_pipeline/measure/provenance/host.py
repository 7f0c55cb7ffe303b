"""The machine we run on, read from /sys, /proc and ``nvidia-smi``; no root, no dmidecode.

What cannot be read becomes ``unknown`` (or the smallest value the envelope allows, where it
demands a number) with a warning that says so.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic, TypeVar

from inferencebench_pipeline.measure.provenance.document import (
    UNKNOWN,
    Bios,
    Cpu,
    Gpu,
    Hardware,
)
from inferencebench_pipeline.measure.provenance.memory import read_memory

T = TypeVar("T")

_DMI: Final = Path("/sys/class/dmi/id")
_NVIDIA_SMI_TIMEOUT_S: Final = 30
_PCI_BAR1_LINE: Final = re.compile(r"BAR1 Memory Usage\s+Total\s*:\s*(\d+) MiB")
_CLASSIC_BAR1_MIB: Final = 256


@dataclass(frozen=True)
class WithWarnings(Generic[T]):
    """A result, and a warning for everything that could not be found out."""

    value: T
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostFacts:
    """The hardware with the class that results are compared within."""

    hardware: Hardware
    hardware_class: str
    nvidia_smi_q_hash: str


def collect_host() -> WithWarnings[HostFacts]:
    """Return the hardware of this machine."""
    warnings: list[str] = []
    nvidia = _nvidia(warnings)
    hardware = Hardware(
        dmi_uuid=_dmi("product_uuid", "hardware.dmi_uuid", warnings),
        gpus=nvidia.gpus,
        cpu=_cpu(warnings),
        memory=read_memory(warnings),
        bios=Bios(
            version=_dmi("bios_version", "hardware.bios.version", warnings),
            resizable_bar=nvidia.resizable_bar,
            above_4g=_above_4g(nvidia, warnings),
        ),
        numa=_numa(),
        driver=nvidia.driver,
        cuda=nvidia.cuda,
        nccl="",
    )
    facts = HostFacts(hardware, hardware_class(nvidia.gpus), nvidia.query_sha256)
    return WithWarnings(facts, tuple(warnings))


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip() or None
    except OSError:
        return None


def _dmi(name: str, field: str, warnings: list[str]) -> str:
    path = _DMI / name
    value = _read(path)
    if value is not None:
        return value
    reason = "is readable by root only" if path.exists() else "does not exist here"
    warnings.append(f"{field} is unknown: {path} {reason}")
    return UNKNOWN


def _cpu(warnings: list[str]) -> Cpu:
    fields: dict[str, str] = {}
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        key, separator, value = line.partition(":")
        if separator:
            # Every core repeats the fields, and the first one speaks for all.
            fields.setdefault(key.strip(), value.strip())
    # ARM kernels call it Processor.
    model = fields.get("model name") or fields.get("Processor") or UNKNOWN
    microcode = fields.get("microcode") or UNKNOWN
    for name, value in (("model", model), ("microcode", microcode)):
        if value == UNKNOWN:
            warnings.append(f"hardware.cpu.{name} is unknown: /proc/cpuinfo does not give it")
    return Cpu(model=model, microcode=microcode)


def _numa() -> dict[str, str]:
    """Return the CPUs of each NUMA node, as the kernel writes them."""
    nodes = sorted(Path("/sys/devices/system/node").glob("node[0-9]*"))
    return {node.name: _read(node / "cpulist") or "" for node in nodes}


@dataclass(frozen=True)
class _Nvidia:
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""
    query_sha256: str = ""
    resizable_bar: bool = False


def _nvidia(warnings: list[str]) -> _Nvidia:
    """Return the facts in ``nvidia-smi -q``, none and no warning where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return _Nvidia()
    try:
        text = subprocess.run(  # noqa: S603 - fixed arguments
            [program, "-q"],
            check=True,
            capture_output=True,
            text=True,
            timeout=_NVIDIA_SMI_TIMEOUT_S,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        warnings.append(f"hardware.gpus is unknown: nvidia-smi failed ({error})")
        return _Nvidia()
    return parse_nvidia_smi(text, warnings)


def parse_nvidia_smi(text: str, warnings: list[str]) -> _Nvidia:
    """Return the facts about drivers and GPUs in the text of ``nvidia-smi -q``."""
    blocks = re.split(r"^GPU ([0-9A-Fa-f:.]+)\s*$", text, flags=re.MULTILINE)
    gpus: list[Gpu] = []
    # The separator is captured and stays in the list: id and block of each GPU in turn.
    for pci_id, block in zip(blocks[1::2], blocks[2::2], strict=True):
        gpu = Gpu(
            model=_smi(block, "Product Name"),
            pci_id=pci_id.lower(),
            serial=_smi(block, "Serial Number"),
            vbios=_smi(block, "VBIOS Version"),
        )
        warnings += [
            f"hardware.gpus[{pci_id}].{name} is unknown: not in nvidia-smi -q"
            for name in ("model", "serial", "vbios")
            if getattr(gpu, name) == UNKNOWN
        ]
        gpus.append(gpu)
    bars = [int(size) for size in _PCI_BAR1_LINE.findall(text)]
    return _Nvidia(
        gpus=tuple(gpus),
        driver=_smi(blocks[0], "Driver Version"),
        cuda=_smi(blocks[0], "CUDA Version"),
        query_sha256=hashlib.sha256(text.encode()).hexdigest(),
        resizable_bar=bool(bars) and min(bars) > _CLASSIC_BAR1_MIB,
    )


def _smi(block: str, name: str) -> str:
    # Possessive repetitions keep the time linear, whatever the text holds.
    found = re.search(rf"^[ \t]*+{re.escape(name)}[ \t]*+:(.*)$", block, flags=re.MULTILINE)
    value = "" if found is None else found[1].strip()
    return UNKNOWN if value in ("", "N/A") else value


def _above_4g(nvidia: _Nvidia, warnings: list[str]) -> bool:
    """A BAR above the classic 256 MiB cannot be mapped below 4 GiB; otherwise nobody says."""
    if not nvidia.resizable_bar:
        warnings.append(
            "hardware.bios.resizable_bar and .above_4g are unknown: no GPU shows a large BAR; "
            "recorded as false"
        )
    return nvidia.resizable_bar


def hardware_class(gpus: tuple[Gpu, ...]) -> str:
    """Return the kind of machine: ``cpu``, or the GPU's short name such as ``h100``."""
    return gpu_class(gpus[0].model) if gpus else "cpu"


def gpu_class(model: str) -> str:
    """Return the short name of a GPU's model, such as ``h100``."""
    words = [word.lower() for word in re.split(r"[\s_-]+", model)]
    # The first word like H100, L40S or 4090. Sizes of memory, such as 80GB, come after it.
    for word in words:
        if re.fullmatch(r"(?:[abhlvpt]|gh|gb|rtx)?\d{1,4}[a-z]{0,2}", word) and word != "gpu":
            return word
    return "-".join(word for word in words if word not in {"nvidia", "gpu"}) or "gpu"
