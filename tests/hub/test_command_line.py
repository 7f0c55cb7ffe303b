"""``publish``, ``card`` and ``takedown`` as a person types them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from inferencebench_pipeline.cli.app import app
from inferencebench_pipeline.envelope.canonical import parse_envelope, serialise
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.dataset.naming import dataset_repo_id
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.hub.dataset.rendered_record import NotPublishableError
from inferencebench_pipeline.hub.model_card.backlink_edit import KEY
from inferencebench_pipeline.hub.takedowns.register import load_takedowns
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.settings import Settings
from inferencebench_pipeline.trust.root.trust_root import load_trust
from inferencebench_pipeline.trust.sign.identity_token import file_identity
from inferencebench_pipeline.trust.sign.signer import SigstoreSigner
from tests.hub.conftest import ORGANISATION, World
from tests.hub.model_card.test_backlink_edit import CARD, card_of
from tests.hub.records import traces_bytes, unsigned_envelope


@pytest.fixture
def model(world: World) -> Repo:
    return world.put_model(world.hub(), f"{ORGANISATION}/m-{new_run_id()}", CARD)


@pytest.fixture
def run(world: World, model: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A signed run of ``model`` in the store the environment names."""
    for name, value in world.sandbox.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("INFERENCEBENCH_HOME", str(tmp_path))
    settings = Settings.from_environment()
    assert settings.trust_config is not None
    assert settings.identity_token_file is not None
    signer = SigstoreSigner(
        trust=load_trust(settings.trust_config),
        identity=file_identity(settings.identity_token_file),
    )
    run = RunStore(settings.store).run(new_run_id())
    traces = traces_bytes(run.run_id)
    run.write(RunFile.TRACES, traces)
    signed = signer.sign(unsigned_envelope(run.run_id, traces, model=model.id))
    run.write(RunFile.ENVELOPE, serialise(signed))
    return run


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_publishing_says_what_it_does_as_documented(
    world: World, run: RunDirectory, model: Repo
) -> None:
    lines = typed("publish", run.run_id, "--to", "hf", "--update-model-card").stdout.splitlines()
    receipt = Receipt.model_validate_json(run.read(RunFile.PUBLICATION))
    assert lines == [
        "Verifying envelope... OK",
        f"Creating dataset repo... {receipt.repo_id}",
        "Uploading envelope.json... done",
        "Uploading traces.parquet... done",
        "Rendering README.md... done",
        f"Published: {receipt.url}",
        f"Model card: commit {world.url}/{model.id}",
    ]
    assert KEY.encode() in card_of(world.hub(), model)


def test_a_dry_run_shows_every_file_and_every_changed_line_and_changes_nothing(
    world: World, run: RunDirectory, model: Repo
) -> None:
    world.faults.clear_requests()
    shown = typed("publish", run.run_id, "--update-model-card", "--dry-run").stdout
    assert not world.faults.requests(method="POST|PUT|DELETE")
    assert not run.has(RunFile.PUBLICATION)
    for name in ("envelope.json", "traces.parquet", "README.md", "latency.png"):
        assert f"  {name}: " in shown
    assert "+++ b/README.md" in shown
    assert "+license: cc-by-4.0" in shown
    assert f"+++ b/{model.id}/README.md" in shown
    assert f"+{KEY}:" in shown
    assert "Dry run: nothing was changed." in shown
    typed("publish", run.run_id, "--update-model-card")
    served = card_of(world.hub(), model).decode()
    added = [line for line in served.splitlines() if line not in CARD.decode().splitlines()]
    assert all(f"+{line}" in shown for line in added)


def test_the_card_of_a_run_and_of_its_envelope_file_is_the_one_that_is_published(
    world: World, run: RunDirectory
) -> None:
    of_run = typed("card", run.run_id).stdout
    of_file = typed("card", str(run.file(RunFile.ENVELOPE))).stdout
    typed("publish", run.run_id)
    receipt = Receipt.model_validate_json(run.read(RunFile.PUBLICATION))
    repo = Repo("dataset", receipt.repo_id)
    published = world.hub().fetch(repo, receipt.commit, "README.md").decode()
    assert of_run == published
    assert of_file == published


def test_a_card_calls_nothing_verified_that_does_not_verify(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    envelope = parse_envelope(run.read(RunFile.ENVELOPE))
    altered = tmp_path / "altered.json"
    altered.write_bytes(serialise(envelope.model_copy(update={"seed": envelope.seed + 1})))
    assert "signature_verified: false" in typed("card", str(altered)).stdout
    monkeypatch.delenv("INFERENCEBENCH_POLICY")
    unjudged = typed("card", str(run.file(RunFile.ENVELOPE))).stdout
    assert "signature_verified: false" in unjudged


def test_another_organisation_is_named_by_option_and_judged_by_the_policy(
    run: RunDirectory,
) -> None:
    with pytest.raises(NotPublishableError, match="nothing was sent"):
        typed("publish", run.run_id, "--org", "somebody-else")


def test_a_takedown_undoes_the_link_and_the_next_publication_skips_it(
    world: World, run: RunDirectory, model: Repo
) -> None:
    typed("publish", run.run_id, "--update-model-card")
    said = typed("takedown", model.id, "--reason", "asked", "--requested-by", "the author").stdout
    assert "Taken down." in said
    assert f"{world.url}/datasets/{ORGANISATION}/inferencebench-index/blob/main" in said
    assert card_of(world.hub(), model) == CARD
    assert load_takedowns(Settings.from_environment().store).covering(model.id) is not None
    again = typed("publish", run.run_id, "--update-model-card").stdout
    assert "Model card: skipped taken down" in again
    assert dataset_repo_id(ORGANISATION, parse_envelope(run.read(RunFile.ENVELOPE))) in again
