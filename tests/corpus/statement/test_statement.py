"""When a corpus may be stated, what is kept of it, and what a reader's check says."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.corpus import verification
from inferencebench_pipeline.corpus.findings import FindingKind, finding
from inferencebench_pipeline.corpus.inventory import Inventory, crawl_source
from inferencebench_pipeline.corpus.log_monitor import LogReport, keep_reports
from inferencebench_pipeline.corpus.statement.draft import CorpusDraft
from inferencebench_pipeline.corpus.statement.register import registered_digests
from inferencebench_pipeline.corpus.statement.statement import (
    STATEMENT_FILE,
    StatedCorpus,
    state_corpus,
    stated_index,
    statement_files,
)
from inferencebench_pipeline.corpus.statement.verified_records import (
    CorpusNotCleanError,
    VerifiedRecord,
    verified_anew,
    verified_records,
)
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import RecordLine, Rules, read_lines
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.files import file_state
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.trust.verify.corpus_statement import (
    TABLE_FILE,
    CorpusRow,
    column_digests,
    logged_digests,
)
from tests.corpus.world import ORG, TRUST, FolderHub, altered, policy, record, verifier

DAY = "2026-05-18"
RULES = Rules(policy().sha256, TRUST.sha256)
INDEX = {"leaderboard.json": "ab" * 32}


class Pen:
    """Signs nothing: keeps what it was given, in a bundle that only a statement is read from."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def __call__(self, statement: bytes) -> bytes:
        self.given.append(statement)
        return json.dumps(
            {"dsseEnvelope": {"payload": base64.b64encode(statement).decode()}}
        ).encode()


def publish(hub: FolderHub, store: CorpusStore, *names: str) -> None:
    for name in names:
        hub.commit(f"{ORG}/{name}", record(new_run_id(), f"{ORG}/{name}"))
    crawl_source(hub, ORG, store)


def records(store: CorpusStore):
    return verified_records(store, ORG, RULES)


def state(
    store: CorpusStore, pen: Callable[[bytes], bytes], index: dict[str, str] = INDEX
) -> StatedCorpus:
    """State the corpus as the asset does it."""

    def draft(found: list[VerifiedRecord]) -> CorpusDraft:
        return CorpusDraft(ORG, found, RULES, index)

    return state_corpus(
        store,
        draft(records(store)),
        pen,
        anew=lambda: draft(verified_anew(store, ORG, verifier())),
    )


def test_everything_verified_is_stated_once_and_its_digests_are_known_first(hub, store):
    publish(hub, store, "a", "b")
    verify_day(store, DAY, verifier())
    pen = Pen()

    first = state(store, pen)
    again = state(store, pen)

    assert (first.subjects, first.signed_now, again.signed_now) == (2, True, False)
    (statement,) = pen.given
    assert set(registered_digests(store)) == set(logged_digests(statement))
    table = pq.read_table(store.statement_folder / TABLE_FILE)
    assert table["repo_id"].to_pylist() == [f"{ORG}/a", f"{ORG}/b"]


def test_a_statement_cut_off_at_signing_is_known_although_nothing_is_kept(hub, store):
    publish(hub, store, "a")
    verify_day(store, DAY, verifier())

    def cut(_statement: bytes) -> bytes:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        state(store, cut)

    assert not (store.statement_folder / STATEMENT_FILE).exists()
    assert len(set(registered_digests(store))) == 2


def test_a_record_without_a_verdict_stops_it(hub, store):
    publish(hub, store, "a", "b")

    with pytest.raises(CorpusNotCleanError, match="2 published records have no good verdict"):
        records(store)


def test_a_verdict_under_other_rules_is_none(hub, store):
    publish(hub, store, "a")
    verify_day(store, DAY, verifier())

    with pytest.raises(CorpusNotCleanError, match="no good verdict under the current policy"):
        verified_records(store, ORG, RULES._replace(policy_sha256="ee" * 32))


def test_a_bad_record_stops_it_and_what_has_gone_does_not(hub, store):
    publish(hub, store, "a", "b")
    bad = record(new_run_id(), f"{ORG}/bad")
    hub.commit(f"{ORG}/bad", {**bad, "envelope.json": altered(bad["envelope.json"], seed=7)})
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())
    with pytest.raises(CorpusNotCleanError, match="example-org/bad: tampered"):
        records(store)

    hub.delete(f"{ORG}/bad")
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())

    assert [item.entry.repo_id for item in records(store)] == [f"{ORG}/a", f"{ORG}/b"]


def test_a_dishonest_log_or_one_not_proved_yet_stops_it(hub, store):
    publish(hub, store, "a")
    verify_day(store, DAY, verifier())
    url = "https://log.example"
    hidden = finding(FindingKind.LOG_INCONSISTENT, f"{ORG}/a", None, "x", datetime.now(UTC))

    for report, said in (
        (LogReport(url=url, problem="rewritten"), "is not honest: rewritten"),
        (LogReport(url=url, not_proved_yet=3), "3 records are not proved"),
        (LogReport(url=url, findings=[hidden]), "example-org/a: log_inconsistent"),
    ):
        keep_reports(store, [report])
        with pytest.raises(CorpusNotCleanError, match=said):
            records(store)


