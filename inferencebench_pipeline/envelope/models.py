"""Envelope v1 as every reader of the format accepts it: lax coercion, trimming, extra fields kept.

The rules are upstream's, reproduced exactly, because the content hash is taken over what these
models make of the input, not over the input itself. What a *writer* should emit is narrower and
lives in :mod:`inferencebench_pipeline.envelope.build`.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

NonEmpty = Annotated[str, Field(min_length=1)]
Sha256Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""64 lower-case hex digits; a whole-string match (the pattern engine's ``$`` is the very end)."""
Revision = Annotated[str, Field(min_length=7, max_length=40)]
MetricValue = float | int | str | None
"""Order matters: ``true`` becomes 1.0, ``1`` stays an int, ``"1.5"`` stays a string."""


VALIDATED: Final = "validated_hardware"
"""The key of a validation's context for a description of hardware that was validated before."""


class _EnvelopePart(BaseModel):
    # Unknown fields are kept and hashed: a newer writer's envelope still verifies here.
    model_config = ConfigDict(extra="allow", frozen=True, str_strip_whitespace=True)


class FingerprintGpu(_EnvelopePart):
    """One GPU of the host; all four values enter the hardware fingerprint."""

    model: NonEmpty
    pci_id: NonEmpty
    serial: NonEmpty
    vbios: NonEmpty


class FingerprintCpu(_EnvelopePart):
    """The host's processor."""

    model: NonEmpty
    microcode: NonEmpty


class FingerprintMemory(_EnvelopePart):
    """The host's memory: populated channels and their speed in MT/s."""

    # The bounds are upstream's, whose readers refuse an envelope outside of them.
    channels: Annotated[int, Field(ge=1, le=16)]
    speed_mts: Annotated[int, Field(ge=1)]
    ecc: bool = False


class FingerprintBios(_EnvelopePart):
    """Firmware settings that change inference performance."""

    version: NonEmpty
    resizable_bar: bool
    above_4g: bool


class HardwareFingerprint(_EnvelopePart):
    """The host, and a digest over the named fields that must match on every load."""

    fingerprint_sha256: Sha256Hex
    dmi_uuid: NonEmpty
    gpus: list[FingerprintGpu] = Field(default_factory=list)
    cpu: FingerprintCpu
    memory: FingerprintMemory
    bios: FingerprintBios
    numa: dict[str, Any] = Field(default_factory=dict)
    driver: str = ""
    cuda: str = ""
    nccl: str = ""

    @model_validator(mode="after")
    def _digest_matches(self, info: ValidationInfo) -> Self:
        # Pydantic asks again of an object that was made before. Whoever remembers one says so.
        if info.context is not None and self is info.context.get(VALIDATED):
            return self
        computed = fingerprint_sha256(self)
        if computed != self.fingerprint_sha256:
            raise ValueError(
                f"fingerprint_sha256 is {self.fingerprint_sha256} but the hardware fields give "
                f"{computed}; one of them was changed after the fingerprint was taken"
            )
        return self


def fingerprint_sha256(hardware: HardwareFingerprint) -> str:
    """Return the SHA-256 over the fingerprint's named fields, GPUs ordered by PCI id.

    Extra fields are outside it (they are inside the content hash).
    """
    body = {
        "dmi_uuid": hardware.dmi_uuid,
        "gpus": [
            {"model": gpu.model, "pci_id": gpu.pci_id, "serial": gpu.serial, "vbios": gpu.vbios}
            # The order of the GPUs is part of the content hash, and not of the fingerprint.
            for gpu in sorted(hardware.gpus, key=lambda gpu: gpu.pci_id)
        ],
        "cpu": {"model": hardware.cpu.model, "microcode": hardware.cpu.microcode},
        "memory": {
            "channels": hardware.memory.channels,
            "speed_mts": hardware.memory.speed_mts,
            "ecc": hardware.memory.ecc,
        },
        "bios": {
            "version": hardware.bios.version,
            "resizable_bar": hardware.bios.resizable_bar,
            "above_4g": hardware.bios.above_4g,
        },
        "numa": hardware.numa,
        "driver": hardware.driver,
        "cuda": hardware.cuda,
        "nccl": hardware.nccl,
    }
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class SoftwareProvenance(_EnvelopePart):
    """The software that measured."""

    image_digest: str = ""
    pip_freeze_hash: Sha256Hex
    git_commit: Revision
    nvidia_smi_q_hash: str = ""


class ModelIdentity(_EnvelopePart):
    """The model under test."""

    id: NonEmpty
    revision: Revision
    provider: NonEmpty
    endpoint_hash: Sha256Hex


class EngineIdentity(_EnvelopePart):
    """The inference engine and the hash of its configuration."""

    name: NonEmpty
    version: NonEmpty
    config_hash: Sha256Hex
    image_digest: str = ""


class QuantizationFormat(_EnvelopePart):
    """Weight format and how it was produced."""

    format: str
    method: str = ""


class Dataset(_EnvelopePart):
    """The prompts, and the hash of their bytes."""

    id: NonEmpty
    hash: Sha256Hex


class SignatureBlock(_EnvelopePart):
    """The signature over the content hash. Everything but ``bundle`` is a claim until verified.

    ``sigstore-cosign``: ``bundle`` is base64 of a Sigstore bundle, ``certificate`` its leaf in
    PEM. ``dev-key``: ``bundle`` is base64 of an Ed25519 signature, ``certificate`` the PEM public
    key, ``rekor_log_index`` -1.
    """

    method: Literal["sigstore-cosign", "dev-key"]
    certificate: NonEmpty
    rekor_log_index: int = -1
    bundle: str = ""


ENVELOPE_VERSION: Final = "v1"
"""The version of the envelope that this release writes and knows. Upstream raises it, never we."""


class Envelope(_EnvelopePart):
    """One benchmark result with its provenance, signed or not yet."""

    envelope_version: Literal["v1"] = "v1"
    suite_id: NonEmpty
    # Upstream's pattern, which knows no build metadata.
    suite_version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+(-[\w.]+)?$")]
    # Upstream takes any text here, so whoever makes a path of it validates it first.
    run_id: str
    # The offset is hashed as it stands: the same instant in another zone has another hash.
    timestamp: datetime
    model: ModelIdentity
    engine: EngineIdentity
    quantization: QuantizationFormat | None = None
    hardware_fingerprint: HardwareFingerprint
    software_provenance: SoftwareProvenance
    dataset: Dataset
    seed: int
    driver_options: dict[str, Any] = Field(default_factory=dict)
    metrics: dict[str, MetricValue] = Field(default_factory=dict)
    distributions: dict[str, str] = Field(default_factory=dict)
    slo_template: str = ""
    warnings: list[str] = Field(default_factory=list)
    signature: SignatureBlock | None = None

    @model_validator(mode="after")
    def _has_metrics_and_zone(self) -> Self:
        if not self.metrics:
            raise ValueError("metrics is empty; an envelope states at least one metric")
        if self.timestamp.tzinfo is None:
            raise ValueError(
                f"timestamp {self.timestamp.isoformat()} has no time zone; write UTC, "
                "such as 2026-05-15T10:30:00Z"
            )
        return self


class LaterEnvelope(Envelope):
    """An envelope of a version after v1, as far as it can be read as one of v1.

    Its signature can be checked when later versions are hashed as v1 is. Nothing else of it can be
    judged.
    """

    envelope_version: Annotated[str, Field(pattern=r"^v([2-9]|[1-9][0-9]{1,8})$")]  # type: ignore[assignment]
