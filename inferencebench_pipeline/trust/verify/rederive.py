"""Metrics computed again from the traces alone, compared with what an envelope states."""

from __future__ import annotations

from inferencebench_pipeline.envelope import (
    EXTENSION_FIELD,
    Envelope,
    EnvelopeError,
    MetricNote,
    MetricValue,
    PipelineExtension,
    pipeline_extension,
    traces_binding,
)
from inferencebench_pipeline.measure import (
    METRIC_DEFINITIONS_VERSION,
    Definitions,
    Interval,
    Metric,
    Traces,
    compute_metrics,
    definitions_of,
)


def metric_disagreements(envelope: Envelope, traces: Traces) -> list[str]:
    """Return one sentence per metric that the traces do not give; empty when all agree.

    Values agree when they are the same number to the last digit; sample counts, units and the
    reasons for nulls must agree too. A metric missing on either side is a disagreement. The metrics
    are those of the definitions that the envelope names, whatever came after them.

    Raises:
        EnvelopeError: the envelope does not say which definitions and SLO its metrics are under,
            or names definitions that this version does not have.
        TracesError: the traces are damaged.
    """
    extension = _extension(envelope)
    definitions = _definitions(envelope, extension)
    derived = compute_metrics(traces, extension.slo, definitions)
    sentences = []
    for key in [*envelope.metrics, *(key for key in derived if key not in envelope.metrics)]:
        if key not in derived:
            sentences.append(f"{key} is stated, but the traces give no such metric")
        elif key not in envelope.metrics:
            sentences.append(f"{key} is {derived[key].value!r} from the traces, but not stated")
        else:
            sentences += _differences(
                key, envelope.metrics[key], extension.metric_notes.get(key), derived[key]
            )
    return sentences


def _extension(envelope: Envelope) -> PipelineExtension:
    extension = pipeline_extension(envelope)
    if extension is None:
        raise EnvelopeError(
            f"the envelope has no {EXTENSION_FIELD} field, so nothing says how its metrics follow "
            "from traces"
        )
    return extension


def _definitions(envelope: Envelope, extension: PipelineExtension) -> Definitions:
    """Return the definitions that an envelope names, which must be those of its traces."""
    definitions = definitions_of(extension.metric_definitions)
    if definitions is None:
        raise EnvelopeError(
            f"the metrics are under definitions {extension.metric_definitions!r}; this version "
            f"re-derives those up to {METRIC_DEFINITIONS_VERSION!r}"
        )
    binding = traces_binding(envelope)
    if binding is not None and binding.schema_version not in definitions.traces_schemas:
        raise EnvelopeError(
            f"definitions {definitions.version} are computed from traces in schema "
            f"{' or '.join(sorted(definitions.traces_schemas))}, and these are in schema "
            f"{binding.schema_version}"
        )
    return definitions


def _differences(
    key: str, stated: MetricValue, note: MetricNote | None, derived: Metric
) -> list[str]:
    # Envelope v1 lets a metric be a text, but none that is derived from traces is one.
    if isinstance(stated, str) or stated != derived.value:
        return [f"{key} is stated as {stated!r}, the traces give {derived.value!r}"]
    if note is None:
        return [f"{key} has no note with its sample count"]
    if (note.n, note.unit, note.null_reason) != (derived.n, derived.unit, derived.null_reason):
        return [
            f"{key} is noted as n={note.n} {note.unit} ({note.null_reason or 'has a value'}), the "
            f"traces give n={derived.n} {derived.unit} ({derived.null_reason or 'has a value'})"
        ]
    if note.interval != derived.interval:
        return [
            f"{key} is noted with {_words(note.interval)}, the traces give "
            f"{_words(derived.interval)}"
        ]
    return []


def _words(interval: Interval | None) -> str:
    if interval is None:
        return "no interval"
    return f"the interval {interval.low!r} to {interval.high!r} ({interval.method})"
