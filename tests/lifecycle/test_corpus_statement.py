"""Logs examined and the corpus stated as Dagster runs them, after a real life of a run."""

from __future__ import annotations

import pytest
from huggingface_hub import HfApi

from inferencebench_pipeline.corpus.log_monitor import load_reports, signature_digest_of
from inferencebench_pipeline.corpus.statement.statement import STATEMENT_FILE
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import content_hash, serialise
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, new_run_id
from tests.corpus.world import altered
from tests.envelope.measured import measurement_of, traces_bytes
from tests.lifecycle.conftest import World, failed_checks, failed_steps, failure_text
from tests.lifecycle.own_hub import one_day, plain_uploads, sandbox  # noqa: F401  # fixtures
from tests.lifecycle.stated import reverify, verify_corpus


@pytest.mark.slow
def test_the_corpus_is_stated_once_it_is_clean_and_only_then(
    world: World, measured_run: RunDirectory
):
    assert failed_steps(world.materialise(measured_run)) == []
    receipt = Receipt.model_validate_json(measured_run.read(RunFile.PUBLICATION))
    world.job("crawl_corpus")
    early = world.job("state_corpus")
    assert "backfill corpus_verification" in failure_text(early)

    assert reverify(world) == set()
    world.job("examine_logs")
    stated = world.job("state_corpus")
    assert (failed_steps(stated), failed_checks(stated)) == ([], set())

    rc, document = verify_corpus(world)
    assert (rc, document["ok"], document["results"]) == (0, True, document["subjects"])
    bundle = (CorpusStore(world.store.root).statement_folder / STATEMENT_FILE).read_bytes()

    world.job("state_corpus")
    assert (CorpusStore(world.store.root).statement_folder / STATEMENT_FILE).read_bytes() == bundle

    HfApi(endpoint=world.sandbox.hub_url, token=world.sandbox.token("write")).upload_file(
        path_or_fileobj=altered(measured_run.read(RunFile.ENVELOPE), seed=7),
        path_in_repo="envelope.json",
        repo_id=receipt.repo_id,
        repo_type="dataset",
    )
    reverify(world)
    refused = world.job("state_corpus")
    assert "nothing is stated before they are put right" in failure_text(refused)
    assert (CorpusStore(world.store.root).statement_folder / STATEMENT_FILE).read_bytes() == bundle


@pytest.mark.slow
def test_an_entry_signed_behind_our_back_fails_the_check_until_its_run_is_known(
    world: World, measured_run: RunDirectory
):
    """The sandbox's logs are shared with the tests beside this: only its entry is looked at."""
    elsewhere = build_envelope(measurement_of(new_run_id(), traces_bytes(new_run_id())))
    Deployment(world.settings).signer().sign(elsewhere)
    digest = signature_digest_of(content_hash(elsewhere))

    assert "no_unknown_entry" in failed_checks(world.job("examine_logs"))
    assert digest in unknown_digests(world)

    measured_run.write(RunFile.UNSIGNED_ENVELOPE, serialise(elsewhere))
    world.job("examine_logs")
    assert digest not in unknown_digests(world)


def test_a_trust_configuration_of_the_deployments_own_is_not_refreshed(world: World):
    result = world.job("refresh_trust_root")

    (event,) = result.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert failed_steps(result) == []
    assert metadata["sha256"].value == Deployment(world.settings).trust().sha256
    assert "never refreshed" in str(metadata["changes"].value)


def unknown_digests(world: World) -> set[str | None]:
    return {
        item.sha256
        for report in load_reports(CorpusStore(world.store.root))
        for item in report.unknown
    }
