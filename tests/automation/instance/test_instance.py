"""The instance that a clone starts with: what its ``dagster.yaml`` is relied on for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.asset_key import AssetKey
from dagster._core.instance.config import PoolGranularity

from definitions import build_definitions
from inferencebench_pipeline.automation.instance.pools import LIMITS
from inferencebench_pipeline.settings import Settings
from tests.paths import REPOSITORY as CLONE

WRITERS = {"hub_dataset", "model_card_backlink", "corpus_statement", "index_dataset"}


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    shutil.copy(CLONE / "dagster.yaml", tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        yield instance


def test_a_run_whose_process_died_is_run_again_and_one_that_failed_is_not(shipped):
    assert shipped.run_retries_enabled
    assert shipped.run_retries_max_retries == 2
    assert not shipped.run_retries_retry_on_asset_or_op_failure


def test_whole_runs_wait_for_their_place_in_a_pool_and_slots_of_dead_runs_are_freed(shipped):
    config = shipped.get_concurrency_config()
    assert config.pool_config.pool_granularity is PoolGranularity.RUN
    assert config.pool_config.default_pool_limit == 1
    assert shipped.run_monitoring_enabled


@pytest.mark.parametrize("file", ["dagster.yaml", "deploy/dagster.postgres.yaml"])
def test_a_queue_outlives_a_code_server_that_is_away_for_minutes(file, tmp_path, monkeypatch):
    """Every instance that is shipped: its settings stand beside the limits of the same queue."""
    for name in ("HOST", "PORT", "DB", "USER", "PASSWORD"):
        monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", "1")
    settings = yaml.safe_load((CLONE / file).read_text())
    settings.pop("storage", None)  # no database for this
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
    assert queue.max_user_code_failure_retries * queue.user_code_failure_retry_delay >= 600
    assert queue.max_concurrent_runs == settings["concurrency"]["runs"]["max_concurrent_runs"]
    assert queue.tag_concurrency_limits


@pytest.fixture
def repository(tmp_path: Path) -> dg.RepositoryDefinition:
    settings = Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path)})
    return build_definitions(settings).get_repository_def()


def test_verifications_end_in_the_order_they_were_asked_for_or_the_ui_would_show_none(repository):
    verification = repository.asset_graph.get(AssetKey("corpus_verification"))
    assert verification.pools == {"verification"}
    assert LIMITS["verification"] == 1


def test_whatever_writes_to_the_hub_needs_the_one_place_for_writers(repository):
    pools = {
        AssetKey(key.path).path[-1]: repository.asset_graph.get(key).pools
        for key in repository.asset_graph.materializable_asset_keys
    }
    assert {name for name, of_asset in pools.items() if "hub-write" in of_asset} == WRITERS
    assert set().union(*pools.values()) <= LIMITS.keys()
    for job, op in (("takedown", "remove_links"), ("watch_community_results", "look_at_results")):
        assert repository.get_job(job).get_node_named(op).definition.pool == "hub-write"
