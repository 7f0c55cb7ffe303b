"""What others publish under our tag: shown, verified, bounded, and never able to hurt ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import HfApi

from inferencebench_pipeline.corpus.community import Bounds, news_elsewhere, take_in_elsewhere
from inferencebench_pipeline.corpus.inventory import Inventory, InventoryEntry, RepoState
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.hub.client.client import Hub, Repo
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.leaderboard.index.build import load_leaderboard
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile
from inferencebench_pipeline.sandbox.hub.identities import DEFAULT_USER
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from tests.lifecycle.conftest import World, failed_checks

CARD = b"---\ntags:\n- inferencebench\n---\n# a record\n"
MANY = Bounds()


@pytest.fixture
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxEnvironment]:
    """A Hub of its own for each test: what one test's strangers publish is not another's."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as environment:
        yield environment


def stranger(world: World) -> Hub:
    return Hub(world.sandbox.hub_url, lambda: world.sandbox.token("write"))


def publish(world: World, repo_id: str, files: dict[str, bytes]) -> str:
    """Publish as somebody whose namespace is not ours."""
    repo, hub = Repo("dataset", repo_id), stranger(world)
    hub.create(repo)
    parent = hub.head(repo).commit
    return hub.commit(repo, {"README.md": CARD, **files}, message="publish", parent=parent)


def record(run: RunDirectory) -> dict[str, bytes]:
    return {name.value: run.read(name) for name in (RunFile.ENVELOPE, RunFile.TRACES)}


def allow_elsewhere(world: World, namespace: str) -> None:
    """Let the policy name our signer for another namespace too, as for a partner's."""
    path = Path(world.sandbox.environ["INFERENCEBENCH_POLICY"])
    document = yaml.safe_load(path.read_text())
    document["signers"].append({**document["signers"][0], "organisation": namespace})
    path.write_text(yaml.safe_dump(document))


def others(world: World) -> dict[str, InventoryEntry]:
    entries = Inventory.load(CorpusStore(world.store.root)).entries
    return {entry.repo_id.rpartition("/")[2]: entry for entry in entries if entry.community}


def take_in(world: World, **bounds: float):
    hub = Hub(world.sandbox.hub_url, lambda: None)
    organisation = str(world.settings.organisation)
    return take_in_elsewhere(
        hub, organisation, CorpusStore(world.store.root), bounds=Bounds(**bounds)
    )


def test_a_strangers_copy_of_our_record_is_shown_as_not_allowed_and_hurts_nothing_of_ours(
    world: World, measured_run: RunDirectory
):
    assert world.materialise(measured_run).success
    ours = Receipt.model_validate_json(measured_run.read(RunFile.PUBLICATION)).repo_id
    copy = f"{DEFAULT_USER}/aaa-copy"
    publish(world, copy, record(measured_run))
    publish(world, f"{DEFAULT_USER}/rubbish", {"envelope.json": b"{"})

    assert world.job("take_in_community").success
    assert set(others(world)) == {"aaa-copy", "rubbish"}  # and nothing of ours
    checks = [world.job("crawl_corpus")]
    for day in Inventory.load(CorpusStore(world.store.root)).days():
        checks.append(world.job("reverify", day))
    checks.append(world.job("rebuild_leaderboard"))
    assert [failed_checks(result) for result in checks] == [set()] * len(checks)

    rows = {row.repo_id: row for row in load_leaderboard(LeaderboardStore(world.store.root)).runs}
    assert rows[ours].state == "verified"
    assert rows[copy].state == "rejected"
    assert "names no signer for sandbox-publisher" in str(rows[copy].state_reason)
    ranked = {
        row_id
        for group in load_leaderboard(LeaderboardStore(world.store.root)).groups
        for row_id in group.rows
    }
    assert ranked == {rows[ours].row_id}
    assert world.job("state_corpus").success, "a stranger's record keeps no statement from us"


