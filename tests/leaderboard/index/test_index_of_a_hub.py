"""From the Hub's wire to the page: publishing, crawling, verifying, indexing, rendering."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from inferencebench_pipeline.corpus.findings import FindingKind
from inferencebench_pipeline.corpus.inventory import (
    Inventory,
    RepoState,
    crawl,
    created_days,
)
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.corpus.verifier import PolicyJudge
from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import serialise
from inferencebench_pipeline.hub.client.client import Hub, HubUnavailableError
from inferencebench_pipeline.hub.client.retry import RetryPolicy
from inferencebench_pipeline.hub.client.transport import Timeouts
from inferencebench_pipeline.hub.dataset.publication import publish
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.leaderboard.index.build import build_index, load_leaderboard
from inferencebench_pipeline.leaderboard.index.check import check_rows
from inferencebench_pipeline.leaderboard.site.rendering import run_page
from inferencebench_pipeline.leaderboard.site.site import render_site
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from inferencebench_pipeline.trust.root.trust_root import load_trust
from inferencebench_pipeline.trust.sign.identity_token import file_identity
from inferencebench_pipeline.trust.sign.signer import SigstoreSigner
from inferencebench_pipeline.trust.verify.policy import load_policy
from tests.corpus.world import altered
from tests.envelope.measured import measurement_of, traces_bytes


@dataclass(frozen=True)
class World:
    """The sandbox, as a publisher, a crawler and a verifier use it."""

    sandbox: SandboxEnvironment
    hub: Hub
    judge: PolicyJudge
    signer: SigstoreSigner
    organisation: str

    def publish_a_run(self, root: Path) -> Receipt:
        run = RunStore(root).run(new_run_id())
        traces = traces_bytes(run.run_id)
        envelope = self.signer.sign(build_envelope(measurement_of(run.run_id, traces)))
        run.write(RunFile.TRACES, traces)
        run.write(RunFile.ENVELOPE, serialise(envelope))
        return publish(
            self.hub,
            run,
            organisation=self.organisation,
            verify=lambda data, traces: self.judge.open()(data, traces, self.organisation).verdict,
            on_stage=lambda _: None,
        )

    def crawl(self, store: LeaderboardStore) -> Inventory:
        return crawl(self.hub, self.organisation, store.corpus)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with (
        pytest.MonkeyPatch.context() as patch,
        running_sandbox(tmp_path / "sandbox") as sandbox,
    ):
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, sandbox.environ[name])
        judge = PolicyJudge(
            load_trust(Path(sandbox.environ["INFERENCEBENCH_TRUST_CONFIG"])),
            load_policy(Path(sandbox.environ["INFERENCEBENCH_POLICY"])),
        )
        token = sandbox.token("write")
        yield World(
            sandbox=sandbox,
            hub=Hub(
                sandbox.hub_url,
                lambda: token,
                timeouts=Timeouts(connect_s=5.0, read_s=10.0, write_s=10.0),
                retry=RetryPolicy(
                    attempts=2, first_wait_s=0.01, longest_wait_s=0.1, deadline_s=30.0
                ),
            ),
            judge=judge,
            signer=SigstoreSigner(
                trust=judge.trust,
                identity=file_identity(Path(sandbox.environ["INFERENCEBENCH_IDENTITY_TOKEN_FILE"])),
            ),
            organisation=sandbox.environ["INFERENCEBENCH_ORGANISATION"],
        )


@pytest.mark.slow
def test_what_is_published_ranks_until_somebody_touches_it(
    world: World, store: LeaderboardStore, tmp_path: Path
):
    api = HfApi(endpoint=world.sandbox.hub_url, token=world.sandbox.token("write"))
    kept, touched, deleted = (world.publish_a_run(tmp_path) for _ in range(3))

    inventory = world.crawl(store)
    assert (inventory.fetched, inventory.findings) == (3, ())
    for day in created_days(store.corpus):
        verified = verify_day(store.corpus, day, world.judge)
        assert verified.findings == ()
        for entry in verified.entries:
            assert entry.checkpoint is not None
            assert entry.verdict.log is not None
            assert entry.checkpoint.log_id == entry.verdict.log.log_id
            assert entry.checkpoint.size > entry.verdict.log.index
    assert build_index(store).ranked == 3
    row = next(row for row in load_leaderboard(store).runs if row.repo_id == kept.repo_id)
    assert (row.tier, row.revision) == ("verified", kept.commit)
    page = render_site(store).parent / run_page(row.row_id)
    assert row.dataset_url in page.read_text()
    assert world.crawl(store).fetched == 0

    genuine = store.corpus.blobs().get(touched.files["envelope.json"].sha256)
    api.upload_file(
        path_or_fileobj=altered(genuine, seed=7),
        path_in_repo="envelope.json",
        repo_id=touched.repo_id,
        repo_type="dataset",
    )
    api.delete_repo(deleted.repo_id, repo_type="dataset")

    inventory = world.crawl(store)
    assert inventory.fetched == 1
    assert {(item.kind, item.repo_id) for item in inventory.findings} == {
        (FindingKind.ENVELOPE_REPLACED, touched.repo_id),
        (FindingKind.VANISHED, deleted.repo_id),
    }
    for day in created_days(store.corpus):
        verify_day(store.corpus, day, world.judge)
    build_index(store)
    states = {row.repo_id: row.state for row in load_leaderboard(store).runs}
    assert states == {
        kept.repo_id: "verified",
        touched.repo_id: "rejected",
        deleted.repo_id: "vanished",
    }
    assert check_rows(store) == []


@pytest.mark.slow
def test_an_unreachable_hub_makes_nothing_vanish(
    world: World, store: LeaderboardStore, tmp_path: Path
):
    receipt = world.publish_a_run(tmp_path)
    world.crawl(store)
    faults = Faults(world.sandbox.hub_url)
    faults.add("status", path="/api/datasets$", status=503, times=None)
    try:
        with pytest.raises(HubUnavailableError):
            world.crawl(store)
    finally:
        faults.clear()

    rows = {item.repo_id: item.state for item in Inventory.load(store.corpus).entries}
    assert rows[receipt.repo_id] is RepoState.PUBLISHED
    assert FindingKind.VANISHED not in {item.kind for item in Inventory.load(store.corpus).findings}
