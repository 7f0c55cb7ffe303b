"""A traces file and its envelope say the same of their run, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.envelope import Envelope, build_envelope, parse_envelope
from inferencebench_pipeline.envelope.canonical import serialise
from inferencebench_pipeline.measure import open_traces
from inferencebench_pipeline.measure.traces.schema import METADATA_PREFIX
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, new_run_id
from inferencebench_pipeline.trust.errors import SigningRefusedError
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from inferencebench_pipeline.trust.verify.statements import Statements, statements_of
from inferencebench_pipeline.trust.verify.verdict import FailureClass
from tests.envelope.measured import digest, measurement_of, traces_bytes, write_measured
from tests.trust.conftest import World
from tests.trust.records import assert_rejected, encode

RUN_ID = new_run_id()
ENERGY = [{"joules": 12.5, "source": "rapl", "null_reason": None}]
TOLD = {
    "finished_at": "2026-05-15T10:31:02.000500+00:00",
    "model": "example/tiny",
    "seed": "42",
    "workload_sha256": digest("requests"),
    "schedule_sha256": digest("schedule"),
    "energy": json.dumps(ENERGY),
}
"""The statements of today's traces beside those of the made-up run."""
CONDUCT = {
    "conduct": {"repeats": 1, "rule": {"least": 1}, "looks": [], "stopped_because": "one"},
    "settling": [],
}
TELEMETRY: dict[str, Any] = {
    "engine": {"gpus": [], "how": "it was told"},
    "sources": [],
    "energy": [
        {
            "joules": 12.5,
            "valid": True,
            "source": "rapl",
            "window_s": 1.0,
            "devices": [],
            "reasons": [],
        }
    ],
    "sampler_cpu_share": 0.0,
    "readings": 2,
    "file_sha256": None,
}


def told(traces: bytes, **changes: str | None) -> bytes:
    """The traces with other metadata; None takes a key away."""
    table = pq.read_table(pa.BufferReader(traces))
    metadata = dict(table.schema.metadata or {})
    for key, value in changes.items():
        metadata.pop(METADATA_PREFIX + key.encode(), None)
        if value is not None:
            metadata[METADATA_PREFIX + key.encode()] = value.encode()
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    return sink.getvalue().to_pybytes()


TRACES = told(traces_bytes(RUN_ID), **TOLD)
ENVELOPE = build_envelope(
    measurement_of(RUN_ID, TRACES).model_validate(
        measurement_of(RUN_ID, TRACES).model_dump() | {"conduct": CONDUCT, "telemetry": TELEMETRY}
    )
)


def statements(envelope: Envelope = ENVELOPE, traces: bytes = TRACES) -> Statements:
    return statements_of(envelope, open_traces(traces))


def claimed(**changes: Any) -> Envelope:
    """The envelope with other values, each at the path that double underscores spell."""
    document = json.loads(serialise(ENVELOPE))
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = document
        for part in parents:
            place = place[part]
        place[last] = value
    return parse_envelope(encode(document))


def test_what_a_run_of_today_leaves_agrees_in_every_field() -> None:
    found = statements()
    assert found.contradictions() == []
    assert found.skipped == {}
    assert {each.field for each in found.stated} >= {"run_id", "load", "energy", "timestamp"}


CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "run_id": ({"run_id": new_run_id()}, "run_id is"),
    "concurrency": (
        {"driver_options__load__concurrency": 512},
        "load.concurrency is 2 in the traces, 512 in the envelope",
    ),
    "a load of more": ({"driver_options__load__rate_per_s": 9.0}, "load.rate_per_s is None"),
    "truth as one": ({"driver_options__load__warmup_requests": True}, "load.warmup_requests is 1"),
    "no load": ({"driver_options__load": None}, "load.requests"),
    "tokens": ({"driver_options__workload__max_tokens": 9}, "workload.max_tokens is 32"),
    "spec's load": ({"driver_options__spec__load__concurrency": 3}, "spec.load.concurrency is 2"),
    "spec's workload": ({"driver_options__spec__workload__api": "x"}, "spec.workload.api is"),
    "requests": ({"driver_options__load__requests": 13}, r"requests is \[12\]"),
    "warm-up": ({"driver_options__load__warmup_requests": 2}, r"warmup_requests is \[1\]"),
    "repeats": (
        {"inferencebench_pipeline__conduct__conduct__repeats": 5},
        "repeats is 1 in the traces, 5 in the envelope",
    ),
    "retried": ({"inferencebench_pipeline__client__retried_requests": 1}, "retried_requests is 0"),
    "energy": (
        {"inferencebench_pipeline__telemetry__energy": []},
        "energy is",
    ),
    "model": ({"model__id": "example/huge"}, "model is 'example/tiny' in the traces"),
    "seed": ({"seed": 1}, "seed is 42 in the traces, 1 in the envelope"),
    "workload": ({"inferencebench_pipeline__workload_hash": "0" * 64}, "workload_hash is"),
    "schedule": ({"inferencebench_pipeline__schedule_hash": "0" * 64}, "schedule_hash is"),
    "finished": ({"timestamp": "2026-05-15T10:31:03Z"}, "finished_at is"),
    "before its end": ({"timestamp": "2026-05-15T10:00:00Z"}, "timestamp is"),
    "a year later": ({"timestamp": "2027-05-15T10:31:02.000500Z"}, "timestamp is"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_that_the_traces_contradict_is_named(name: str) -> None:
    changes, said = CLAIMS[name]
    try:
        found = statements(claimed(**changes)).contradictions()
    except ValueError as error:
        found = [str(error)]
    assert any(re.search(said, sentence) for sentence in found), found


@pytest.mark.parametrize("key", ["run_id", "load", "workload", "origin_unix_ns"])
def test_what_every_version_states_cannot_be_left_out(key: str) -> None:
    with pytest.raises(ValueError, match=f"do not state {key}"):
        statements(traces=told(TRACES, **{key: None}))


@pytest.mark.parametrize("key", ["load", "workload"])
def test_an_envelope_that_does_not_state_its_load_is_refused(key: str) -> None:
    document = json.loads(serialise(ENVELOPE))
    del document["driver_options"][key]
    with pytest.raises(ValueError, match=f"does not state driver_options.{key}"):
        statements(parse_envelope(encode(document)))


@pytest.mark.parametrize("keys", [{"energy"}, TOLD.keys() - {"energy"}, TOLD.keys()])
def test_what_an_older_version_did_not_state_is_passed_over_with_the_reason(
    keys: set[str],
) -> None:
    found = statements(traces=told(TRACES, **dict.fromkeys(keys)))
    assert found.contradictions() == []
    assert {field.removesuffix("_hash") for field in found.skipped} == {
        key.removesuffix("_sha256") for key in keys
    }
    for why in found.skipped.values():
        assert "of a version that does not state it" in why


@pytest.mark.parametrize(
    ("changes", "skipped"),
    [
        ({"inferencebench_pipeline": None}, {"repeats", "energy", "retried_requests"}),
        ({"inferencebench_pipeline__client": 7}, {"repeats", "energy", "retried_requests"}),
        ({"inferencebench_pipeline__telemetry": None}, {"energy"}),
        ({"inferencebench_pipeline__conduct": None}, {"repeats"}),
        ({"driver_options__spec": None}, {"spec.load", "spec.workload"}),
    ],
    ids=repr,
)
def test_what_the_envelope_does_not_state_is_passed_over(
    changes: dict[str, Any], skipped: set[str]
) -> None:
    found = statements(claimed(**changes))
    assert found.contradictions() == []
    assert set(found.skipped) >= skipped


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("load", "{", "load in the traces' metadata is not JSON"),
        ("load", '{"kind": "closed", "kind": "open"}', "twice"),
        ("workload", "[" * 2000, "workload in the traces' metadata"),
        ("energy", "7", "energy in the traces' metadata is in no form"),
        ("energy", "[{}]", "energy in the traces' metadata is in no form"),
        ("origin_unix_ns", "soon", "invalid literal"),
        ("origin_unix_ns", "9" * 30, "which is no date"),
        ("seed", "x", "invalid literal"),
    ],
)
def test_metadata_in_no_form_that_we_know_is_refused(key: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        statements(traces=told(TRACES, **{key: text}))


def test_a_published_spec_names_a_file_without_its_folder() -> None:
    load = {"kind": "replay", "schedule": "/data/private/day.txt", "requests": 12} | {
        "warmup_requests": 1
    }
    published = load | {"schedule": "day.txt"}
    envelope = claimed(driver_options__load=load, driver_options__spec__load=published)
    traces = told(TRACES, load=json.dumps(load))
    assert statements(envelope, traces).contradictions() == []
    other = claimed(
        driver_options__load=load, driver_options__spec__load=published | {"schedule": "night.txt"}
    )
    assert "spec.load.schedule" in statements(other, traces).contradictions()[0]


def test_a_published_spec_may_leave_out_what_is_private_and_may_add_nothing() -> None:
    load = json.loads(serialise(ENVELOPE))["driver_options"]["load"]
    private = load | {"cookie": "of this machine"}
    traces = told(TRACES, load=json.dumps(private))
    public = claimed(driver_options__load=private, driver_options__spec__load=load)
    assert statements(public, traces).contradictions() == []
    assert "load.cookie" in statements(claimed(), traces).contradictions()[0]
    added = claimed(driver_options__load=private, driver_options__spec__load=load | {"burst": 2})
    assert "spec.load.burst is None" in statements(added, traces).contradictions()[0]


@pytest.mark.parametrize("folder", sorted(Path("tests/data/records").glob("*/")), ids=str)
def test_records_of_every_version_agree(folder: Path) -> None:
    for envelope in folder.glob("envelope.*.json"):
        traces = open_traces(folder / "traces.parquet")
        found = statements_of(parse_envelope(envelope.read_bytes()), traces)
        assert found.contradictions() == []
        assert {"run_id", "load", "requests"} <= {each.field for each in found.stated}


class TestVerdict:
    """The verdict on a signed record whose two halves say different things."""

    def verdict(self, world: World, change: Callable[[dict[str, Any]], None], traces: bytes) -> Any:
        document = json.loads(serialise(build_envelope(measurement_of(RUN_ID, traces))))
        change(document)
        signed = world.signer().sign(parse_envelope(encode(document)))
        return world.verify(serialise(signed), traces)

    def test_traces_of_another_run_are_refused(self, world: World) -> None:
        verdict = self.verdict(world, lambda _: None, traces_bytes(new_run_id()))
        assert_rejected(verdict, "traces_agree", FailureClass.TRACES_CONTRADICT)
        assert "run_id is" in verdict.reason

    def test_a_load_that_was_not_sent_is_refused(self, world: World) -> None:
        def boast(document: dict[str, Any]) -> None:
            document["driver_options"]["load"]["concurrency"] = 512

        verdict = self.verdict(world, boast, traces_bytes(RUN_ID))
        assert_rejected(verdict, "traces_agree", FailureClass.TRACES_CONTRADICT)
        assert "load.concurrency is 2 in the traces, 512 in the envelope" in verdict.reason

    def test_a_run_that_is_still_to_come_is_refused(self, world: World) -> None:
        def postdate(document: dict[str, Any]) -> None:
            document["timestamp"] = "2099-01-01T00:00:00Z"

        verdict = self.verdict(world, postdate, traces_bytes(RUN_ID))
        assert_rejected(verdict, "run_before_signature", FailureClass.TIME_CONTRADICTS)
        assert "ended at 2099-01-01" in verdict.reason

    def test_the_verdict_lists_what_was_compared_and_what_was_not(self, world: World) -> None:
        verdict = self.verdict(world, lambda _: None, traces_bytes(RUN_ID))
        assert verdict.ok, verdict.reason
        [check] = [each for each in verdict.checks if each.name == "traces_agree"]
        assert "run_id, load, workload" in check.evidence["compared"]
        assert "of a version that does not state it" in check.evidence["not compared: model"]


def test_a_run_whose_traces_contradict_it_is_not_signed(world: World, run: RunDirectory) -> None:
    document = json.loads(run.read(RunFile.UNSIGNED_ENVELOPE))
    document["driver_options"]["load"]["concurrency"] = 512
    run.write(RunFile.UNSIGNED_ENVELOPE, serialise(parse_envelope(encode(document))))
    with pytest.raises(SigningRefusedError, match=r"load\.concurrency is 2 in the traces"):
        sign_run(run, world.signer(), verify=world.verify)


def test_a_run_that_is_still_to_come_is_not_signed(world: World, run: RunDirectory) -> None:
    write_measured(run, finished_at=datetime.now(UTC) + timedelta(hours=1))
    with pytest.raises(SigningRefusedError, match="set the clock of the machine"):
        sign_run(run, world.signer(), verify=world.verify)


@pytest.mark.parametrize("left_out", sorted(TOLD.keys() - {"energy"}))
def test_traces_that_leave_out_one_statement_of_those_that_began_together_are_refused(
    left_out: str,
) -> None:
    with pytest.raises(ValueError, match=f"and not {left_out}, which every version"):
        statements(traces=told(TRACES, **{left_out: None}))
