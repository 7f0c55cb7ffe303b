"""A snapshot of the published form of the index, for a statement that names each of its files."""

from __future__ import annotations

from pathlib import Path

from inferencebench_pipeline.errors import RetryableError
from inferencebench_pipeline.files import read_plain
from inferencebench_pipeline.leaderboard.index.build import LeaderboardError
from inferencebench_pipeline.leaderboard.index.export import published_files
from inferencebench_pipeline.leaderboard.index.sources import Sources
from inferencebench_pipeline.leaderboard.store import LeaderboardStore


class StaleIndexError(RetryableError):
    """The index was built from other verdicts than those that are stored now."""


def published_snapshot(store: LeaderboardStore, prices: Path | None = None) -> dict[str, bytes]:
    """Return the content of each published file of the index, by its path in the dataset.

    It is read while nobody builds, and only when the index was made from the verdicts, registers
    and prices as they are now: what is stated about the one is true of the other.

    Args:
        store: the store.
        prices: what the costs of the index are computed from.

    Raises:
        StaleIndexError: it is not; another build has to come first.
        LeaderboardError: there is no index, or it cannot be read.
        StoreError: the files cannot be written.
        LockedError: a build is not finished yet.
    """
    with store.building():
        if Sources.of_the_index(store) != Sources.now(store, prices):
            raise StaleIndexError(
                f"the index in {store.folder} was not built from the verdicts and registers as "
                "they are now; materialise leaderboard_index, and then this again"
            )
        try:
            return {path: read_plain(file) for path, file in published_files(store).items()}
        except OSError as error:
            raise LeaderboardError(
                f"cannot read the published form of the index in {store.folder}: "
                f"{error.strerror or error}; materialise leaderboard_index again"
            ) from error
