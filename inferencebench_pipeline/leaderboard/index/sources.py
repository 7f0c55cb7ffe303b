"""Digests of what an index is made from, to be compared with what the last one was made from.

Not what each day consists of, which the build itself finds out (``parquet/inputs.py``): these are
cheap enough to ask for every half minute, and say only whether a build is due.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from inferencebench_pipeline.community_results import REGISTER_FILE as COMMUNITY_REGISTER_FILE
from inferencebench_pipeline.corpus import (
    verified_days,
)
from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.files import file_state, is_plain_file, read_plain, write_changed
from inferencebench_pipeline.hub import REGISTER_FILE as TAKEDOWN_REGISTER_FILE
from inferencebench_pipeline.leaderboard.index.parquet.made_by import made_by
from inferencebench_pipeline.leaderboard.index.parquet.manifest import digest
from inferencebench_pipeline.leaderboard.store import LeaderboardStore

_FILE: Final = "built_from.json"


class Sources(DocumentPart):
    """The corpus that an index is made from, as digests: equal ones need no build."""

    records: str
    """Digest of the table that every verification writes when it ends."""
    corpus: str
    """Digest of that, verdicts, registers, the logs' reports, the prices and this version."""

    @classmethod
    def now(cls, store: LeaderboardStore, prices: Path | None = None) -> Sources:
        """Return the digests of what is there now.

        A file that is only ever replaced is known by its size, time and inode; a small one, which
        may be written again with the same content, by its content. What cannot be read has a
        digest too: the build is what says what is wrong with it.
        """
        records = file_state(store.corpus.records_path)
        small = (
            store.root / TAKEDOWN_REGISTER_FILE,
            store.root / COMMUNITY_REGISTER_FILE,
            store.corpus.log_reports_path,
            prices,
        )
        parts = [
            made_by(),
            records,
            *(
                f"{day} {file_state(store.corpus.verdicts_path(day))}"
                for day in verified_days(store.corpus)
            ),
            *("absent" if path is None else _content(path) for path in small),
        ]
        return cls(records=records, corpus=digest(f"{part}\n".encode() for part in parts))

    @classmethod
    def of_the_index(cls, store: LeaderboardStore) -> Sources | None:
        """Return what the index that is there was made from; None when there is none to trust."""
        if not is_plain_file(store.document_path):
            return None
        try:
            return cls.model_validate_json(read_plain(store.built_from_path))
        except (OSError, ValidationError):
            return None

    def keep(self, store: LeaderboardStore) -> None:
        """Write down that the index was made from these. They are taken before the build reads.

        Raises:
            StoreError: the folder cannot be written.
        """
        write_changed(store.built_from_path, self.model_dump_json(indent=1).encode() + b"\n")


def anything_verified(store: LeaderboardStore) -> bool:
    """Return whether there is a verdict to make an index from."""
    return store.corpus.records_path.exists() or bool(verified_days(store.corpus))


def _content(path: Path) -> str:
    try:
        return hashlib.sha256(read_plain(path)).hexdigest()
    except OSError as error:
        return f"unreadable: {error.errno}"
