"""Taking stock and re-verifying as Dagster runs them: what the UI shows when a record is bad."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context
from huggingface_hub import HfApi

from inferencebench_pipeline.corpus.records import unverified_days
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.lifecycle.corpus.corpus_verification import (
    no_finding_of_severity_error,
)
from inferencebench_pipeline.lifecycle.life_of_a_run.hub_dataset import hub_serves_what_was_signed
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile
from tests.clock import today
from tests.corpus.world import altered
from tests.lifecycle.conftest import World, failed_checks, failed_steps
from tests.lifecycle.own_hub import one_day, plain_uploads, sandbox  # noqa: F401  # fixtures


def published(world: World, run: RunDirectory) -> Receipt:
    result = world.materialise(run)
    assert failed_steps(result) == []
    return Receipt.model_validate_json(run.read(RunFile.PUBLICATION))


def upload(world: World, receipt: Receipt, envelope: bytes) -> None:
    HfApi(endpoint=world.sandbox.hub_url, token=world.sandbox.token("write")).upload_file(
        path_or_fileobj=envelope,
        path_in_repo="envelope.json",
        repo_id=receipt.repo_id,
        repo_type="dataset",
    )


def results(world: World, check: dg.AssetChecksDefinition) -> dict[str | None, list[bool]]:
    """Every evaluation of a check, oldest first, by partition."""
    records = world.instance.event_log_storage.get_asset_check_execution_history(
        check.check_key, limit=100
    )
    found: dict[str | None, list[bool]] = {}
    for record in reversed(records):
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        found.setdefault(evaluation.partition, []).append(evaluation.passed)
    return found


def shown(world: World, check: dg.AssetChecksDefinition, partition_key: str) -> str:
    """What the UI shows for one partition of a check."""
    repository = world.definitions.get_repository_def()
    key = check.check_key
    partitions = repository.asset_graph.get(key).partitions_def
    with partition_loading_context(dynamic_partitions_store=world.instance):
        state = world.instance.event_log_storage.get_asset_check_state([(key, partitions)])[key]
        (status,) = [
            status.name
            for status, subset in state.subsets.items()
            if partition_key in subset.subset_value
        ] or ["NOTHING"]
    return status


@pytest.mark.slow
def test_a_record_that_was_changed_fails_its_day_and_its_own_run_until_it_is_put_right(
    world: World, measured_run: RunDirectory
):
    receipt = published(world, measured_run)
    world.job("crawl_corpus")
    assert failed_checks(world.job("reverify", today())) == set()
    assert results(world, hub_serves_what_was_signed)[measured_run.run_id] == [True]

    genuine = measured_run.read(RunFile.ENVELOPE)
    upload(world, receipt, altered(genuine, seed=7))
    assert failed_checks(world.job("crawl_corpus")) == {"nothing_vanished_or_moved"}
    assert failed_checks(world.job("reverify", today())) == {"no_finding_of_severity_error"}

    assert results(world, no_finding_of_severity_error)[today()] == [True, False]
    assert results(world, hub_serves_what_was_signed)[measured_run.run_id][-1] is False

    upload(world, receipt, genuine)
    world.job("crawl_corpus")
    assert failed_checks(world.job("reverify", today())) == set()

    assert results(world, hub_serves_what_was_signed)[measured_run.run_id][-1] is True


@pytest.mark.slow
def test_a_backfill_over_several_days_shows_which_of_them_failed(
    world: World, measured_run: RunDirectory
):
    upload(world, published(world, measured_run), b"{")
    world.job("crawl_corpus")
    yesterday = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
    assert not CorpusStore(world.store.root).verdicts_path(yesterday).exists()

    backfill = world.definitions.resolve_job_def("reverify").execute_in_process(
        instance=world.instance,
        raise_on_error=False,
        tags={
            "dagster/asset_partition_range_start": yesterday,
            "dagster/asset_partition_range_end": today(),
        },
    )

    assert failed_checks(backfill) == {"no_finding_of_severity_error"}
    shown = results(world, no_finding_of_severity_error)
    assert (shown[yesterday], shown[today()]) == ([True], [False])
    assert Path(CorpusStore(world.store.root).verdicts_path(yesterday)).read_bytes() == b""


@pytest.mark.slow
def test_a_backfill_of_a_single_day_shows_that_day(world: World, measured_run: RunDirectory):
    upload(world, published(world, measured_run), b"{")
    world.job("crawl_corpus")
    range_of_one = {
        "dagster/asset_partition_range_start": today(),
        "dagster/asset_partition_range_end": today(),
    }
    world.definitions.resolve_job_def("reverify").execute_in_process(
        instance=world.instance, raise_on_error=False, tags=range_of_one
    )
    assert results(world, no_finding_of_severity_error)[today()] == [False]
    assert shown(world, no_finding_of_severity_error, today()) == "FAILED"
    assert shown(world, hub_serves_what_was_signed, measured_run.run_id) == "FAILED"


@pytest.mark.slow
def test_days_are_unverified_until_they_were_verified_as_they_are_now(
    world: World, measured_run: RunDirectory
):
    receipt = published(world, measured_run)
    world.job("crawl_corpus")
    assert list(unverified_days(CorpusStore(world.store.root))) == [today()]
    world.job("reverify", today())
    assert unverified_days(CorpusStore(world.store.root)) == {}

    HfApi(endpoint=world.sandbox.hub_url, token=world.sandbox.token("write")).delete_repo(
        receipt.repo_id, repo_type="dataset"
    )
    world.job("crawl_corpus")
    assert list(unverified_days(CorpusStore(world.store.root))) == [today()]
    world.job("reverify", today())
    assert unverified_days(CorpusStore(world.store.root)) == {}
