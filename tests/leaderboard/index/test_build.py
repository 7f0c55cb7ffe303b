from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.corpus.findings import FindingKind, finding
from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.log_monitor import LogReport, keep_reports
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.leaderboard.document import Leaderboard, RunRow
from inferencebench_pipeline.leaderboard.index.build import (
    LeaderboardError,
    build_index,
    load_leaderboard,
)
from inferencebench_pipeline.leaderboard.index.check import check_rows, unjudged_rows
from inferencebench_pipeline.leaderboard.index.parquet.columns import SHOWN_METRICS
from inferencebench_pipeline.leaderboard.index.parquet.manifest import MANIFEST_FILE
from inferencebench_pipeline.leaderboard.index.parquet.partitions import write_partition
from inferencebench_pipeline.leaderboard.site.run_details import run_details
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.lifecycle.leaderboard.leaderboard_index import every_row_has_a_verdict
from inferencebench_pipeline.measure.metrics.compute import (
    METRIC_DEFINITIONS_VERSION,
    compute_metrics,
)
from inferencebench_pipeline.measure.run.trace_writer import ValidityFlag, read_traces
from inferencebench_pipeline.resources import StepRetryPolicy
from inferencebench_pipeline.runs.run_directory import RunStore, new_run_id
from tests.corpus.world import (
    ORG,
    FolderHub,
    altered,
    policy,
    record,
    resigned,
    verifier,
)
from tests.envelope.measured import digest, provenance, spec, traces_bytes

REPO = f"{ORG}/one"


@pytest.fixture
def files() -> dict[str, bytes]:
    return record(new_run_id(), REPO)


def indexed(hub: FolderHub, store: LeaderboardStore) -> Leaderboard:
    crawl_source(hub, ORG, store.corpus)
    for day in created_days(store.corpus):
        verify_day(store.corpus, day, verifier())
    build_index(store)
    return load_leaderboard(store)


def row_of(board: Leaderboard, repo_id: str = REPO) -> RunRow:
    return next(row for row in board.runs if row.repo_id == repo_id)


def test_a_verified_run_ranks_with_the_envelopes_own_numbers(hub, store, files):
    hub.commit(REPO, files)

    board = indexed(hub, store)

    row, metrics = row_of(board), json.loads(files["envelope.json"])["metrics"]
    assert (row.state, row.tier) == ("verified", "dev")
    (details,) = run_details(store, [REPO])
    assert {cell.key: cell.value for cell in details.metrics} == metrics
    shown = {cell.key: cell.value for cell in row.metrics}
    assert shown == {key: value for key, value in metrics.items() if key in SHOWN_METRICS}
    assert next(cell.n for cell in row.metrics if cell.key == "ttft_p50_ms") == 12
    assert [group.rows for group in board.groups] == [(row.row_id,)]
    assert board.groups[0].ranked_by == "output_tok_per_s"
    assert check_rows(store) == []


def test_a_missing_percentile_says_why(hub, store, files):
    hub.commit(REPO, files)

    indexed(hub, store)
    (details,) = run_details(store, [REPO])
    cells = {cell.key: cell for cell in details.metrics}

    assert cells["ttft_p99_ms"].value is None
    assert cells["ttft_p99_ms"].null_reason == "12 samples, at least 662 needed"


def test_the_same_corpus_gives_the_same_bytes(hub, store, files):
    hub.commit(REPO, files)
    hub.commit(f"{ORG}/broken", {"envelope.json": b"{"})
    path = store.folder / "leaderboard.json"

    indexed(hub, store)
    first = path.read_bytes()
    indexed(hub, store)

    assert path.read_bytes() == first


def test_results_of_different_questions_are_never_in_one_group(hub, store):
    looser, other_slo = spec(slo={"ttft_ms": 1000}), new_run_id()
    variants = {
        "same": {},
        "other-model": {
            "provenance": provenance(
                model={**provenance().model.model_dump(), "id": "example/other"}
            )
        },
        "other-prompts": {"workload_sha256": digest("other requests")},
        "other-slo": {
            "spec": looser,
            "metrics": compute_metrics(read_traces(traces_bytes(other_slo)), looser.slo),
        },
        "other-suite": {"spec": spec(suite={"id": "llm.inference.chat", "version": "1.1.0"})},
    }
    for name, changes in variants.items():
        run_id = other_slo if name == "other-slo" else new_run_id()
        hub.commit(f"{ORG}/{name}", record(run_id, f"{ORG}/{name}", **changes))

    board = indexed(hub, store)

    names = {row.row_id: row.repo_id.split("/")[1] for row in board.runs}
    groups = sorted(sorted(names[row_id] for row_id in group.rows) for group in board.groups)
    assert groups == [["other-model", "same"], ["other-prompts"], ["other-slo"], ["other-suite"]]


