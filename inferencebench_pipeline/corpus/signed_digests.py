"""Digests of everything that this deployment signed.

A log entry under our identity with any other digest is suspicious.
"""

from __future__ import annotations

from collections.abc import Iterator

from inferencebench_pipeline.corpus.inventory import Inventory
from inferencebench_pipeline.corpus.log_monitor import SeenCheckpoint, signature_digest_of
from inferencebench_pipeline.corpus.statement import registered_digests
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import read_lines, verified_days
from inferencebench_pipeline.envelope import EnvelopeError, content_hash, parse_envelope
from inferencebench_pipeline.runs import RunFile, RunStore


def known_digests(store: RunStore) -> frozenset[str]:
    """Return the digests of every envelope and statement this deployment knows of.

    Published ones by the inventory, those not published yet by their run directories, where an
    envelope stands before it is signed.

    Raises:
        InventoryError: the inventory cannot be read.
    """
    hashes = {entry.content_hash for entry in Inventory.load(CorpusStore(store.root)).entries}
    hashes.update(_of_runs(store))
    digests = {signature_digest_of(item) for item in hashes if item is not None}
    return frozenset(digests.union(registered_digests(CorpusStore(store.root))))


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
