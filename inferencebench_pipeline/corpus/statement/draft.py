"""The draft of a statement: what it will say, before anything is signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from inferencebench_pipeline.corpus.statement.verified_records import (
    CorpusNotCleanError,
    VerifiedRecord,
)
from inferencebench_pipeline.corpus.verdicts import Rules
from inferencebench_pipeline.trust import CorpusRow, build_statement


@dataclass(frozen=True)
class CorpusDraft:
    """The content of a statement, before anything is signed."""

    organisation: str
    """The organisation that published the corpus."""
    records: list[VerifiedRecord]
    """Everything that it has published."""
    rules: Rules
    """The policy, trust root and version that the records were verified under."""
    index: Mapping[str, str]
    """The SHA-256 of each file of the leaderboard, by its path in the published dataset."""

    @property
    def rows(self) -> list[CorpusRow]:
        """The rows of the table, ordered by repository."""
        return [
            CorpusRow(
                repo_id=record.entry.repo_id,
                revision=record.entry.revision,
                created_day=record.entry.created_day,
                run_id=record.entry.run_id,
                envelope_sha256=record.entry.envelope_sha256 or "",
                traces_sha256=record.entry.traces_sha256,
            )
            for record in self.records
        ]

    def statement(self) -> bytes:
        """Return the exact bytes to sign.

        Raises:
            CorpusNotCleanError: there is nothing to state.
        """
        if not self.records:
            raise CorpusNotCleanError(
                f"{self.organisation} has published nothing; there is nothing to state"
            )
        return build_statement(
            self.rows,
            self.index,
            organisation=self.organisation,
            policy_sha256=self.rules.policy_sha256,
            trust_root_sha256=self.rules.trust_root_sha256,
            # The newest verdict and no clock, so that the same corpus gives the same statement.
            verified_at=max(record.verified_at for record in self.records),
        )
