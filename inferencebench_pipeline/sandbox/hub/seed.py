"""The model repository that each sandbox starts with, so that a run has a card to link from."""

from __future__ import annotations

from pathlib import Path

from inferencebench_pipeline.sandbox.hub.identities import SEEDED_MODEL_OWNER
from inferencebench_pipeline.sandbox.hub.names import RepoId, RepoKind
from inferencebench_pipeline.sandbox.hub.store import HubStore

SEEDED_MODEL = RepoId(RepoKind.MODEL, SEEDED_MODEL_OWNER, "SmolLM2-135M-Instruct")

_CARD = Path(__file__).with_name("seeded_model_card.md")


def seed(store: HubStore) -> None:
    """Create the seeded model unless it is there; a deleted one comes back at the next start."""
    if store.find(SEEDED_MODEL) is None:
        store.create(
            SEEDED_MODEL, author=SEEDED_MODEL_OWNER, files={"README.md": _CARD.read_bytes()}
        )
