"""The corpus's part of a store: the paths of its files, and the locks of those who write them.

The files are read and written by the modules named after them; nothing here knows their content.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from inferencebench_pipeline.corpus.blobs import BlobStore
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import file_lock


class VerdictsError(PermanentError):
    """A day is not a date, or its stored verdicts cannot be read."""


@dataclass(frozen=True)
class CorpusStore:
    """Everything that is published, as it is kept under ``<root>/corpus``."""

    root: Path
    """The root of the whole store; the run directories and the registers lie there, too."""

    @property
    def folder(self) -> Path:
        """The folder of the corpus."""
        return self.root / "corpus"

    @property
    def inventory_path(self) -> Path:
        """The path of the inventory, a Parquet file."""
        return self.folder / "inventory.parquet"

    @property
    def findings_path(self) -> Path:
        """The path of the crawl's findings."""
        return self.folder / "findings.json"

    @property
    def records_path(self) -> Path:
        """The path of the table of records, a Parquet file."""
        return self.folder / "records.parquet"

    @property
    def verdicts_folder(self) -> Path:
        """The folder that holds a file of verdicts for each day."""
        return self.folder / "verdicts"

    @property
    def statement_folder(self) -> Path:
        """The folder of the corpus statement and its table."""
        return self.folder / "statement"

    @property
    def log_reports_path(self) -> Path:
        """The path of the last reports on the transparency logs."""
        return self.folder / "log_reports.json"

    @property
    def logs_folder(self) -> Path:
        """The folder that holds what was trusted and proved of each transparency log."""
        return self.folder / "logs"

    def verdicts_path(self, day: str) -> Path:
        """Return the path of the verdicts of ``day`` (ISO 8601, UTC).

        Raises:
            VerdictsError: ``day`` is not a date such as 2026-05-18; it would become a path.
        """
        if not is_day(day):
            raise VerdictsError(f"day {day!r} is not a date such as 2026-05-18")
        return self.verdicts_folder / f"{day}.jsonl"

    def blobs(self) -> BlobStore:
        """Return the content-addressed files, with nothing waiting to be synced."""
        return BlobStore(self.folder / "blobs")

    def verifying(self) -> AbstractContextManager[None]:
        """Hold the lock of the one who writes verdicts, or what is made of them."""
        what = f"a verification of the corpus in {self.root}"
        return file_lock(self.folder / ".verdicts.lock", what=what)

    def crawling(self) -> AbstractContextManager[None]:
        """Hold the lock of the one who reads the inventory and then writes it anew."""
        return file_lock(self.folder / ".inventory.lock", what=f"a crawl into {self.root}")


def is_day(text: str) -> bool:
    """Return whether ``text`` is a date such as 2026-05-18."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
