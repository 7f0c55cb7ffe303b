"""Manifest of the index on disk: its current partitions, and the digests that decided each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from inferencebench_pipeline.files import read_plain, sealed, unsealed, without_seal, write_changed
from inferencebench_pipeline.leaderboard.index.parquet.made_by import made_by

MANIFEST_FILE: Final = "index.json"
DOCUMENT_FILE: Final = "leaderboard.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DayInputs(_Part):
    """Digests of all that decides a day's partitions: equal ones need no work."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inventory: str
    verdicts: str
    """Size, time and inode of the file, which verification replaces only when it says more."""
    noted: str


class DayRecord(_Part):
    """A day that is in the index."""

    inputs: DayInputs
    rows: int
    metrics: str | None
    """Name of its partition of metrics; None when none of its runs has any."""


class Manifest(_Part):
    """The partitions of the index. It is written after them and before the document."""

    made_by: str = Field(default_factory=made_by)
    days: dict[str, DayRecord] = {}
    spans: dict[str, str] = {}
    """Name of each span's partition of runs."""

    @classmethod
    def load(cls, folder: Path, *, to_build_upon: bool = False) -> Manifest:
        """Return the manifest in ``folder``; an empty one when there is none that can be used.

        Args:
            folder: of the index.
            to_build_upon: also one that anything was changed in counts as none; all is then made
                anew.
        """
        try:
            data = read_plain(folder / MANIFEST_FILE)
            found = cls.model_validate_json(unsealed(data) if to_build_upon else without_seal(data))
        except (OSError, ValueError):
            return cls()
        return found if found.made_by == made_by() else cls()

    def save(self, folder: Path) -> None:
        """Write the manifest, whole or not at all, unless it is there already.

        Raises:
            StoreError: the folder cannot be written.
        """
        data = self.model_dump_json(indent=1).encode() + b"\n"
        write_changed(folder / MANIFEST_FILE, sealed(data))

    def partitions(self) -> set[str]:
        """Return the names of all partitions."""
        metrics = {day.metrics for day in self.days.values() if day.metrics is not None}
        return metrics | set(self.spans.values())

    def run_files(self, folder: Path) -> list[str]:
        """Return the paths of the partitions of runs, oldest span first."""
        return [str(folder / self.spans[span]) for span in sorted(self.spans)]


def digest(parts: Iterable[bytes]) -> str:
    """Return 32 hex digits of the SHA-256 over ``parts``."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()[:32]
