"""A folder that plays the Hub, and an empty store."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from tests.corpus.world import FolderHub


@pytest.fixture
def hub(tmp_path: Path) -> FolderHub:
    return FolderHub(tmp_path / "hub")


@pytest.fixture
def store(tmp_path: Path) -> LeaderboardStore:
    return LeaderboardStore(tmp_path / "store")
