"""The job that watches community results, on a real Hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from inferencebench_pipeline.automation.jobs.watch_community_results import watch_community_results
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.resources import build_resources
from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.process import running_sandbox
from inferencebench_pipeline.settings import Settings
from tests.hub.conftest import World
from tests.hub.evaluations import Place, a_place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with running_sandbox(tmp_path / "sandbox") as sandbox:
        world = World(sandbox, Faults(sandbox.hub_url))
        yield a_place(world, tmp_path / "home" / "store")


def test_what_was_withheld_is_in_the_run_s_metadata_and_published(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    us = place.us.account().name
    token = place.world.ask("/_sandbox/tokens", {"user": us, "role": "write"})["token"]
    monkeypatch.setenv("HF_TOKEN", str(token))
    monkeypatch.setenv("HF_ENDPOINT", place.world.url)
    monkeypatch.setenv("INFERENCEBENCH_HOME", str(place.root.parent))
    monkeypatch.setenv("INFERENCEBENCH_ORGANISATION", us)
    resources = build_resources(Settings.from_environment())

    def looked() -> tuple[int, str]:
        config = {"benchmarks": [place.benchmark]}
        with dg.DagsterInstance.ephemeral() as instance:
            result = watch_community_results.execute_in_process(
                instance=instance,
                resources=resources,
                run_config={"ops": {"look_at_results": {"config": config}}},
            )
        (event,) = [
            event
            for event in result.all_node_events
            if event.event_type is dg.DagsterEventType.STEP_OUTPUT
        ]
        metadata = event.step_output_data.metadata
        return result.output_for_node("look_at_results"), str(metadata["withheld"].value)

    place.propose()
    assert looked()[0] == 0
    place.model_owner.close_pull_request(place.model, 1, comment="no")
    count, rows = looked()
    assert count == 1
    assert f"{place.model_id}/discussions/1" in rows
    head = place.us.head(Repo("dataset", f"{us}/community-results"))
    assert "results.jsonl" in head.files
