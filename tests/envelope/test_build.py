"""What a measurement becomes: nothing lost, nothing invented, every number a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inferencebench_pipeline.envelope.build import (
    build_envelope,
    check_no_placeholders,
    pipeline_extension,
    traces_binding,
    write_envelope,
)
from inferencebench_pipeline.envelope.build import measurement_of as measured_of
from inferencebench_pipeline.envelope.canonical import (
    EnvelopeError,
    content_hash,
    parse_envelope,
    serialise,
)
from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.measure.run.measurement import Measurement
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from tests.envelope.measured import (
    digest,
    measurement_of,
    provenance,
    spec,
    traces_bytes,
    write_measured,
)

RUN_ID = "0199d3c0-0000-7000-8000-000000000001"


@pytest.fixture(scope="module")
def measurement() -> Measurement:
    return measurement_of(RUN_ID, traces_bytes(RUN_ID))


@pytest.fixture(scope="module")
def envelope(measurement: Measurement) -> Envelope:
    return build_envelope(measurement)


def changed(measurement: Measurement, **fields: Any) -> Envelope:
    return build_envelope(measurement.model_copy(update=fields))


def test_the_same_measurement_gives_the_same_bytes(measurement: Measurement) -> None:
    reread = Measurement.model_validate_json(measurement.model_dump_json())
    assert serialise(build_envelope(reread)) == serialise(build_envelope(measurement))


def test_every_metric_is_stated_with_its_samples_unit_and_reason(
    measurement: Measurement, envelope: Envelope
) -> None:
    assert envelope.metrics == {key: m.value for key, m in measurement.metrics.items()}
    assert all(not isinstance(value, str) for value in envelope.metrics.values())
    extension = pipeline_extension(envelope)
    assert extension is not None
    for key, metric in measurement.metrics.items():
        note = extension.metric_notes[key]
        assert (note.n, note.unit, note.null_reason) == (metric.n, metric.unit, metric.null_reason)
    assert any(note.null_reason for note in extension.metric_notes.values())


def test_the_envelope_binds_its_traces(measurement: Measurement, envelope: Envelope) -> None:
    binding = traces_binding(envelope)
    assert binding is not None
    assert (binding.sha256, binding.rows, binding.schema_version) == (
        measurement.traces.sha256,
        measurement.traces.rows,
        measurement.traces.schema_version,
    )
    assert envelope.distributions["traces.parquet"].startswith("sha256:")


def test_load_workload_and_slo_can_be_read_back(envelope: Envelope) -> None:
    assert envelope.driver_options["load"] == spec().load.model_dump(mode="json")
    assert envelope.driver_options["workload"] == spec().workload.model_dump(mode="json")
    assert envelope.slo_template == "ttft_ms<=60;tpot_ms<=12.5"
    extension = pipeline_extension(envelope)
    assert extension is not None
    assert extension.slo == spec().slo
    assert extension.engine_config == {"threads": 1, "context_tokens": 4096}
    assert extension.model_file_sha256 == digest("weights")


def test_times_are_utc_and_the_run_id_is_the_runs(envelope: Envelope) -> None:
    assert b'"timestamp": "2026-05-15T10:31:02.000500Z"' in serialise(envelope)
    assert envelope.run_id == RUN_ID
    assert envelope.signature is None


def test_hardware_with_spaces_around_it_still_matches_its_fingerprint(
    measurement: Measurement,
) -> None:
    hardware = provenance().hardware.model_dump() | {"dmi_uuid": " 4c4c4544 ", "driver": "560.1 "}
    built = changed(measurement, provenance=provenance(hardware=hardware))
    assert parse_envelope(serialise(built)).hardware_fingerprint.dmi_uuid == "4c4c4544"


@pytest.mark.parametrize(
    "binding",
    ["", "sha256:abc", "md5:" + "a" * 64, f"sha256:{'A' * 64};rows=1;schema=1"],
)
def test_a_binding_in_another_form_is_an_error(envelope: Envelope, binding: str) -> None:
    other = envelope.model_copy(update={"distributions": {"traces.parquet": binding}})
    with pytest.raises(EnvelopeError, match=r"traces\.parquet.*expected sha256"):
        traces_binding(other)


def test_an_envelope_of_another_writer_has_no_binding_and_no_notes(minimal: Any) -> None:
    other = Envelope.model_validate(minimal)
    assert traces_binding(other) is None
    assert pipeline_extension(other) is None


def test_our_field_in_another_shape_is_an_error_naming_it(minimal: Any) -> None:
    other = Envelope.model_validate(minimal | {"inferencebench_pipeline": {"metric_notes": 3}})
    with pytest.raises(EnvelopeError, match=r"inferencebench_pipeline\."):
        pipeline_extension(other)


def test_unknown_with_its_reason_is_no_placeholder(envelope: Envelope) -> None:
    assert check_no_placeholders(envelope) == []


@pytest.mark.parametrize(
    ("part", "values", "found"),
    [
        ("model", {"revision": "0" * 40}, "model.revision"),
        ("model", {"revision": "unknown00"}, "model.revision"),
        ("model", {"endpoint_hash": "0" * 64}, "model.endpoint_hash"),
        ("engine", {"config_hash": digest("")}, "engine.config_hash"),
        ("engine", {"version": "unknown"}, "engine.version"),
        ("dataset", {"hash": "a" * 64}, "dataset.hash"),
        ("software", {"pip_freeze_hash": digest("")}, "software_provenance.pip_freeze_hash"),
        ("software", {"git_commit": "0" * 40}, "software_provenance.git_commit"),
    ],
)
def test_a_placeholder_is_found(
    measurement: Measurement, part: str, values: dict[str, str], found: str
) -> None:
    content = provenance().model_dump()[part] | values
    built = changed(measurement, provenance=provenance(**{part: content}))
    sentences = check_no_placeholders(built)
    assert len(sentences) == 1
    assert sentences[0].startswith(f"{found} is ")


def test_the_published_corpus_is_full_of_placeholders(shared_data: Any) -> None:
    path = next((shared_data / "corpus").glob("*/*.json"))
    sentences = check_no_placeholders(parse_envelope(path.read_bytes()))
    assert any(sentence.startswith("engine.config_hash") for sentence in sentences)


def test_a_measurement_of_another_run_or_none_is_damaged(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    run, other = store.run(new_run_id()), store.run(new_run_id())
    for each in (run, other):
        each.path.mkdir(parents=True)
        assert write_measured(each) == measured_of(each)
    for data in (other.read(RunFile.MEASUREMENT), b"{}", b"{"):
        run.write(RunFile.MEASUREMENT, data)
        with pytest.raises(EnvelopeError, match="measurement"):
            measured_of(run)
        with pytest.raises(EnvelopeError, match="measurement"):
            write_envelope(run)


def test_changing_the_load_changes_the_content_hash(measurement: Measurement) -> None:
    load = {"kind": "closed", "concurrency": 4, "requests": 12, "warmup_requests": 1}
    other = changed(measurement, spec=spec(load=load))
    assert content_hash(other) != content_hash(build_envelope(measurement))
