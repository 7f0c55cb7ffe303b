"""The public copy of the takedown register: ``takedowns.json`` in our index dataset on the Hub.

Whoever asked can look it up without us, and every deployment that publishes under our namespace
reads it before it links anything, so that a laptop with an empty store respects it as well.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.client.edit import RemoteRepo, just_written
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.dataset.card import CARD_FILE
from inferencebench_pipeline.hub.takedowns.register import (
    REGISTER_FILE,
    Takedown,
    TakedownError,
    Takedowns,
    load_takedowns,
)

INDEX_CARD = b"""---
license: cc-by-4.0
pretty_name: InferenceBench index
tags:
- inferencebench-index
viewer: false
---
# InferenceBench index

`takedowns.json` lists the models and organisations whose cards we link nothing from, because their
authors asked us to: who asked, when, why, and what was done.

`corpus_statement.sigstore.json`, when it is here, is one signature over everything that we have
published and verified: an in-toto statement whose subjects are the envelopes, by SHA-256, with a
SLSA verification summary. It binds the rows of `corpus.parquet` and the files of the leaderboard.
`inferencebench verify --corpus hf://datasets/...` with the name of this dataset compares them all.
"""
"""Card of the index dataset."""


def index_repo(organisation: str) -> Repo:
    """Return the dataset that holds what this organisation publishes about its records."""
    return Repo("dataset", f"{organisation}/inferencebench-index")


def known_takedowns(hub: Hub, root: Path, organisation: str) -> Takedowns:
    """Return every takedown that holds: those in the store under ``root`` and the public ones.

    Raises:
        TakedownError: a register cannot be read. Nothing may be linked then: it might forbid it.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`, with
            the same meaning.
    """
    known = load_takedowns(root)
    repo = index_repo(organisation)
    head = hub.find(repo)
    if head is None or REGISTER_FILE not in head.files:
        return known
    for takedown in _parse(hub, repo, hub.read(repo, head, REGISTER_FILE)).takedowns:
        if known.of(takedown.target) is None:
            known = known.with_takedown(takedown)
    return known


def publish_takedown(hub: Hub, organisation: str, takedown: Takedown) -> str:
    """Add ``takedown`` to the public register, or replace its entry; return the page to look at.

    Raises:
        TakedownError: what is there is not a register of ours; it is left alone.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`.
    """
    repo = index_repo(organisation)
    index = RemoteRepo(hub, repo)
    if CARD_FILE not in index.head_or_created().files:
        with just_written(repo.id):
            # Somebody may have written a card between the two looks, and theirs stays.
            index.edit_file(CARD_FILE, lambda card: card or INDEX_CARD, message="Say what this is")

    def change(data: bytes | None) -> bytes:
        listed = Takedowns() if data is None else _parse(hub, repo, data)
        if takedown == listed.of(takedown.target):
            return data or b""
        return listed.with_takedown(takedown).model_dump_json(indent=2).encode() + b"\n"

    index.edit_file(REGISTER_FILE, change, message=f"Takedown of {takedown.target}")
    return f"{hub.page_url(repo)}/blob/main/{REGISTER_FILE}"


def _parse(hub: Hub, repo: Repo, data: bytes) -> Takedowns:
    try:
        return Takedowns.model_validate_json(data)
    except ValidationError as error:
        raise TakedownError(
            f"{hub.page_url(repo)}: {REGISTER_FILE} is no register of takedowns; restore it from "
            "its history before linking anything: it says where we must not"
        ) from error
