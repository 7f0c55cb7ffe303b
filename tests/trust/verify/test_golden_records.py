"""Records of every version verify for ever, each under the definitions that it names."""

from __future__ import annotations

import json

import pytest

from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.envelope.extension import pipeline_extension, traces_binding
from inferencebench_pipeline.envelope.stated_versions import stated_versions
from inferencebench_pipeline.measure.definition_versions import definitions_of
from inferencebench_pipeline.measure.metric_definitions import DEFINITIONS_HISTORY
from inferencebench_pipeline.measure.traces.schema_history import TRACES_SCHEMA_HISTORY
from inferencebench_pipeline.trust.verify.verdict import CheckStatus, FailureClass
from tests.records import GoldenRecord, golden_records

RECORDS = golden_records()
each_record = pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)


@each_record
def test_a_record_of_any_version_verifies(record: GoldenRecord) -> None:
    verdict = record.verdict()
    assert verdict.ok, verdict.reason
    assert {check.status for check in verdict.checks} == {CheckStatus.PASSED}


@each_record
def test_a_record_states_every_metric_of_its_version_and_no_other(record: GoldenRecord) -> None:
    envelope = parse_envelope(record.data)
    extension, binding = pipeline_extension(envelope), traces_binding(envelope)
    assert extension is not None
    assert binding is not None
    definitions = definitions_of(extension.metric_definitions)
    assert definitions is not None
    assert set(envelope.metrics) == set(definitions.metrics)
    assert binding.schema_version in definitions.traces_schemas


@each_record
def test_a_changed_number_in_a_record_of_any_version_is_tampering(record: GoldenRecord) -> None:
    document = json.loads(record.data)
    document["metrics"]["ttft_p50_ms"] += 1
    verdict = record.verdict(json.dumps(document).encode())
    assert verdict.failure_class == FailureClass.TAMPERED


@each_record
def test_the_traces_of_another_version_are_not_taken_for_its_own(record: GoldenRecord) -> None:
    other = next(each for each in RECORDS if each.traces != record.traces)
    assert record.verdict(traces=other.traces).failure_class == FailureClass.TRACES_MISMATCH


def test_every_version_has_a_golden_record_from_each_kind_of_log() -> None:
    there = {
        (stated.metric_definitions, stated.traces_schema, record.envelope.name)
        for record in RECORDS
        for stated in [stated_versions(parse_envelope(record.data))]
    }
    wanted = {
        (str(version.number), schema, f"envelope.rekor-v{log}.json")
        for version in DEFINITIONS_HISTORY
        for schema in version.traces_schemas
        for log in (1, 2)
    }
    assert not wanted - there, "python -m tools.golden_records makes the record of these versions"
    schemas = {schema for _, schema, _ in there}
    assert schemas == {str(each.number) for each in TRACES_SCHEMA_HISTORY}
