"""The statement and the leaderboard that it covers, on a Hub: published, changed, withdrawn."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from inferencebench_pipeline.corpus.statement.statement import STATEMENT_FILE
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import RecordLine
from inferencebench_pipeline.hub.takedowns.register import Takedown, record_takedown
from inferencebench_pipeline.lifecycle.leaderboard import corpus_statement
from inferencebench_pipeline.runs.run_directory import RunDirectory
from inferencebench_pipeline.trust.verify.corpus_statement import TABLE_FILE
from tests.clock import today
from tests.lifecycle.conftest import World, failed_steps, failure_text
from tests.lifecycle.own_hub import one_day, plain_uploads, sandbox  # noqa: F401  # fixtures
from tests.lifecycle.stated import (
    edited_table,
    hub_of,
    index_files,
    index_repo_id,
    on_hub,
    reverify,
    stated,
    target_of,
    upload,
    verify_corpus,
)


@pytest.mark.slow
def test_what_is_changed_in_the_index_on_the_hub_has_an_exit_code(
    world: World, measured_run: RunDirectory
):
    stated(world, measured_run)
    whole = index_files(world)
    assert len(whole) >= 6
    assert verify_corpus(world)[0] == 0
    good = hub_of(world).repo_info(index_repo_id(world), repo_type="dataset").sha
    changed = sorted(name for name in whole if "/runs/" in name)[0]

    upload(world, "data/runs/created_month=2099-01/runs.parquet", b"added")
    assert verify_corpus(world)[1]["outcome"] == "index_differs"
    hub_of(world).delete_file(
        "data/runs/created_month=2099-01/runs.parquet", index_repo_id(world), repo_type="dataset"
    )
    upload(world, changed, b"changed")
    rc, document = verify_corpus(world)
    assert (rc, document["outcome"]) == (11, "index_differs")
    assert changed in str(document["reason"])

    upload(world, TABLE_FILE, edited_table(world, lambda table: table.slice(0, 0)))
    rc, document = verify_corpus(world)
    assert (rc, document["outcome"], document["results"]) == (9, "empty", 0)
    hub_of(world).delete_file(TABLE_FILE, index_repo_id(world), repo_type="dataset")
    assert verify_corpus(world)[0] == 9

    hub_of(world).delete_file(STATEMENT_FILE, index_repo_id(world), repo_type="dataset")
    rc, document = verify_corpus(world)
    assert (rc, "nothing is stated about its corpus" in str(document["error"])) == (2, True)
    # An earlier commit holds everything, and is verified as it was.
    assert verify_corpus(world, "--revision", str(good), target_of(world))[0] == 0


@pytest.mark.slow
def test_a_statement_stays_only_beside_the_leaderboard_that_it_covers(
    world: World, measured_run: RunDirectory
):
    stated(world, measured_run)
    world.job("publish_index")
    assert on_hub(world, STATEMENT_FILE), "nothing has changed since"

    record_takedown(
        world.store.root,
        Takedown(
            target="org/model",
            reason="asked",
            requested_by="them",
            requested_at=datetime(2026, 11, 1, tzinfo=UTC),
        ),
    )
    assert failed_steps(world.job("publish_index")) == []
    assert not on_hub(world, STATEMENT_FILE), "withdrawn in the commit that changed the index"
    assert not on_hub(world, TABLE_FILE)
    assert verify_corpus(world)[0] == 2

    assert failed_steps(world.job("state_corpus")) == []
    assert verify_corpus(world)[0] == 0


@pytest.mark.slow
def test_a_crash_between_the_signature_and_the_commit_costs_no_second_signature(
    world: World, measured_run: RunDirectory, monkeypatch: pytest.MonkeyPatch
):
    assert failed_steps(world.materialise(measured_run)) == []
    reverify(world)
    world.job("examine_logs")
    with monkeypatch.context() as cut:
        # The process dies when it was about to publish.
        cut.setattr(corpus_statement, "publish_corpus", _die)
        assert "corpus_statement" in failed_steps(world.job("state_corpus"))
    bundle = (CorpusStore(world.store.root).statement_folder / STATEMENT_FILE).read_bytes()
    assert not on_hub(world, STATEMENT_FILE) or verify_corpus(world)[0] == 0

    assert failed_steps(world.job("state_corpus")) == []

    assert (CorpusStore(world.store.root).statement_folder / STATEMENT_FILE).read_bytes() == bundle
    assert verify_corpus(world)[0] == 0


@pytest.mark.slow
def test_an_index_that_was_built_from_other_verdicts_is_not_stated(
    world: World, measured_run: RunDirectory
):
    """The verdict was edited on the disk, and shown by the index that was built from it."""
    assert failed_steps(world.materialise(measured_run)) == []
    reverify(world)
    world.job("examine_logs")
    day = CorpusStore(world.store.root).verdicts_path(today())
    lines = []
    for text in day.read_bytes().splitlines():
        line = json.loads(text)
        line["judged"]["verdict"]["signer"]["identity"] = "somebody famous"
        lines.append(RecordLine.model_validate({**line, "line_sha256": None}).sealed())
    day.write_bytes(b"".join(line + b"\n" for line in lines))

    refused = world.job("state_corpus")

    assert "was not built from the verdicts and registers as they are now" in failure_text(refused)
    assert b"somebody famous" not in day.read_bytes()
    assert failed_steps(world.job("state_corpus")) == []
    assert verify_corpus(world)[0] == 0


def _die(*_arguments: object, **_settings: object) -> None:
    raise SystemExit(9)
