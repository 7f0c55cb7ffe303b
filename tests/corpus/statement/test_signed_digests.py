"""The digests that are ours: published, not published yet, and of earlier statements."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inferencebench_pipeline.corpus.inventory import crawl_others, crawl_source
from inferencebench_pipeline.corpus.log_monitor import signature_digest_of
from inferencebench_pipeline.corpus.statement.signed_digests import known_digests, seen_checkpoints
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from tests.corpus.statement.test_statement import Pen, logged_digests, state
from tests.corpus.world import ORG, FolderHub, policy, record, verifier

DAY = "2026-05-18"


def digest_of(envelope: bytes) -> str:
    return signature_digest_of(content_hash(parse_envelope(envelope)))


def test_every_envelope_that_was_signed_knowingly_is_known(
    hub: FolderHub, store: CorpusStore, tmp_path: Path
) -> None:
    runs = RunStore(store.root)
    assert known_digests(runs) == frozenset()
    published = record(new_run_id(), f"{ORG}/a")
    hub.commit(f"{ORG}/a", published)
    crawl_source(hub, ORG, store)
    # Anybody who may write into the namespace could have put it there: the verdict decides.
    assert known_digests(runs) == frozenset()
    verify_day(store, DAY, verifier())
    assert known_digests(runs) == {digest_of(published["envelope.json"])}

    signed, unsigned = (record(new_run_id(), f"{ORG}/b")["envelope.json"] for _ in range(2))
    runs.run(new_run_id()).write(RunFile.ENVELOPE, signed)
    runs.run(new_run_id()).write(RunFile.UNSIGNED_ENVELOPE, unsigned)
    damaged = runs.run(new_run_id())
    damaged.write(RunFile.ENVELOPE, b"{")
    damaged.write(RunFile.UNSIGNED_ENVELOPE, b"[]")
    runs.run(new_run_id()).write(RunFile.SPEC, b"{}")
    expected = {digest_of(each) for each in (published["envelope.json"], signed, unsigned)}
    assert known_digests(runs) == expected


def foreign_place(hub: FolderHub, store: CorpusStore, files: dict[str, bytes]) -> None:
    """Publish in another namespace, tagged as ours are, and take it in as the community's."""
    hub.commit("thief/a", files)
    crawl_others(hub, list(hub.listed("thief")), [], store)


def own_place(hub: FolderHub, store: CorpusStore, files: dict[str, bytes]) -> None:
    hub.commit(f"{ORG}/a", files)
    crawl_source(hub, ORG, store)


@pytest.mark.parametrize("published", [foreign_place, own_place])
@pytest.mark.parametrize("kind", ["signed", "unsigned", "tampered", "without traces", "malformed"])
def test_publishing_it_makes_no_signature_known(
    hub: FolderHub,
    store: CorpusStore,
    published: Callable[[FolderHub, CorpusStore, dict[str, bytes]], None],
    kind: str,
) -> None:
    """Whoever has the key of ours signs a record that is not ours, and explains it by himself."""
    files = record(new_run_id(), "thief/a")
    envelope = files["envelope.json"]
    document = json.loads(envelope)
    if kind == "without traces":
        del files["traces.parquet"]
    elif kind == "unsigned":
        files["envelope.json"] = json.dumps({**document, "signature": None}).encode()
    elif kind == "tampered":
        files["envelope.json"] = json.dumps({**document, "seed": document["seed"] + 1}).encode()
    elif kind == "malformed":
        files["envelope.json"] = envelope + b"}"
    published(hub, store, files)
    # The policy of a careless person, under which the thief's own namespace may sign, too.
    ours, theirs = policy(), policy(organisation="thief")
    careless = ours.model_copy(update={"dev_keys": (*ours.dev_keys, *theirs.dev_keys)})
    day = verify_day(store, DAY, verifier(careless))
    good = kind == "signed" or (kind == "without traces" and day.verified)
    assert day.verified == good

    known = known_digests(RunStore(store.root))
    assert known == ({digest_of(envelope)} if published is own_place and good else set())


def test_the_digests_of_statements_are_known_too(hub: FolderHub, store: CorpusStore) -> None:
    hub.commit(f"{ORG}/a", record(new_run_id(), f"{ORG}/a"))
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())
    before = known_digests(RunStore(store.root))
    pen = Pen()
    state(store, pen)
    (statement,) = pen.given
    assert known_digests(RunStore(store.root)) - before == set(logged_digests(statement))


def test_records_that_are_in_no_log_show_no_checkpoint(hub: FolderHub, store: CorpusStore) -> None:
    hub.commit(f"{ORG}/a", record(new_run_id(), f"{ORG}/a"))
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())
    assert list(seen_checkpoints(RunStore(store.root))) == []
