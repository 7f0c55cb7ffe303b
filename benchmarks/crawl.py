"""Crawling a namespace of many records in the sandbox Hub: requests and time, beside the library's.

``python benchmarks/crawl.py [--repositories 10000]``. The repositories are written straight into
the sandbox's store, each with an envelope, a card and its own name; what is measured goes over HTTP
to the sandbox, another process of this machine, so the times hold both sides. "Flushed one by one"
brings each blob to disk before the next is fetched instead of many together. "Client library" is
what its documentation suggests (``list_datasets``, ``dataset_info``, ``hf_hub_download``, empty
cache). Both are measured on a sample and scaled to the same number of repositories.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

from huggingface_hub import HfApi, hf_hub_download

from inferencebench_pipeline.corpus import CorpusStore
from inferencebench_pipeline.corpus.blobs import BlobStore
from inferencebench_pipeline.corpus.inventory import crawl
from inferencebench_pipeline.envelope.canonical import serialise
from inferencebench_pipeline.envelope.reading import ReadEnvelope
from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.dataset.card import (
    CARD_FILE,
    CORPUS_TAG,
    ENVELOPE_FILE,
    render_card,
)
from inferencebench_pipeline.hub.dataset.listing import crawling_hub, fetch_file, list_published
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.hub.names import RepoId, RepoKind
from inferencebench_pipeline.sandbox.hub.store import HubStore
from inferencebench_pipeline.sandbox.process import running_sandbox
from tests.hub.records import SIGNER, signed_looking, unsigned_envelope

OWNER = "inferencebench-sandbox"
SAMPLE_OWNER = "a-thousand"
_SAMPLE = 300
_FLUSHED_SAMPLE = 1_000


@dataclass(frozen=True)
class Row:
    """One way of reading the namespace."""

    name: str
    repositories: int
    requests: int
    time_s: float


def main() -> None:
    """Make the repositories, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repositories", type=int, default=10_000)
    count = parser.parse_args().repositories
    with tempfile.TemporaryDirectory(prefix="crawl-") as folder:
        state = Path(folder)
        started_s = time.perf_counter()
        fill(state / "hub", count)
        fill(state / "hub", min(_FLUSHED_SAMPLE, count), SAMPLE_OWNER)
        print(f"{count} repositories written in {time.perf_counter() - started_s:.0f} s")
        with running_sandbox(state) as sandbox:
            faults = Faults(sandbox.hub_url)
            store = state / "store"
            # A first request opens the connections and warms the sandbox's own caches.
            next(iter(list_published(_hub(sandbox.hub_url), OWNER)))
            rows = [
                measured("list only", _hub(sandbox.hub_url), lambda hub: list_all(hub, count)),
                measured("read envelopes", _hub(sandbox.hub_url), lambda hub: read_all(hub, count)),
                measured("first crawl", _hub(sandbox.hub_url), lambda hub: ours(hub, store, count)),
                measured("crawl again", _hub(sandbox.hub_url), lambda hub: ours(hub, store, count)),
                flushed_one_by_one(
                    _hub(sandbox.hub_url), state / "flushed", min(_FLUSHED_SAMPLE, count)
                ),
                library(sandbox.hub_url, faults, state / "cache", min(_SAMPLE, count)),
            ]
    print_table(rows, count)


def fill(root: Path, count: int, owner: str = OWNER) -> None:
    """Write ``count`` published records into a sandbox's store."""
    run_id = new_run_id()
    envelope = signed_looking(unsigned_envelope(run_id))
    name = f"{owner}/smollm2__chat__{run_id}"
    data = serialise(envelope)
    card = render_card(ReadEnvelope(envelope), name, signer=SIGNER, endpoint="http://127.0.0.1")
    # Durability is of no use here and costs a minute: six files a repository, each flushed.
    with mock.patch("os.fsync"):
        store = HubStore(root)
        for _ in range(count):
            other = new_run_id()
            repo_id = RepoId(RepoKind.DATASET, owner, f"smollm2__chat__{other}")
            files = {
                ENVELOPE_FILE: data.replace(run_id.encode(), other.encode()),
                CARD_FILE: card.replace(run_id.encode(), other.encode()),
            }
            store.create(repo_id, author=owner, files=files)


def list_all(hub: Hub, count: int) -> None:
    """Read the list with each head's commit and card."""
    found = sum(1 for _ in list_published(hub, OWNER))
    assert found == count, f"{found} of {count} repositories listed"


def read_all(hub: Hub, count: int) -> None:
    """Read the list and every envelope by commit, and keep nothing."""
    read = [
        fetch_file(hub, listed.repo_id, listed.revision, ENVELOPE_FILE)
        for listed in list_published(hub, OWNER)
    ]
    assert len(read) == count


def ours(hub: Hub, store: Path, count: int, owner: str = OWNER) -> None:
    """Crawl: the list, and what is new by commit: hashed, parsed, kept and flushed to disk."""
    inventory = crawl(hub, owner, CorpusStore(store))
    assert len(inventory.entries) == count


def flushed_one_by_one(hub: Hub, store: Path, count: int) -> Row:
    """Crawl like :func:`ours`, with every blob brought to disk as it comes."""
    put = BlobStore.put

    def put_and_sync(blobs: BlobStore, data: bytes) -> str:
        sha256 = put(blobs, data)
        blobs.sync()
        return sha256

    with mock.patch.object(BlobStore, "put", put_and_sync):
        row = measured("flushed one by one", hub, lambda hub: ours(hub, store, count, SAMPLE_OWNER))
    return replace(row, repositories=count)


def measured(name: str, hub: Hub, action: Callable[[Hub], None]) -> Row:
    """Return how long ``action`` took and how many requests it sent."""
    started_s = time.perf_counter()
    action(hub)
    elapsed_s = time.perf_counter() - started_s
    requests = hub.budget.report()
    print(f"{name}: {elapsed_s:.1f} s, {requests}")
    return Row(name, 0, requests.total, elapsed_s)


def library(endpoint: str, faults: Faults, cache: Path, sample: int) -> Row:
    """Read ``sample`` repositories as the client library's documentation does."""
    api = HfApi(endpoint=endpoint, token=False)
    faults.clear_requests()
    started_s = time.perf_counter()
    listed = api.list_datasets(author=OWNER, filter=CORPUS_TAG, limit=sample)
    for row in listed:
        api.dataset_info(row.id)
        hf_hub_download(
            row.id,
            ENVELOPE_FILE,
            repo_type="dataset",
            cache_dir=cache,
            endpoint=endpoint,
            token=False,
        )
    elapsed_s = time.perf_counter() - started_s
    return Row("client library", sample, len(faults.requests()), elapsed_s)


def print_table(rows: list[Row], count: int) -> None:
    """Print requests and time, each beside the first crawl's."""
    base = next(row for row in rows if row.name == "first crawl")
    print(f"\n{count} repositories, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':28}{'requests':>10}{'time s':>9}{'x first crawl: requests':>25}{'time':>8}")
    for row in rows:
        scale = count / row.repositories if row.repositories else 1.0
        requests, time_s = row.requests * scale, row.time_s * scale
        name = f"{row.name}{' (scaled)' if scale != 1.0 else ''}"
        print(
            f"{name:28}{requests:10.0f}{time_s:9.1f}"
            f"{requests / base.requests:25.3f}{time_s / base.time_s:8.3f}"
        )


def _hub(endpoint: str) -> Hub:
    return crawling_hub(endpoint, lambda: None)


if __name__ == "__main__":
    main()