def test_the_same_envelope_in_two_repositories_is_one_subject(hub, store):
    files = record(new_run_id(), f"{ORG}/a")
    hub.commit(f"{ORG}/a", files)
    hub.commit(f"{ORG}/b", {**files, "README.md": b"---\ntags: []\n---\n"})
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())
    pen = Pen()

    state(store, pen)

    digest = hashlib.sha256(files["envelope.json"]).hexdigest()
    assert pen.given[0].count(digest.encode()) == 1


def test_an_empty_corpus_is_not_stated(hub, store):
    crawl_source(hub, ORG, store)

    with pytest.raises(CorpusNotCleanError, match="published nothing"):
        state(store, Pen())


def test_a_record_whose_bytes_are_lost_has_no_verdict_and_stops_it(hub, store):
    publish(hub, store, "a", "b")
    inventory = Inventory.load(store)
    (sha256,) = [e.envelope_sha256 for e in inventory.entries if e.repo_id == f"{ORG}/a"]
    store.blobs().path(sha256).unlink()
    verify_day(store, DAY, verifier())
    judged = {line.repo_id: line.judged for line in read_lines(store, DAY)}
    assert judged[f"{ORG}/a"] is None

    with pytest.raises(CorpusNotCleanError, match=f"{ORG}/a"):
        records(store)


def stored(store: CorpusStore) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.verdicts_path(DAY).read_bytes().splitlines()]


def rewrite(store: CorpusStore, change: Callable[[dict[str, Any]], None]) -> None:
    """Edit each stored verdict, and seal its line again: whoever writes to the disk can do both."""
    lines = []
    for document in stored(store):
        change(document)
        lines.append(RecordLine.model_validate({**document, "line_sha256": None}).sealed())
    store.verdicts_path(DAY).write_bytes(b"".join(line + b"\n" for line in lines))


def turn_good(document: dict[str, Any]) -> None:
    """Write into a line that its record was found to be good."""
    document["judged"]["verdict"].update(ok=True, outcome="verified", failure_class=None)
    document["findings"] = []


def name_another_signer(document: dict[str, Any]) -> None:
    document["judged"]["verdict"]["signer"]["identity"] = "somebody famous"


def test_a_verdict_that_was_edited_on_disk_gets_into_no_statement(hub, store):
    publish(hub, store, "a")
    bad = record(new_run_id(), f"{ORG}/bad")
    hub.commit(f"{ORG}/bad", {**bad, "envelope.json": altered(bad["envelope.json"], seed=7)})
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())
    rewrite(store, turn_good)
    assert len(records(store)) == 2, "the lines on disk say that all is well"
    pen = Pen()

    with pytest.raises(CorpusNotCleanError, match="example-org/bad: tampered"):
        state(store, pen)

    assert pen.given == []
    assert statement_files(store) == {}
    assert [line["judged"]["verdict"]["ok"] for line in stored(store)] == [True, False]


@pytest.mark.parametrize("process_count", [1, 2])
def test_what_else_was_edited_in_a_verdict_is_put_right_before_anything_is_signed(
    hub, store, monkeypatch, process_count
):
    monkeypatch.setattr(verification, "SHARED_FROM_RECORDS", 2)
    publish(hub, store, "a", "b")
    verify_day(store, DAY, verifier())
    good = store.verdicts_path(DAY).read_bytes()
    rewrite(store, name_another_signer)
    assert store.verdicts_path(DAY).read_bytes() != good

    found = verified_anew(store, ORG, verifier(), processes=process_count)

    assert len(found) == 2
    assert b"somebody famous" not in store.verdicts_path(DAY).read_bytes()


def test_verifying_anew_leaves_files_that_are_right_as_they_are(hub, store):
    """The index knows a day by the state of its file, and need not be built again."""
    publish(hub, store, "a", "b")
    verify_day(store, DAY, verifier())
    before = file_state(store.verdicts_path(DAY))

    verified_anew(store, ORG, verifier())

    assert file_state(store.verdicts_path(DAY)) == before


def test_nothing_is_verified_anew_when_nothing_is_to_be_signed(hub, store):
    publish(hub, store, "a")
    verify_day(store, DAY, verifier())
    state(store, Pen())
    draft = CorpusDraft(ORG, records(store), RULES, INDEX)

    def never() -> CorpusDraft:
        raise AssertionError

    assert not state_corpus(store, draft, Pen(), anew=never).signed_now


def test_another_leaderboard_is_stated_anew_and_the_kept_statement_names_it(hub, store):
    publish(hub, store, "a")
    verify_day(store, DAY, verifier())
    assert stated_index(store) is None
    pen = Pen()
    state(store, pen)
    assert stated_index(store) == INDEX

    other = {**INDEX, "data/runs.parquet": "cd" * 32}
    assert state(store, pen, other).signed_now

    assert stated_index(store) == other
    assert len(pen.given) == 2


def test_the_columns_of_the_table_are_those_that_the_statement_binds(hub, store):
    publish(hub, store, "a", "b")
    verify_day(store, DAY, verifier())
    pen = Pen()
    state(store, pen)
    table = pq.read_table(store.statement_folder / TABLE_FILE)
    rows = [CorpusRow(**item) for item in table.to_pylist()]

    bound = json.loads(pen.given[0])["predicate"]["inferencebench_corpus"]["table"]
    assert bound["rows"] == 2
    assert {name: it["sha256"] for name, it in bound["columns"].items()} == column_digests(rows)
    assert [row.revision for row in rows] == [hub.heads[f"{ORG}/{name}"][0] for name in "ab"]
