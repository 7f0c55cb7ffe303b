"""When a corpus may be stated, what is kept of it, and what a reader's check says."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.corpus.findings import FindingKind, finding
from inferencebench_pipeline.corpus.inventory import Inventory, crawl_source
from inferencebench_pipeline.corpus.log_monitor import LogReport, keep_reports
from inferencebench_pipeline.corpus.statement import (
    STATEMENT_FILE,
    TABLE_FILE,
    CorpusNotCleanError,
    registered_digests,
    state_corpus,
    verified_records,
)
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import Rules, read_lines
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.trust.verify.corpus_statement import logged_digests
from tests.corpus.world import ORG, TRUST, FolderHub, altered, policy, record, verifier

DAY = "2026-05-18"
RULES = Rules(policy().sha256, TRUST.sha256)


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


def test_everything_verified_is_stated_once_and_its_digests_are_known_first(hub, store):
    publish(hub, store, "a", "b")
    verify_day(store, DAY, verifier())
    pen = Pen()

    first = state_corpus(store, ORG, records(store), RULES, pen)
    again = state_corpus(store, ORG, records(store), RULES, pen)

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
        state_corpus(store, ORG, records(store), RULES, cut)

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

    state_corpus(store, ORG, records(store), RULES, pen)

    digest = hashlib.sha256(files["envelope.json"]).hexdigest()
    assert pen.given[0].count(digest.encode()) == 1


def test_an_empty_corpus_is_not_stated(hub, store):
    crawl_source(hub, ORG, store)

    with pytest.raises(CorpusNotCleanError, match="published nothing"):
        state_corpus(store, ORG, records(store), RULES, Pen())


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
