"""The corpus statement on the Hub: in the organisation's index dataset, beside the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inferencebench_pipeline.hub.card import CARD_FILE
from inferencebench_pipeline.hub.client import Hub, HubHeadMovedError, Repo
from inferencebench_pipeline.hub.public_takedowns import INDEX_CARD, index_repo

_ATTEMPTS = 4


@dataclass(frozen=True)
class CorpusReceipt:
    """Where a statement stands on the Hub."""

    repo_id: str
    commit: str
    url: str


def publish_corpus(hub: Hub, organisation: str, files: Mapping[str, bytes]) -> CorpusReceipt:
    """Commit ``files`` to the organisation's index dataset, which is made when it is absent.

    One commit; none when the files are there already. Each attempt is built on the head it saw,
    and files of others in the dataset stay as they are.

    Raises:
        HubHeadMovedError: somebody else kept committing meanwhile.
        HubPermissionError: the token may not write there.
        HubUnavailableError: the Hub is down.
    """
    repo = index_repo(organisation)
    for _ in range(_ATTEMPTS - 1):
        try:
            return _commit(hub, repo, files)
        except HubHeadMovedError:
            continue
    return _commit(hub, repo, files)


def _commit(hub: Hub, repo: Repo, files: Mapping[str, bytes]) -> CorpusReceipt:
    head = hub.find(repo)
    if head is None:
        hub.account().require_creating_in(repo.namespace)
        hub.create(repo)
        head = hub.head(repo)
    card = {} if CARD_FILE in head.files else {CARD_FILE: INDEX_CARD}
    commit = hub.commit(repo, {**files, **card}, message="Corpus statement", parent=head.commit)
    return CorpusReceipt(repo.id, commit, hub.page_url(repo))