def test_a_record_elsewhere_that_goes_is_seen_to_and_fails_no_check(
    world: World, measured_run: RunDirectory
):
    publish(world, f"{DEFAULT_USER}/here-today", {"envelope.json": b"{"})
    take_in(world)
    world.sandbox  # noqa: B018
    HfApi(endpoint=world.sandbox.hub_url, token=world.sandbox.token("write")).delete_repo(
        f"{DEFAULT_USER}/here-today", repo_type="dataset"
    )
    take_in(world)
    assert others(world)["here-today"].state is RepoState.VANISHED
    assert failed_checks(world.job("crawl_corpus")) == set()


def test_what_a_look_costs_is_bounded_and_the_next_look_goes_on(world: World):
    for number in range(5):
        publish(world, f"{DEFAULT_USER}/r{number}", {"envelope.json": b"{" + b" " * number})
    publish(world, f"{DEFAULT_USER}/huge", {"envelope.json": b" " * 5_000})

    first = take_in(world, fetched=4, envelope_bytes=1_000)
    assert first.inventory.fetched == 4
    assert len(first.passed_over) == 2
    assert first.fetched_bytes < 4_000
    second = take_in(world, fetched=4, envelope_bytes=1_000)
    assert second.inventory.fetched == 2
    assert not second.passed_over
    states = {name: entry.state for name, entry in others(world).items()}
    assert states.pop("huge") is RepoState.UNREADABLE
    assert set(states.values()) == {RepoState.MALFORMED}
    third = take_in(world, fetched=4, envelope_bytes=1_000)
    assert third.inventory.fetched == 0, "what is known to be no record is not fetched again"
    hub = Hub(world.sandbox.hub_url, lambda: None)
    organisation = str(world.settings.organisation)
    assert news_elsewhere(hub, organisation, CorpusStore(world.store.root), MANY) == {}


@pytest.mark.parametrize(
    "bounds",
    [{"all_bytes": 0}, {"duration_s": 0.0}, {"fetched_of_one_owner": 0}, {"fetched": 0}],
    ids=lambda bounds: next(iter(bounds)),
)
def test_each_bound_stops_a_look_and_declares_nothing_vanished(world: World, bounds):
    publish(world, f"{DEFAULT_USER}/first", {"envelope.json": b"{"})
    take_in(world)
    publish(world, f"{DEFAULT_USER}/second", {"envelope.json": b"{"})
    taken = take_in(world, **bounds)
    assert taken.inventory.fetched == 0
    assert taken.passed_over == {f"{DEFAULT_USER}/second"}
    assert {name: entry.state for name, entry in others(world).items()} == {
        "first": RepoState.MALFORMED
    }


def test_a_flood_of_newer_records_does_not_make_older_ones_vanish(world: World):
    publish(world, f"{DEFAULT_USER}/old", {"envelope.json": b"{"})
    take_in(world)
    for number in range(3):
        publish(world, f"{DEFAULT_USER}/flood{number}", {"envelope.json": b"{"})
    take_in(world, listed=3)
    assert others(world)["old"].state is RepoState.MALFORMED


def test_what_the_policy_allows_elsewhere_is_of_the_communitys_tier_and_never_before_ours(
    world: World, measured_run: RunDirectory
):
    assert world.materialise(measured_run).success
    ours = Receipt.model_validate_json(measured_run.read(RunFile.PUBLICATION)).repo_id
    copy = f"{DEFAULT_USER}/aaa-copy"
    publish(world, copy, record(measured_run))
    allow_elsewhere(world, DEFAULT_USER)
    for job in ("take_in_community", "crawl_corpus"):
        assert world.job(job).success
    for day in Inventory.load(CorpusStore(world.store.root)).days():
        world.job("reverify", day)
    assert failed_checks(world.job("rebuild_leaderboard")) == set()
    rows = {row.repo_id: row for row in load_leaderboard(LeaderboardStore(world.store.root)).runs}
    assert (rows[ours].tier, rows[ours].state) == ("verified", "verified")
    assert (rows[copy].tier, rows[copy].state) == ("community", "duplicate")