def test_the_faster_run_comes_first_and_a_missing_number_last(hub, store, files):
    metrics = json.loads(files["envelope.json"])["metrics"]
    for name, value in (("slow", 10.0), ("fast", 99.0), ("null", None)):
        data = resigned(
            files["envelope.json"],
            run_id=new_run_id(),
            metrics={**metrics, "output_tok_per_s": value},
            distributions={},
        )
        hub.commit(f"{ORG}/{name}", {"envelope.json": data})

    board = indexed(hub, store)

    order = [
        row.repo_id for row_id in board.groups[0].rows for row in board.runs if row.row_id == row_id
    ]
    assert order == [f"{ORG}/fast", f"{ORG}/slow", f"{ORG}/null"]


def test_a_tampered_run_is_shown_and_does_not_rank(hub, store, files):
    metrics = json.loads(files["envelope.json"])["metrics"] | {"output_tok_per_s": 99_999.0}
    hub.commit(REPO, {**files, "envelope.json": altered(files["envelope.json"], metrics=metrics)})

    board = indexed(hub, store)

    assert (row_of(board).state, row_of(board).tier, board.groups) == ("rejected", "failed", ())
    assert "did not sign" in (row_of(board).state_reason or "")
    assert check_rows(store) == []


@pytest.mark.parametrize("later", ["definitions", "envelope"])
def test_a_run_of_a_later_version_is_shown_as_newer_and_does_not_rank(hub, store, files, later):
    notes = json.loads(files["envelope.json"])["inferencebench_pipeline"]
    changes = {
        "definitions": {"inferencebench_pipeline": notes | {"metric_definitions": "99"}},
        "envelope": {"envelope_version": "v2"},
    }[later]
    hub.commit(REPO, {**files, "envelope.json": resigned(files["envelope.json"], **changes)})

    board = indexed(hub, store)

    assert (row_of(board).state, row_of(board).tier, board.groups) == ("newer", None, ())
    assert "a newer release can judge it" in (row_of(board).state_reason or "")
    assert check_rows(store) == []


def test_a_run_whose_traces_are_missing_does_not_rank(hub, store, files):
    hub.commit(REPO, {"envelope.json": files["envelope.json"]})

    board = indexed(hub, store)

    assert row_of(board).state == "traces_missing"
    assert board.groups == ()


def test_a_run_that_failed_its_own_validity_check_does_not_rank(hub, store):
    flag = ValidityFlag(name="steady_state", ok=False, severity="error", detail="still rising")
    hub.commit(REPO, record(new_run_id(), REPO, validity=(flag,)))

    row = row_of(indexed(hub, store))

    assert (row.state, row.state_reason) == ("invalid", "steady_state: still rising")


def test_a_run_whose_card_says_something_else_does_not_rank(hub, store, files):
    card = files["README.md"].replace(b"suite_version: 1.0.0", b"suite_version: 2.0.0")
    hub.commit(REPO, {**files, "README.md": card})

    row = row_of(indexed(hub, store))

    assert row.state == "disputed"
    assert "card_disagrees: card says suite_version" in (row.state_reason or "")


def test_a_run_that_no_honest_log_holds_does_not_rank(hub, store, files):
    hub.commit(REPO, files)
    indexed(hub, store)
    hidden = finding(
        FindingKind.LOG_INCONSISTENT, REPO, None, "rewritten", datetime(2026, 5, 18, tzinfo=UTC)
    )
    keep_reports(store.corpus, [LogReport(url="https://log.example", findings=[hidden])])

    row = row_of(indexed(hub, store))

    assert (row.state, row.state_reason) == ("disputed", "log_inconsistent: rewritten")


def test_a_run_published_twice_ranks_once_and_the_first_stays(hub, store, files):
    # A repository is there before its content, so its date decides nothing.
    hub.commit(f"{ORG}/z-copy", files, created_at=datetime(2026, 5, 16, tzinfo=UTC))
    hub.commit(REPO, files, created_at=datetime(2026, 5, 18, tzinfo=UTC))

    board = indexed(hub, store)

    assert row_of(board).state == "verified"
    copy = row_of(board, f"{ORG}/z-copy")
    assert (copy.state, copy.state_reason) == (
        "duplicate",
        f"it repeats {REPO}: it has the same run id, and that record comes first by its name, "
        "since neither has a trusted time",
    )


