"""A folder that plays the Hub, and an empty store."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencebench_pipeline.corpus.store import CorpusStore
from tests.corpus.world import FolderHub


@pytest.fixture
def hub(tmp_path: Path) -> FolderHub:
    return FolderHub(tmp_path / "hub")


@pytest.fixture
def store(tmp_path: Path) -> CorpusStore:
    return CorpusStore(tmp_path / "store")
