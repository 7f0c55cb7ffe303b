"""Each accident gives one clear error, keeps the run, and the same partition finishes later."""

from __future__ import annotations

import os

import pytest
from dagster import AssetKey
from huggingface_hub import HfApi

from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.runs.run_directory import RunFile
from tests.lifecycle.conftest import (
    MODEL,
    ask_for,
    failed_checks,
    failed_steps,
    failure_text,
    materialised,
    serving,
    spec_for,
)
from tests.measure.fake_engine import Behaviour

STAGES = {
    "benchmark_run",
    "traces",
    "envelope",
    "signature",
    "hub_dataset",
    "model_card_backlink",
}
HUB_OUTAGES = [
    pytest.param(
        dict(kind="status", status=500, path=r"/commit/", times=None),
        "hub_dataset",
        id="commit answers 500",
    ),
    pytest.param(
        dict(kind="status", status=429, path=r"/commit/", times=None),
        "hub_dataset",
        id="commit answers 429",
    ),
    pytest.param(
        dict(kind="status", status=409, path=r"/commit/", times=None),
        "hub_dataset",
        id="commit answers 409",
    ),
    pytest.param(
        dict(kind="status", status=401, path=r"/api/", times=None),
        "hub_dataset",
        id="token refused",
    ),
    pytest.param(
        dict(kind="drop", path=r"/commit/", times=None),
        "hub_dataset",
        id="connection cut before commit",
    ),
]
SIGSTORE_OUTAGES = [
    pytest.param(
        dict(kind="status", status=503, path=r"/signingCert", times=None), id="Fulcio down"
    ),
    pytest.param(
        dict(kind="status", status=502, path=r"/log/entries", times=None), id="Rekor down"
    ),
    pytest.param(
        dict(kind="drop", path=r"timestamp|tsa", times=None), id="timestamp authority down"
    ),
]


@pytest.mark.parametrize(("fault", "stage"), HUB_OUTAGES)
def test_a_hub_outage_stops_the_run_at_publication_and_it_finishes_later(
    world, measured_run, fault, stage
):
    world.hub_faults.add(**fault)
    first = world.materialise(measured_run)
    assert not first.success
    assert failed_steps(first) == [stage]
    assert "Hub" in failure_text(first)
    assert measured_run.has(RunFile.ENVELOPE)
    assert not measured_run.has(RunFile.PUBLICATION)

    world.hub_faults.clear()
    second = world.materialise(measured_run)
    assert second.success, failure_text(second)
    assert materialised(second) == STAGES


def test_a_response_lost_after_the_commit_publishes_once(world, measured_run):
    world.hub_faults.add("lost_response", path=r"/api/datasets/.*/commit/")
    result = world.materialise(measured_run)
    if not result.success:
        result = world.materialise(measured_run)
    assert result.success, failure_text(result)
    receipt = Receipt.model_validate_json(measured_run.read(RunFile.PUBLICATION))
    history = HfApi(endpoint=world.sandbox.hub_url, token=world.sandbox.token()).list_repo_commits(
        receipt.repo_id, repo_type="dataset"
    )
    assert [commit.commit_id for commit in history].count(receipt.commit) == 1
    assert len([commit for commit in history if "initial" not in commit.title.lower()]) == 1


@pytest.mark.parametrize("fault", SIGSTORE_OUTAGES)
def test_a_sigstore_outage_leaves_the_envelope_unsigned_and_nothing_published(
    world, measured_run, fault
):
    world.sigstore_faults.add(**fault)
    first = world.materialise(measured_run)
    assert failed_steps(first) == ["signature"]
    assert measured_run.has(RunFile.UNSIGNED_ENVELOPE)
    assert not measured_run.has(RunFile.ENVELOPE)
    assert world.instance.get_materialized_partitions(AssetKey("hub_dataset")) == set()

    world.sigstore_faults.clear()
    assert world.materialise(measured_run).success


def test_a_token_without_write_scope_is_named_before_anything_is_sent(
    world, measured_run, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", world.sandbox.token("read"))
    result = world.materialise(measured_run)
    assert failed_steps(result) == ["hub_dataset"]
    assert "write" in failure_text(result)
    assert world.sandbox.token("read") not in failure_text(result)

    monkeypatch.delenv("HF_TOKEN")
    assert world.materialise(measured_run).success


def test_a_tampered_envelope_is_never_published(world, measured_run):
    assert world.materialise(measured_run).success
    envelope = measured_run.read(RunFile.ENVELOPE)
    measured_run.write(RunFile.ENVELOPE, envelope.replace(b'"seed": 42', b'"seed": 43'))
    assert measured_run.read(RunFile.ENVELOPE) != envelope
    measured_run.file(RunFile.PUBLICATION).unlink()

    result = world.definitions.resolve_job_def("publish_run").execute_in_process(
        instance=world.instance,
        partition_key=measured_run.run_id,
        asset_selection=[AssetKey("hub_dataset")],
        raise_on_error=False,
    )
    assert failed_steps(result) == ["hub_dataset"]
    assert "changed after it was signed" in failure_text(result)
    assert not measured_run.has(RunFile.PUBLICATION)


def test_truncated_traces_are_named_and_made_again_from_the_capture(world, measured_run):
    assert world.materialise(measured_run).success
    traces = measured_run.read(RunFile.TRACES)
    measured_run.write(RunFile.TRACES, traces[: len(traces) // 2])

    result = world.materialise(measured_run)
    assert result.success, failure_text(result)
    assert measured_run.read(RunFile.TRACES) == traces


def test_an_engine_that_is_not_there_is_named_and_the_run_finishes_when_it_is(world, requested_run):
    with serving() as engine:
        spec = spec_for(engine.base_url)
        port = engine.port
    ask_for(requested_run, spec)
    first = world.materialise(requested_run)
    assert failed_steps(first) == ["benchmark_run"]
    assert spec.engine.base_url in failure_text(first)

    with serving(port=port):
        assert world.materialise(requested_run).success


def test_a_model_the_engine_does_not_serve_is_named(world, requested_run):
    with serving(model="somebody/else") as engine:
        ask_for(requested_run, spec_for(engine.base_url))
        result = world.materialise(requested_run)
    assert failed_steps(result) == ["benchmark_run"]
    assert MODEL in failure_text(result)
    assert "somebody/else" in failure_text(result)


def test_an_engine_that_answers_only_errors_fails_the_run_and_keeps_the_capture(
    world, requested_run
):
    with serving(behaviour=Behaviour(status=500)) as engine:
        ask_for(requested_run, spec_for(engine.base_url))
        result = world.materialise(requested_run)
    assert failed_steps(result) == ["benchmark_run"]
    assert "500" in failure_text(result)
    assert requested_run.has(RunFile.CAPTURE)


def test_an_unwritable_store_is_named(world, measured_run, monkeypatch):
    """Root may write anywhere, so the disk is made full instead of read-only."""
    real = os.fsync

    def full(descriptor: int) -> None:
        if "traces.parquet" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    result = world.materialise(measured_run)
    assert failed_steps(result) == ["traces"]
    assert "No space left" in failure_text(result)

    monkeypatch.setattr(os, "fsync", real)
    assert world.materialise(measured_run).success


def test_no_check_fails_on_a_healthy_run(world, measured_run):
    assert failed_checks(world.materialise(measured_run)) == set()
