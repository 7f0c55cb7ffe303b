"""The additions of this pipeline to a v1 envelope: the traces binding, and notes on the numbers.

Both are inside the content hash. Other readers of v1 keep and verify them without knowing them.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inferencebench_pipeline.envelope.canonical import EnvelopeError
from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.envelope.stated_versions import (
    BINDING,
    EXTENSION_FIELD,
    TRACES_FILE,
)
from inferencebench_pipeline.measure import (
    ClientReport,
    ConductReport,
    EngineAudit,
    Interval,
    ModelProvenance,
    Slo,
    TelemetryReport,
    TracesInfo,
    ValidityFlag,
)
from inferencebench_pipeline.untrusted import problems_of


class _ExtensionPart(BaseModel):
    # A newer pipeline may write more; what it writes is hashed whether or not we know it.
    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


class MetricNote(_ExtensionPart):
    """The sample count, unit and interval of a metric, and the reason for a null."""

    n: int = Field(ge=0)
    unit: str
    null_reason: str | None = None
    interval: Interval | None = None
    interval_null_reason: str | None = None
    """Reason why a metric that has a value has no interval."""


class PipelineExtension(_ExtensionPart):
    """The content of the envelope's ``inferencebench_pipeline`` field."""

    pipeline_version: str
    metric_definitions: str
    """Version of the definitions that the metrics were computed, and re-derive, under."""
    metric_notes: dict[str, MetricNote]
    validity: tuple[ValidityFlag, ...]
    model_file_sha256: str | None
    engine_config: dict[str, Any]
    hardware_class: str
    slo: Slo
    workload_hash: str
    """SHA-256 of the prompts and how they are to be answered: what was asked, of no one."""
    schedule_hash: str
    """SHA-256 of the arrival offsets, or of the closed loop's settings: when it was sent."""
    client: ClientReport
    model: ModelProvenance | None = None
    """Digests of weights, tokenizer and chat template; why those that are null are."""
    audit: EngineAudit | None = None
    """The engine's own account of the same requests."""
    conduct: ConductReport | None = None
    """Conduct of the run: its repeats, the looks at their intervals, and the time each settled."""
    telemetry: TelemetryReport | None = None
    """Telemetry of the machine meanwhile; energy that was not measured is null, with reasons."""


class TracesBinding(_ExtensionPart):
    """The identity of the traces file that the metrics were computed from."""

    sha256: str
    rows: int
    schema_version: str

    @classmethod
    def of(cls, traces: TracesInfo) -> TracesBinding:
        """Return the binding of the traces file that ``traces`` describes."""
        return cls(sha256=traces.sha256, rows=traces.rows, schema_version=traces.schema_version)

    def text(self) -> str:
        """Return the binding as ``distributions`` holds it."""
        return f"sha256:{self.sha256};rows={self.rows};schema={self.schema_version}"


def traces_binding(envelope: Envelope) -> TracesBinding | None:
    """Return which traces file the envelope binds, or None when it binds none.

    Raises:
        EnvelopeError: ``distributions`` names the traces file in a form we do not know.
    """
    text = envelope.distributions.get(TRACES_FILE)
    if text is None:
        return None
    match = BINDING.fullmatch(text)
    if match is None:
        raise EnvelopeError(
            f'distributions["{TRACES_FILE}"] is {text[:120]!r}; expected '
            "sha256:<64 hex>;rows=<count>;schema=<version>"
        )
    digest, rows, version = match.groups()
    return TracesBinding(sha256=digest, rows=int(rows), schema_version=version)


def pipeline_extension(envelope: Envelope) -> PipelineExtension | None:
    """Return this pipeline's notes on the envelope, or None when another writer made it.

    Raises:
        EnvelopeError: the field is there but does not have our shape.
    """
    content = (envelope.model_extra or {}).get(EXTENSION_FIELD)
    if content is None:
        return None
    try:
        return PipelineExtension.model_validate(content)
    except ValidationError as error:
        raise EnvelopeError(problems_of(error, under=EXTENSION_FIELD)) from error
