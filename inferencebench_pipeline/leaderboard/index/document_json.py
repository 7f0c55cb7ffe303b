"""``leaderboard.json``, put together from the JSON of its groups and of what others decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw
from pydantic import BaseModel

from inferencebench_pipeline.corpus import Finding
from inferencebench_pipeline.leaderboard.analysis.change_points import (
    TestedChange,
    significant_changes,
)
from inferencebench_pipeline.leaderboard.analysis.quality_variance import quality_variances
from inferencebench_pipeline.leaderboard.analysis.variance import (
    KeptVariance,
    significant_variances,
)
from inferencebench_pipeline.leaderboard.document import FORMAT, FindingRow
from inferencebench_pipeline.leaderboard.index.community import others_decisions
from inferencebench_pipeline.leaderboard.index.group_cache import KeptGroup
from inferencebench_pipeline.leaderboard.index.parquet.partition_summary import Standing
from inferencebench_pipeline.leaderboard.store import LeaderboardStore


def document_json(
    store: LeaderboardStore,
    groups: Sequence[KeptGroup],
    standing: Standing,
    unplaced: Iterable[Finding],
) -> bytes:
    """Return ``leaderboard.json``, a ``Summary`` with a line for each thing in a list.

    Args:
        store: the store whose public registers are read.
        groups: all comparison groups, in order.
        standing: of all rows.
        unplaced: the findings about repositories that are not in the index.

    Raises:
        TakedownError, EvaluationRegisterError: a register cannot be read.
    """
    others = others_decisions(store.root)
    spreads = [item for group in groups for item in group.variances]
    spreads.extend(map(KeptVariance.of, quality_variances(others.results)))
    tested = [TestedChange.of_kept(item) for group in groups for item in group.changes]
    lists: dict[str, Iterable[Raw | BaseModel]] = {
        "groups": [group.group for group in groups],
        "changes": significant_changes(tested),
        "variances": significant_variances(spreads),
        "findings": [*map(_finding, unplaced), *standing.findings],
        "evaluations": others.evaluations,
        "withheld": others.withheld,
        "takedowns": others.takedowns,
    }
    lines = {name: list(map(_line, items)) for name, items in lists.items()}
    return msgspec.json.encode({"format": FORMAT, "states": standing.states} | lines) + b"\n"


def _finding(item: Finding) -> FindingRow:
    return FindingRow(
        repo_id=item.repo_id,
        kind=item.kind,
        severity=item.severity.value,
        revision=item.revision,
        detail=item.detail,
        seen_at=item.seen_at.isoformat(),
    )


def _line(item: Raw | BaseModel) -> Raw:
    """Return the JSON of a value on a line of its own, for whoever compares two documents."""
    if isinstance(item, BaseModel):
        return Raw(b"\n" + item.model_dump_json(exclude_none=True).encode())
    return Raw(b"\n" + bytes(item))
