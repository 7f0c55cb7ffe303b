"""Digests of everything that this deployment signed.

A log entry under our identity with any other digest is suspicious. Nothing that others can write
is counted: whoever stole the identity must not be able to explain his entry by publishing it.
"""

from __future__ import annotations

from collections.abc import Iterator

from inferencebench_pipeline.corpus.inventory import inventory_table
from inferencebench_pipeline.corpus.log_monitor import SeenCheckpoint, signature_digest_of
from inferencebench_pipeline.corpus.statement.register import registered_digests
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import read_lines, verified_days
from inferencebench_pipeline.envelope import EnvelopeError, content_hash, parse_envelope
from inferencebench_pipeline.runs import RunFile, RunStore


def known_digests(store: RunStore) -> frozenset[str]:
    """Return the digests of every envelope and statement that this deployment signed.

    These are the records in our own namespace whose verdict is good, on the very bytes and for the
    namespace that they are published in; the envelopes in the run directories of this deployment,
    where one stands before it is signed and published; and the statements that were about to be
    signed. A record in another namespace counts for nothing, nor does one that was rejected, that
    nobody signed, or that is not verified yet.

    Raises:
        InventoryError, VerdictsError, StatementStateError: what is stored cannot be read.
    """
    corpus = CorpusStore(store.root)
    hashes = {*_of_our_records(corpus), *_of_runs(store)}
    digests = {signature_digest_of(item) for item in hashes}
    return frozenset(digests.union(registered_digests(corpus)))


def seen_checkpoints(store: RunStore) -> Iterator[SeenCheckpoint]:
    """Yield the checkpoint that each accepted record's proof leads to, from the stored verdicts.

    Raises:
        VerdictsError: a file of verdicts cannot be read.
    """
    for day in verified_days(CorpusStore(store.root)):
        for line in read_lines(CorpusStore(store.root), day):
            judged = line.judged
            if judged is not None and judged.checkpoint is not None:
                yield SeenCheckpoint(judged.repo_id, judged.revision, judged.checkpoint)


def _of_our_records(corpus: CorpusStore) -> Iterator[str]:
    columns = ["repo_id", "organisation", "envelope_sha256", "community"]
    ours = {
        (row["repo_id"], row["organisation"], row["envelope_sha256"])
        for row in inventory_table(corpus).select(columns).to_pylist()
        if not row["community"]
    }
    for day in verified_days(corpus):
        for line in read_lines(corpus, day):
            judged = line.judged
            if judged is None or not judged.verdict.ok or judged.verdict.content_hash is None:
                continue
            if (judged.repo_id, judged.organisation, judged.envelope_sha256) in ours:
                yield judged.verdict.content_hash


def _of_runs(store: RunStore) -> Iterator[str]:
    for run_id in store.run_ids():
        run = store.run(run_id)
        # The unsigned one counts too: a crash may fall between the log's entry and the signed file.
        for name in (RunFile.UNSIGNED_ENVELOPE, RunFile.ENVELOPE):
            try:
                if run.has(name):
                    yield content_hash(parse_envelope(run.read(name)))
            except EnvelopeError:
                continue
