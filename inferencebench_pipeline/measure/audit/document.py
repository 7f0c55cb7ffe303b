"""The audit as ``measurement.json`` and the envelope state it."""

from __future__ import annotations

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.measure.audit.counters import Unit
from inferencebench_pipeline.measure.provenance.document import Sha256Hex


class AuditLine(DocumentPart):
    """One quantity as the engine counted it, beside the same quantity as we counted it."""

    name: str
    """The name of the quantity."""
    unit: Unit
    """The unit of both values."""
    engine: float
    """The engine's value."""
    engine_n: int | None
    """The number of samples that the engine's mean rests on, null for a total."""
    ours: float | None
    """Our value, null when there is none."""
    same_meaning: bool
    """True when the two values should agree. Otherwise ``note`` says how the engine's meaning
    differs."""
    note: str
    """The difference in meaning between the two values."""

    @property
    def difference(self) -> float | None:
        """Return ours minus the engine's."""
        return None if self.ours is None else self.ours - self.engine


class AnsweredAs(DocumentPart):
    """The names that answers give of their origin, in the engine's own words."""

    model: str
    """The name of the model."""
    provider: str | None
    """The provider, where the answer names one."""
    system_fingerprint: str | None
    """The fingerprint of the backend, where the answer gives one."""


class EngineAudit(DocumentPart):
    """The engine's own account of the requests between the two readings, warm-up included."""

    family: str | None
    """The family of the metrics: ``vllm``, ``sglang``, ``tgi`` or ``llama.cpp``."""
    lines: tuple[AuditLine, ...]
    """One line for each quantity that both counted."""
    null_reason: str | None
    """The reason why there are no lines."""
    before_sha256: Sha256Hex | None
    """The SHA-256 of the engine's metrics as they were read before the load."""
    after_sha256: Sha256Hex | None
    """The SHA-256 of the engine's metrics as they were read after the load."""
    answered_as: tuple[AnsweredAs, ...]
    """The distinct names in the first 200 answers. More than one name means more than one
    backend."""
