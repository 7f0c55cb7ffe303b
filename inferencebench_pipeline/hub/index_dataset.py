"""The index dataset on the Hub: the tables, ``leaderboard.json`` and the corpus statement."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.client.edit import RemoteRepo
from inferencebench_pipeline.hub.client.repo import RepoHead
from inferencebench_pipeline.hub.dataset.card import CARD_FILE
from inferencebench_pipeline.hub.takedowns.public_register import index_repo

_MESSAGE = "Index and corpus statement"


@dataclass(frozen=True)
class CorpusReceipt:
    """The state of the dataset on the Hub."""

    repo_id: str
    commit: str
    url: str
    uploaded: tuple[str, ...] = ()
    """The files that were not there as they are now."""


def publish_corpus(
    hub: Hub,
    organisation: str,
    files: Mapping[str, bytes | Path],
    *,
    owned: str | None = None,
    withdrawn: Collection[str] = (),
) -> CorpusReceipt:
    """Commit ``files`` to the organisation's index dataset, which is made when it is absent.

    One commit, of the files that differ from those there; none when nothing does. Each attempt is
    built on the head it saw. Files of others in the dataset stay as they are.

    Args:
        hub: with a token that may write there.
        organisation: whose dataset it is.
        files: content, or where it lies, by path.
        owned: a folder of the dataset that holds nothing but ``files``: what else is there goes.
        withdrawn: files that must not stay beside these, and go where they are there. Its history
            keeps them.

    Raises:
        HubPermissionError: the token may not write there.
        HubUnavailableError: the Hub is down, or somebody else kept committing meanwhile.
    """
    index = RemoteRepo(hub, index_repo(organisation))
    edit = index.commit(
        index.head_or_created(),
        lambda head: _changes(
            head, {**files, CARD_FILE: index_card(organisation)}, owned, withdrawn
        ),
        message=_MESSAGE,
    )
    return CorpusReceipt(index.repo.id, edit.commit, index.page_url, tuple(sorted(edit.changes)))


def published_file(hub: Hub, organisation: str, path: str) -> bytes | None:
    """Return a file of the organisation's index dataset; None when it is not there.

    Raises:
        HubUnavailableError: the Hub is down.
    """
    repo = index_repo(organisation)
    head = hub.find(repo)
    if head is None or head.commit is None or path not in head.files:
        return None
    return hub.fetch(repo, head.commit, path)


def index_card(organisation: str) -> bytes:
    """Return the dataset's card: what the tables hold, and queries over them that run."""
    template = resources.files(__package__) / "templates" / "index_card.md"
    text = template.read_text(encoding="utf-8")
    return text.replace("{{ repo_id }}", index_repo(organisation).id).encode()


def _changes(
    head: RepoHead,
    wanted: Mapping[str, bytes | Path],
    owned: str | None,
    withdrawn: Collection[str],
) -> dict[str, bytes | None]:
    """Return the files to send, and those to remove: in the folder ``owned``, and withdrawn."""
    changes: dict[str, bytes | None] = {
        path: data
        for path, content in wanted.items()
        if (data := _differing(head, path, content)) is not None
    }
    if owned is not None:
        changes |= {
            path: None for path in head.files if path.startswith(f"{owned}/") and path not in wanted
        }
    return changes | {path: None for path in withdrawn if path in head.files}


def _differing(head: RepoHead, path: str, content: bytes | Path) -> bytes | None:
    """Return the content of a file unless the dataset holds just that."""
    data = content.read_bytes() if isinstance(content, Path) else content
    there = head.listing.get(path)
    return None if there is not None and there.is_of(data) else data
