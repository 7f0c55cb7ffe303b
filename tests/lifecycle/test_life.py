"""A run's life without accidents: what each stage leaves, shows and does when asked again."""

from __future__ import annotations

import dagster as dg
import pytest
from huggingface_hub import HfApi

from inferencebench_pipeline.corpus.inventory import Inventory
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.hub.model_card.backlink_edit import BacklinkReceipt
from inferencebench_pipeline.leaderboard.index.build import load_leaderboard
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.runs.run_directory import RunFile
from tests.lifecycle.conftest import MODEL, failed_checks, failure_text, materialised

STAGES = [
    "benchmark_run",
    "traces",
    "envelope",
    "signature",
    "hub_dataset",
    "model_card_backlink",
]
SHOWN = {
    "benchmark_run": {"spec", "model", "engine", "requests", "run_directory"},
    "traces": {"headline", "latency", "validity", "rows", "sha256", "size_bytes"},
    "envelope": {"content_hash", "headline", "unknown_and_why", "sha256"},
    "signature": {"signed_by", "issuer", "log_index", "log_entry", "checks", "sha256"},
    "hub_dataset": {"dataset", "commit", "files", "content_hash"},
    "model_card_backlink": {"mode", "model_card"},
}
KEPT = [
    RunFile.TRACES,
    RunFile.ENVELOPE,
    RunFile.PUBLICATION,
]


def _shown(result: dg.ExecuteInProcessResult) -> dict[str, set[str]]:
    return {
        event.asset_key.path[-1]: set(event.materialization.metadata)
        for event in result.get_asset_materialization_events()
    }


def test_each_stage_materialises_passes_its_checks_and_shows_what_a_person_wants(
    world, measured_run
):
    result = world.materialise(measured_run)
    assert result.success, failure_text(result)
    assert materialised(result) == set(STAGES)
    assert failed_checks(result) == set()
    shown = _shown(result)
    for stage, wanted in SHOWN.items():
        assert wanted <= shown[stage], stage


def test_materialising_a_finished_run_again_changes_nothing_here_or_on_the_hub(world, measured_run):
    assert world.materialise(measured_run).success
    before = {name: measured_run.read(name) for name in KEPT}
    hub = HfApi(endpoint=world.sandbox.hub_url, token=world.sandbox.token())
    receipt = Receipt.model_validate_json(measured_run.read(RunFile.PUBLICATION))
    dataset = [c.commit_id for c in hub.list_repo_commits(receipt.repo_id, repo_type="dataset")]
    model = [c.commit_id for c in hub.list_repo_commits(MODEL)]

    assert world.materialise(measured_run).success
    assert {name: measured_run.read(name) for name in KEPT} == before
    assert dataset == [
        c.commit_id for c in hub.list_repo_commits(receipt.repo_id, repo_type="dataset")
    ]
    assert model == [c.commit_id for c in hub.list_repo_commits(MODEL)]


def test_the_backlink_is_off_unless_asked_for(world, measured_run, monkeypatch):
    from dataclasses import replace

    from definitions import build_definitions

    settings = world.settings.model_copy(update={"update_model_card": False})
    quiet = replace(
        world,
        definitions=build_definitions(settings),
    )
    assert quiet.materialise(measured_run).success
    receipt = BacklinkReceipt.model_validate_json(measured_run.read(RunFile.BACKLINK))
    assert receipt.mode == "skipped"
    assert "INFERENCEBENCH_UPDATE_MODEL_CARD" in (receipt.reason or "")


@pytest.mark.slow
def test_the_leaderboard_shows_what_is_published_and_verified_and_drops_what_was_changed(
    world, own_run
):
    assert world.materialise(own_run).success
    receipt = Receipt.model_validate_json(own_run.read(RunFile.PUBLICATION))
    row = _row_after_reverification(world, receipt.repo_id)
    envelope = parse_envelope(own_run.read(RunFile.ENVELOPE))
    assert row.state == "verified"
    shown = {cell.key: cell.value for cell in row.metrics}
    assert "ttft_p50_ms" in shown
    assert shown == {
        key: None if value is None else float(value)
        for key, value in envelope.metrics.items()
        if key in shown
    }
    assert receipt.content_hash == content_hash(envelope)

    changed = own_run.read(RunFile.ENVELOPE).replace(b'"seed": 42', b'"seed": 43')
    HfApi(endpoint=world.sandbox.hub_url, token=world.sandbox.token()).upload_file(
        path_or_fileobj=changed,
        path_in_repo="envelope.json",
        repo_id=receipt.repo_id,
        repo_type="dataset",
    )
    assert _row_after_reverification(world, receipt.repo_id).state != "verified"


def _row_after_reverification(world, repo_id):
    world.job("crawl_corpus")
    for day in Inventory.load(CorpusStore(world.store.root)).days():
        world.job("reverify", day)
    assert world.job("rebuild_leaderboard").success
    return next(
        row
        for row in load_leaderboard(LeaderboardStore(world.store.root)).runs
        if row.repo_id == repo_id
    )
