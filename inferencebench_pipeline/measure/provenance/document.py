"""The provenance document: on what, with what and from what a measurement was made.

Only the shapes live here. ``host`` reads the hardware, ``software`` the installed packages and
the source tree, and each engine says what it is. Every field satisfies the constraints of the
envelope, and every value that could not be learnt is ``unknown`` with a warning that says why.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.spec.stated_parts import Quantization

UNKNOWN = "unknown"
"""The word for a value that could not be learnt; a warning beside it says why."""

Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Text = Annotated[str, Field(min_length=1)]


class Unsaid(DocumentPart):
    """A value that the engine does not tell: null, with the reason, and never invented."""

    field: _Text
    """The name of the field that is null."""
    reason: _Text
    """The reason why it is null."""


class ModelProvenance(DocumentPart):
    """The model that answered, its weights and the place that served it."""

    id: _Text
    """The id of the model on the Hub, as the spec names it."""
    revision: Annotated[str, Field(min_length=7, max_length=40)]
    """The commit of the weights on the Hub, or the word ``unknown``."""
    provider: _Text
    """The provider that hosts the engine. It is ``local`` on this machine."""
    endpoint_hash: Sha256Hex
    """The SHA-256 of the endpoint's URL without credentials."""
    file_sha256: Sha256Hex | None
    """The SHA-256 of the weights file, when we hold it. For several files it is that of their
    ``name=sha256`` lines."""
    resolved_id: str | None = None
    """The name that the engine answers by, in its own words."""
    weights: dict[str, Sha256Hex] | None = None
    """The SHA-256 of every weights file by its name."""
    tokenizer_sha256: Sha256Hex | None = None
    """The SHA-256 of the tokenizer."""
    chat_template_sha256: Sha256Hex | None = None
    """The SHA-256 of the chat template."""
    unsaid: tuple[Unsaid, ...] = ()
    """The reasons why some of the fields above are null."""


class EngineProvenance(DocumentPart):
    """The engine that answered, and its configuration."""

    name: _Text
    """The name of the engine software."""
    version: _Text
    """The version of the engine software."""
    config_hash: Sha256Hex
    """The SHA-256 of ``config`` as canonical JSON (sorted keys, no spaces)."""
    config: dict[str, Any]
    """The arguments, variables and package as we chose them, and the engine's own report of what it
    made of them."""
    image_digest: str = ""
    """The digest of the container image that the engine runs in, empty when it is not known."""
    dtype: str | None = None
    """The data type that the engine computes in, in its own words."""


class DatasetProvenance(DocumentPart):
    """The prompts that were sent."""

    id: _Text
    """The name of the prompt set."""
    hash: Sha256Hex
    """The SHA-256 of the prompt set's bytes."""


class Gpu(DocumentPart):
    """One GPU as the driver names it."""

    model: _Text
    """The model name of the GPU."""
    pci_id: _Text
    """The address of the GPU on the PCI bus."""
    serial: _Text
    """The serial number of the GPU."""
    vbios: _Text
    """The version of the GPU's VBIOS."""


class Cpu(DocumentPart):
    """The CPU model and microcode revision."""

    model: _Text
    """The model name of the CPU."""
    microcode: _Text
    """The revision of the CPU's microcode."""


class Memory(DocumentPart):
    """The layout of the memory.

    Without DMI rights these are the smallest legal values, with a warning.
    """

    channels: int = Field(ge=1, le=16)
    """The number of memory channels."""
    speed_mts: int = Field(ge=1)
    """The speed of the memory, in megatransfers per second."""
    ecc: bool
    """True when the memory corrects errors."""


class Bios(DocumentPart):
    """The firmware, and its settings that decide how fast a GPU talks to its host."""

    version: _Text
    """The version of the firmware."""
    resizable_bar: bool
    """True when Resizable BAR is on."""
    above_4g: bool
    """True when decoding above 4 GiB is on."""


class Hardware(DocumentPart):
    """The machine that the client, and an engine that we started, ran on."""

    dmi_uuid: _Text
    """The UUID of the machine from its DMI tables."""
    gpus: tuple[Gpu, ...]
    """The GPUs of the machine."""
    cpu: Cpu
    """The CPU of the machine."""
    memory: Memory
    """The memory of the machine."""
    bios: Bios
    """The firmware of the machine."""
    numa: dict[str, Any]
    """The NUMA nodes of the machine and their CPUs."""
    driver: str
    """The version of the GPU driver, empty without one."""
    cuda: str
    """The version of CUDA that the driver supports, empty without one."""
    nccl: str
    """The version of NCCL, empty without one."""


class Software(DocumentPart):
    """The code that measured."""

    image_digest: str
    """The digest of the container image that the pipeline runs in, from
    ``INFERENCEBENCH_IMAGE_DIGEST``; empty when it is not set."""
    pip_freeze_hash: Sha256Hex
    """The SHA-256 of the sorted ``name==version`` lines of all installed distributions."""
    git_commit: Annotated[str, Field(min_length=7, max_length=40)]
    """The commit of the pipeline's own code."""
    nvidia_smi_q_hash: str
    """The SHA-256 of the output of ``nvidia-smi -q``, empty without a GPU."""


class Provenance(DocumentPart):
    """Everything about a measurement that is not a number it measured."""

    model: ModelProvenance
    """The model that answered."""
    engine: EngineProvenance
    """The engine that answered."""
    quantization: Quantization | None
    """The form of the stored weights, null when it is not known."""
    dataset: DatasetProvenance
    """The prompts that were sent."""
    hardware: Hardware
    """The machine that measured."""
    software: Software
    """The code that measured."""
    hardware_class: _Text
    """The kind of machine that results are compared within, for example ``cpu``, ``h100`` or
    ``remote``."""
    warnings: tuple[str, ...]
    """One sentence for every value that is unknown or derived, with the reason."""
