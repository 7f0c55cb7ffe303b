"""The leaderboard's part of a store: the paths of the index, of its document and of the site."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from inferencebench_pipeline.corpus import CorpusStore
from inferencebench_pipeline.files import file_lock


@dataclass(frozen=True)
class LeaderboardStore:
    """The index and the site, as they are kept under ``<root>/leaderboard``."""

    root: Path
    """The root of the whole store; the corpus and the public registers lie there, too."""

    @property
    def corpus(self) -> CorpusStore:
        """The corpus that the index is made from."""
        return CorpusStore(self.root)

    @property
    def folder(self) -> Path:
        """The folder of the index."""
        return self.root / "leaderboard"

    @property
    def document_path(self) -> Path:
        """The path of ``leaderboard.json``."""
        return self.folder / "leaderboard.json"

    @property
    def built_from_path(self) -> Path:
        """The path of the digests that the index was made from."""
        return self.folder / "built_from.json"

    @property
    def site_folder(self) -> Path:
        """The folder of the rendered pages."""
        return self.folder / "site"

    def building(self) -> AbstractContextManager[None]:
        """Hold the lock of the one who builds: another build would remove new partitions."""
        return file_lock(self.folder / ".lock", what=f"a build of the index in {self.folder}")
