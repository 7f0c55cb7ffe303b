"""Building of the unsigned envelope that states a measurement, in the writer's normal form."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC
from typing import Any

from inferencebench_pipeline import __version__
from inferencebench_pipeline.envelope.canonical import EnvelopeError, serialise
from inferencebench_pipeline.envelope.extension import (
    MetricNote,
    PipelineExtension,
    TracesBinding,
    pipeline_extension,
    traces_binding,
)
from inferencebench_pipeline.envelope.models import (
    Dataset,
    EngineIdentity,
    Envelope,
    FingerprintBios,
    FingerprintCpu,
    FingerprintGpu,
    FingerprintMemory,
    HardwareFingerprint,
    ModelIdentity,
    QuantizationFormat,
    SoftwareProvenance,
    fingerprint_sha256,
)
from inferencebench_pipeline.envelope.stated_versions import EXTENSION_FIELD, TRACES_FILE
from inferencebench_pipeline.measure import (
    UNKNOWN,
    BenchmarkSpec,
    CaptureError,
    Hardware,
    Measurement,
    Metric,
    Slo,
    published_spec,
    read_measurement,
)
from inferencebench_pipeline.runs import RunDirectory, RunFile

__all__ = [
    "build_envelope",
    "check_no_placeholders",
    "pipeline_extension",
    "traces_binding",
    "write_envelope",
]

# Upstream records it where a list of packages could not be had.
_HASH_OF_NOTHING = hashlib.sha256(b"").hexdigest()


def build_envelope(measurement: Measurement) -> Envelope:
    """Return the unsigned v1 envelope of a measurement.

    Metrics are numbers or null, the traces are bound through ``distributions``, the load and the
    workload are in ``driver_options``, and everything v1 has no field for (sample counts, units,
    validity flags, engine configuration) is in the extra field ``inferencebench_pipeline``.

    Raises:
        pydantic.ValidationError: the measurement's provenance does not fit v1's constraints; the
            measurement models already enforce them, so this is a bug in them.
    """
    spec, provenance = measurement.spec, measurement.provenance
    quantization = provenance.quantization
    document: dict[str, Any] = {
        "suite_id": spec.suite.id,
        "suite_version": spec.suite.version,
        "run_id": measurement.run_id,
        # The writer's normal form: with another offset the same instant would have another hash.
        "timestamp": measurement.finished_at.astimezone(UTC),
        "model": ModelIdentity(
            id=provenance.model.id,
            revision=provenance.model.revision,
            provider=provenance.model.provider,
            endpoint_hash=provenance.model.endpoint_hash,
        ),
        "engine": EngineIdentity(
            name=provenance.engine.name,
            version=provenance.engine.version,
            config_hash=provenance.engine.config_hash,
            image_digest=provenance.engine.image_digest,
        ),
        "quantization": None
        if quantization is None
        else QuantizationFormat(format=quantization.format, method=quantization.method),
        "hardware_fingerprint": _fingerprint(provenance.hardware),
        "software_provenance": SoftwareProvenance(**provenance.software.model_dump()),
        "dataset": Dataset(**provenance.dataset.model_dump()),
        "seed": spec.seed,
        "driver_options": _driver_options(spec),
        "metrics": {key: metric.value for key, metric in measurement.metrics.items()},
        "distributions": {TRACES_FILE: TracesBinding.of(measurement.traces).text()},
        "slo_template": _slo_text(spec.slo),
        "warnings": list(provenance.warnings),
        EXTENSION_FIELD: _extension(measurement).model_dump(mode="json"),
    }
    return Envelope.model_validate(document)


def write_envelope(run: RunDirectory) -> Envelope:
    """Write ``envelope.unsigned.json`` from ``measurement.json`` and return what it states.

    Raises:
        MissingRunFileError: the run is not measured yet.
        DamagedRunFileError: the measurement has changed since it was written.
        EnvelopeError: the measurement is damaged, or cannot be an envelope.
        RunBusyError: another process works on the run.
    """
    with run.writing("building the envelope"):
        envelope = build_envelope(measurement_of(run))
        run.write(RunFile.UNSIGNED_ENVELOPE, serialise(envelope))
    return envelope


def measurement_of(run: RunDirectory) -> Measurement:
    """Return the measurement of ``run`` as it was written.

    Raises:
        MissingRunFileError: the run is not measured yet.
        DamagedRunFileError: it has changed since.
        EnvelopeError: it is no measurement, or that of another run.
    """
    try:
        return read_measurement(run)
    except CaptureError as error:
        raise EnvelopeError(str(error)) from error


def check_no_placeholders(envelope: Envelope) -> list[str]:
    """Return one sentence for each value that only looks like provenance; empty when none does.

    A hash of nothing, a hash or revision made of one repeated character, padding after
    ``unknown``, and an ``unknown`` that no warning explains.
    """
    return [
        f"{field} is {value!r}, {problem}"
        for field, value in _provenance_values(envelope)
        if (problem := _placeholder(field, value, envelope.warnings))
    ]


def _placeholder(field: str, value: str, warnings: list[str]) -> str | None:
    if value == _HASH_OF_NOTHING:
        return "the hash of no bytes at all"
    # Seven characters are the shortest revision of v1. Upstream has placeholders such as all zeros.
    if len(value) >= 7 and len(set(value)) == 1:
        return "one repeated character"
    if value == UNKNOWN:
        name = field.rsplit(".", 1)[-1]
        explained = any(name in warning or field in warning for warning in warnings)
        return None if explained else f"and no warning mentions {name}"
    return "padding" if value.lower().startswith(UNKNOWN) else None


def _provenance_values(envelope: Envelope) -> Iterator[tuple[str, str]]:
    hardware, software = envelope.hardware_fingerprint, envelope.software_provenance
    yield "model.revision", envelope.model.revision
    yield "model.endpoint_hash", envelope.model.endpoint_hash
    yield "engine.version", envelope.engine.version
    yield "engine.config_hash", envelope.engine.config_hash
    yield "dataset.hash", envelope.dataset.hash
    yield "hardware_fingerprint.dmi_uuid", hardware.dmi_uuid
    yield "hardware_fingerprint.cpu.model", hardware.cpu.model
    yield "hardware_fingerprint.cpu.microcode", hardware.cpu.microcode
    yield "hardware_fingerprint.bios.version", hardware.bios.version
    yield "software_provenance.pip_freeze_hash", software.pip_freeze_hash
    yield "software_provenance.git_commit", software.git_commit
    yield "software_provenance.nvidia_smi_q_hash", software.nvidia_smi_q_hash
    binding, extension = traces_binding(envelope), pipeline_extension(envelope)
    if binding is not None:
        yield f"distributions.{TRACES_FILE}", binding.sha256
    if extension is not None:
        yield f"{EXTENSION_FIELD}.workload_hash", extension.workload_hash
        yield f"{EXTENSION_FIELD}.model_file_sha256", extension.model_file_sha256 or ""


def _fingerprint(hardware: Hardware) -> HardwareFingerprint:
    parts: dict[str, Any] = {
        # Every reader of v1 trims texts before it computes the digest.
        "dmi_uuid": hardware.dmi_uuid.strip(),
        "gpus": [FingerprintGpu(**gpu.model_dump()) for gpu in hardware.gpus],
        "cpu": FingerprintCpu(**hardware.cpu.model_dump()),
        "memory": FingerprintMemory(**hardware.memory.model_dump()),
        "bios": FingerprintBios(**hardware.bios.model_dump()),
        "numa": hardware.numa,
        "driver": hardware.driver.strip(),
        "cuda": hardware.cuda.strip(),
        "nccl": hardware.nccl.strip(),
    }
    # Not validated, because validation demands the very digest that is computed here.
    unstamped = HardwareFingerprint.model_construct(**parts)
    return HardwareFingerprint(fingerprint_sha256=fingerprint_sha256(unstamped), **parts)


def _driver_options(spec: BenchmarkSpec) -> dict[str, Any]:
    return {
        "spec_name": spec.name,
        "engine": spec.engine.kind,
        "load": spec.load.model_dump(mode="json"),
        "workload": spec.workload.model_dump(mode="json"),
        "deadlines": spec.deadlines.model_dump(mode="json"),
        "spec": published_spec(spec),
    }


def _extension(measurement: Measurement) -> PipelineExtension:
    provenance = measurement.provenance
    return PipelineExtension(
        pipeline_version=__version__,
        metric_definitions=measurement.metric_definitions,
        metric_notes={key: _note(metric) for key, metric in measurement.metrics.items()},
        validity=measurement.validity,
        model_file_sha256=provenance.model.file_sha256,
        engine_config=provenance.engine.config,
        hardware_class=provenance.hardware_class,
        slo=measurement.spec.slo,
        workload_hash=measurement.workload_sha256,
        schedule_hash=measurement.schedule_sha256,
        client=measurement.client,
        model=provenance.model,
        audit=measurement.audit,
        conduct=measurement.conduct,
        telemetry=measurement.telemetry,
    )


def _note(metric: Metric) -> MetricNote:
    return MetricNote(
        n=metric.n,
        unit=metric.unit,
        null_reason=metric.null_reason,
        interval=metric.interval,
        interval_null_reason=metric.interval_null_reason,
    )


def _slo_text(slo: Slo) -> str:
    bounds = (("ttft_ms", slo.ttft_ms), ("tpot_ms", slo.tpot_ms))
    return ";".join(f"{name}<={bound:.15g}" for name, bound in bounds if bound is not None)
