"""The digests that are ours: published, not published yet, and of earlier statements."""

from __future__ import annotations

from pathlib import Path

from inferencebench_pipeline.corpus.inventory import crawl_source
from inferencebench_pipeline.corpus.log_monitor import signature_digest_of
from inferencebench_pipeline.corpus.signed_digests import known_digests, seen_checkpoints
from inferencebench_pipeline.corpus.statement import state_corpus, verified_records
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from tests.corpus.test_statement import RULES, Pen, logged_digests
from tests.corpus.world import ORG, FolderHub, record, verifier

DAY = "2026-05-18"


def digest_of(envelope: bytes) -> str:
    return signature_digest_of(content_hash(parse_envelope(envelope)))


def test_every_envelope_that_was_signed_knowingly_is_known(
    hub: FolderHub, store: CorpusStore, tmp_path: Path
) -> None:
    runs = RunStore(store.root)
    assert known_digests(runs) == frozenset()
    published = record(new_run_id(), f"{ORG}/a")["envelope.json"]
    hub.commit(f"{ORG}/a", {"envelope.json": published})
    crawl_source(hub, ORG, store)
    assert known_digests(runs) == {digest_of(published)}

    signed, unsigned = (record(new_run_id(), f"{ORG}/b")["envelope.json"] for _ in range(2))
    runs.run(new_run_id()).write(RunFile.ENVELOPE, signed)
    runs.run(new_run_id()).write(RunFile.UNSIGNED_ENVELOPE, unsigned)
    damaged = runs.run(new_run_id())
    damaged.write(RunFile.ENVELOPE, b"{")
    damaged.write(RunFile.UNSIGNED_ENVELOPE, b"[]")
    runs.run(new_run_id()).write(RunFile.SPEC, b"{}")
    assert known_digests(runs) == {digest_of(each) for each in (published, signed, unsigned)}


def test_the_digests_of_statements_are_known_too(hub: FolderHub, store: CorpusStore) -> None:
    hub.commit(f"{ORG}/a", record(new_run_id(), f"{ORG}/a"))
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())
    before = known_digests(RunStore(store.root))
    pen = Pen()
    state_corpus(store, ORG, verified_records(store, ORG, RULES), RULES, pen)
    (statement,) = pen.given
    assert known_digests(RunStore(store.root)) - before == set(logged_digests(statement))


def test_records_that_are_in_no_log_show_no_checkpoint(hub: FolderHub, store: CorpusStore) -> None:
    hub.commit(f"{ORG}/a", record(new_run_id(), f"{ORG}/a"))
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())
    assert list(seen_checkpoints(RunStore(store.root))) == []