def test_a_rejected_copy_cannot_push_the_genuine_run_out(hub, store, files):
    forged = altered(files["envelope.json"], seed=7)
    hub.commit(
        f"{ORG}/squatter",
        {**files, "envelope.json": forged},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    hub.commit(REPO, files)

    board = indexed(hub, store)

    assert row_of(board).state == "verified"
    assert row_of(board, f"{ORG}/squatter").state == "rejected"


def test_an_unverified_run_does_not_rank_and_is_told(hub, store, files):
    hub.commit(REPO, files)
    crawl_source(hub, ORG, store.corpus)
    build_index(store)

    assert row_of(load_leaderboard(store)).state == "unverified"
    assert check_rows(store) == []
    assert [(row.repo_id, row.day) for row in unjudged_rows(store)] == [(REPO, "2026-05-18")]
    assert indexed(hub, store).states == {"verified": 1}
    assert unjudged_rows(store) == []


def test_the_check_tells_of_rows_that_nobody_verifies_not_of_those_that_just_came(
    hub, store, files
):
    def check() -> dg.AssetCheckResult:
        crawl_source(hub, ORG, store.corpus)
        build_index(store)
        resource = RunStore(store.root)
        result: object = every_row_has_a_verdict(run_store=resource, retry_policy=StepRetryPolicy())
        assert isinstance(result, dg.AssetCheckResult)
        return result

    hub.commit(f"{ORG}/new", files, created_at=datetime.now(UTC))
    hub.commit(f"{ORG}/changed", files, modified_at=datetime.now(UTC))
    just_came = check()
    hub.commit(REPO, files)
    late = check()

    assert just_came.passed
    assert (late.passed, late.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert late.description == "1 rows have no verdict; run reverify for 2026-05-18"
    assert late.metadata["waiting"].value == 3
    assert late.metadata["late"].value == REPO


def test_a_verdict_on_other_bytes_does_not_count(hub, store, files):
    hub.commit(REPO, files)
    indexed(hub, store)
    hub.commit(REPO, {**files, "envelope.json": resigned(files["envelope.json"], seed=7)})
    crawl_source(hub, ORG, store.corpus)
    build_index(store)

    assert row_of(load_leaderboard(store)).state == "unverified"


def test_a_vanished_run_is_still_there_and_does_not_rank(hub, store, files):
    hub.commit(REPO, files)
    indexed(hub, store)
    hub.delete(REPO)

    board = indexed(hub, store)

    assert (row_of(board).state, board.groups) == ("vanished", ())
    assert check_rows(store) == []


def test_numbers_that_json_cannot_hold_become_null_with_a_reason(hub, store, files):
    # Lax readers accept NaN and huge integers, so they can be well signed.
    envelope = json.loads(files["envelope.json"])
    del envelope["inferencebench_pipeline"]
    envelope |= {"distributions": {}, "metrics": {"a": float("inf"), "b": 10**400, "c": 1}}
    data = json.dumps(envelope).encode()
    hub.commit(REPO, {"envelope.json": data})

    cells = {cell.key: cell for cell in row_of(indexed(hub, store)).metrics}

    assert cells["a"].null_reason == "the envelope holds inf, which is not a finite number"
    assert cells["b"].value is None
    assert cells["c"].value == 1.0
    text = (store.folder / "leaderboard.json").read_text()
    json.loads(text, parse_constant=pytest.fail)


def test_the_tables_answer_questions_in_sql(hub, store, files):
    hub.commit(REPO, files)
    indexed(hub, store)
    folder = store.folder

    answer = duckdb.sql(
        f"""
        SELECT r.model_id, r.signer_identity, m.value, m.unit, m.definitions
        FROM '{folder}/runs/*/*.parquet' r JOIN '{folder}/metrics/*/*.parquet' m USING (row_id)
        WHERE r.state = 'verified' AND m.key = 'tpot_p50_ms'
        """
    ).fetchall()

    value = json.loads(files["envelope.json"])["metrics"]["tpot_p50_ms"]
    assert len(answer) == 1
    assert answer[0][0] == "example/tiny"
    assert len(answer[0][1]) == 64
    assert answer[0][2:] == (value, "ms", METRIC_DEFINITIONS_VERSION)


def _edited(store: LeaderboardStore, kind: str, column: str, value: object) -> None:
    """Replace a value in a partition, and name that partition as if a build had written it."""
    folder = store.folder
    (path,) = (folder / kind).glob("*/*.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0][column] = value
    before = str(path.relative_to(folder))
    after = write_partition(
        folder, str(Path(before).parent), pa.Table.from_pylist(rows, schema=table.schema)
    )
    manifest = folder / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace(before, after))


def test_the_check_finds_a_row_that_is_not_the_envelopes(hub, store, files):
    hub.commit(REPO, files)
    indexed(hub, store)
    assert check_rows(store) == []

    _edited(store, "metrics", "value", 0.001)
    _edited(store, "runs", "model_id", "example/better")

    assert check_rows(store) == [
        f"{REPO}: its metrics are not the envelope's",
        f"{REPO}: model_id is 'example/better', the envelope says 'example/tiny'",
    ]
    assert len(check_rows(store)) == 2  # what is wrong is not remembered as checked


def test_the_check_finds_a_partition_that_was_changed_on_disk(hub, store, files):
    hub.commit(REPO, files)
    indexed(hub, store)
    (path,) = (store.folder / "runs").glob("*/*.parquet")
    path.write_bytes(path.read_bytes().replace(b"example/tiny", b"example/huge"))

    (problem,) = check_rows(store)

    assert "is not what was written" in problem


def test_the_check_finds_a_published_run_without_a_row(hub, store, files):
    hub.commit(REPO, files)
    indexed(hub, store)
    hub.commit(f"{ORG}/two", record(new_run_id(), f"{ORG}/two"))
    crawl_source(hub, ORG, store.corpus)

    assert f"{ORG}/two: is published but has no row" in check_rows(store)


def test_the_check_finds_that_nothing_was_built(store):
    assert "cannot be read" in check_rows(store)[0]


def test_an_empty_corpus_gives_an_empty_index(store):
    info = build_index(store)

    assert (info.rows, info.ranked, info.comparison_groups) == (0, 0, 0)
    assert check_rows(store) == []


def test_a_damaged_document_says_what_to_do(store):
    folder = store.folder
    folder.mkdir(parents=True)
    (folder / "leaderboard.json").write_text("{")

    with pytest.raises(LeaderboardError, match="materialise leaderboard_index again"):
        load_leaderboard(store)


def test_the_real_corpus_is_indexed_whole(hub, store, shared_data):
    folder = shared_data / "corpus"
    for file in sorted((folder / "2026-05-18-marathon").glob("*.json")):
        hub.commit(f"{ORG}/{file.stem}", {"envelope.json": file.read_bytes()})
    crawl_source(hub, ORG, store.corpus)
    pinned = policy((folder / "cosign-2026-05-18-marathon.pub").read_text())
    verify_day(store.corpus, "2026-05-18", verifier(pinned))

    info = build_index(store)

    board = load_leaderboard(store)
    assert (info.rows, info.ranked, dict(info.states)) == (50, 50, {"verified": 50})
    assert {group.metric_definitions for group in board.groups} == {"not stated"}
    assert all(group.ranked_by is None for group in board.groups)
    assert check_rows(store) == []


def test_runs_whose_intervals_overlap_share_a_rank_and_one_without_has_none(hub, store, files):
    envelope = json.loads(files["envelope.json"])
    key = "output_tok_per_s"
    for name, value, half in (
        ("first", 100.0, 2.0), ("tied", 99.0, 2.0), ("third", 50.0, 1.0), ("unsure", 70.0, None),
    ):  # fmt: skip
        notes = json.loads(json.dumps(envelope["inferencebench_pipeline"]))
        if half is not None:
            notes["metric_notes"][key]["interval"] = {
                "low": value - half, "high": value + half, "method": "repeats", "n": 5.0,
            }  # fmt: skip
        data = resigned(
            files["envelope.json"],
            run_id=new_run_id(),
            metrics={**envelope["metrics"], key: value},
            distributions={},
            inferencebench_pipeline=notes,
        )
        hub.commit(f"{ORG}/{name}", {"envelope.json": data})

    board = indexed(hub, store)

    names = {row.row_id: row.repo_id.split("/")[1] for row in board.runs}
    (group,) = board.groups
    ranks = {names[row_id]: rank for row_id, rank in zip(group.rows, group.ranks, strict=True)}
    assert list(ranks) == ["first", "tied", "unsure", "third"]
    assert ranks == {"first": 1, "tied": 1, "unsure": None, "third": 3}
