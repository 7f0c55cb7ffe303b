"""The dataset that holds an organisation's corpus statement, its table and the index beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from inferencebench_pipeline.hub.client import Hub, HubHeadMovedError, HubNotFoundError, Repo

CORPUS_DATASET: Final = "inferencebench-corpus"
_ATTEMPTS = 4

_CARD = """\
---
pretty_name: Verified inference benchmarks of {organisation}
tags:
  - inferencebench-corpus
---

# Verified inference benchmarks of {organisation}

`corpus_statement.sigstore.json` is one signature over everything that {organisation} has published
and its pipeline has verified: an in-toto statement whose subjects are the envelopes, by SHA-256,
with a SLSA verification summary. `corpus.parquet` lists them.

```console
$ inferencebench verify --corpus hf://datasets/{organisation}/{name}
```
"""


@dataclass(frozen=True)
class CorpusReceipt:
    """Where a statement stands on the Hub."""

    repo_id: str
    commit: str
    url: str


def corpus_repo(organisation: str) -> Repo:
    """Return the dataset repository of an organisation's corpus."""
    return Repo("dataset", f"{organisation}/{CORPUS_DATASET}")


def publish_corpus(hub: Hub, organisation: str, files: Mapping[str, bytes]) -> CorpusReceipt:
    """Commit ``files`` and a card to the organisation's corpus dataset, made when it is absent.

    One commit; none when the files are there already. Each attempt is built on the head it saw.

    Raises:
        HubHeadMovedError: somebody else kept committing meanwhile.
        HubPermissionError: the token may not write there.
        HubUnavailableError: the Hub is down.
    """
    repo = corpus_repo(organisation)
    card = _CARD.format(organisation=organisation, name=CORPUS_DATASET).encode()
    content = {**files, "README.md": card}
    for _ in range(_ATTEMPTS - 1):
        try:
            return _commit(hub, repo, content)
        except HubHeadMovedError:
            continue
    return _commit(hub, repo, content)


def _commit(hub: Hub, repo: Repo, files: Mapping[str, bytes]) -> CorpusReceipt:
    try:
        head = hub.head(repo).commit
    except HubNotFoundError:
        hub.create(repo)
        head = hub.head(repo).commit
    commit = hub.commit(repo, files, message="Corpus statement", parent=head)
    return CorpusReceipt(repo.id, commit, hub.page_url(repo))
