"""The provenance document: on what, with what and from what a measurement was made.

Only the shapes live here. ``host`` reads the hardware, ``software`` the installed packages and
the source tree, and each engine says what it is. Every field satisfies the constraints of the
envelope, and every value that could not be learnt is ``unknown`` with a warning that says why.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from inferencebench_pipeline.measure.spec.spec import Quantization

UNKNOWN = "unknown"
"""The word for a value that could not be learnt; a warning beside it says why."""

Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Unsaid(_Part):
    """A value that the engine does not tell: null, with the reason, and never invented."""

    field: _Text
    reason: _Text


class ModelProvenance(_Part):
    """Which weights answered, and where."""

    id: _Text
    revision: Annotated[str, Field(min_length=7, max_length=40)]
    provider: _Text
    endpoint_hash: Sha256Hex
    """SHA-256 of the endpoint URL without credentials."""
    file_sha256: Sha256Hex | None
    """SHA-256 of the weights file, when we hold it; of the ``name=sha256`` lines of several."""
    resolved_id: str | None = None
    """The name the engine answers by, in its own words."""
    weights: dict[str, Sha256Hex] | None = None
    """SHA-256 of every weights file by its name."""
    tokenizer_sha256: Sha256Hex | None = None
    chat_template_sha256: Sha256Hex | None = None
    unsaid: tuple[Unsaid, ...] = ()
    """Why those of the above that are null are."""


class EngineProvenance(_Part):
    """Which engine answered, and how it was configured."""

    name: _Text
    version: _Text
    config_hash: Sha256Hex
    """SHA-256 of ``config`` as canonical JSON (sorted keys, no spaces)."""
    config: dict[str, Any]
    """Arguments, variables and package as we chose them, and what the engine says it made of it."""
    image_digest: str = ""
    dtype: str | None = None
    """The type it computes in, in its own words."""


class DatasetProvenance(_Part):
    """Which prompts were sent: the name and the SHA-256 of the prompt set's bytes."""

    id: _Text
    hash: Sha256Hex


class Gpu(_Part):
    """One GPU as the driver names it."""

    model: _Text
    pci_id: _Text
    serial: _Text
    vbios: _Text


class Cpu(_Part):
    """The CPU model and microcode revision."""

    model: _Text
    microcode: _Text


class Memory(_Part):
    """Memory layout. Without DMI rights these are the smallest legal values, with a warning."""

    channels: int = Field(ge=1, le=16)
    speed_mts: int = Field(ge=1)
    ecc: bool


class Bios(_Part):
    """Firmware version and the settings that decide how fast a GPU talks to its host."""

    version: _Text
    resizable_bar: bool
    above_4g: bool


class Hardware(_Part):
    """The machine that the client, and an engine that we started, ran on."""

    dmi_uuid: _Text
    gpus: tuple[Gpu, ...]
    cpu: Cpu
    memory: Memory
    bios: Bios
    numa: dict[str, Any]
    driver: str
    cuda: str
    nccl: str


class Software(_Part):
    """The code that measured."""

    image_digest: str
    pip_freeze_hash: Sha256Hex
    """SHA-256 of the sorted ``name==version`` lines of all installed distributions."""
    git_commit: Annotated[str, Field(min_length=7, max_length=40)]
    nvidia_smi_q_hash: str


class Provenance(_Part):
    """Everything about a measurement that is not a number it measured."""

    model: ModelProvenance
    engine: EngineProvenance
    quantization: Quantization | None
    dataset: DatasetProvenance
    hardware: Hardware
    software: Software
    hardware_class: _Text
    """The kind of machine results are compared within: ``cpu``, ``h100``, ``remote`` ..."""
    warnings: tuple[str, ...]
    """Every value that is unknown or derived, with the reason."""
