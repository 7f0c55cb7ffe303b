"""``leaderboard.json``, put together from the JSON of its groups and of what others decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Raw
from pydantic import BaseModel

from inferencebench_pipeline.community_results import load_evaluations
from inferencebench_pipeline.hub import load_takedowns
from inferencebench_pipeline.leaderboard.analysis.change_points import significant_changes
from inferencebench_pipeline.leaderboard.analysis.quality_variance import quality_variances
from inferencebench_pipeline.leaderboard.analysis.variance import (
    KeptVariance,
    significant_variances,
)
from inferencebench_pipeline.leaderboard.document import FORMAT, FindingRow
from inferencebench_pipeline.leaderboard.index.community import evaluation_rows, takedown_rows
from inferencebench_pipeline.leaderboard.index.group_cache import KeptGroup
from inferencebench_pipeline.leaderboard.store import LeaderboardStore


def document_json(
    store: LeaderboardStore,
    groups: Sequence[KeptGroup],
    states: Mapping[str, int],
    findings: Iterable[FindingRow],
) -> bytes:
    """Return ``leaderboard.json``, a ``Summary`` with a line for each thing in a list.

    Args:
        store: the store whose public registers are read.
        groups: all comparison groups, in order.
        states: how many rows are in each state.
        findings: what is wrong, or worth knowing.

    Raises:
        TakedownError, EvaluationRegisterError: a register cannot be read.
    """
    register = load_evaluations(store.root)
    evaluations, withheld = evaluation_rows(register)
    spreads = [item for group in groups for item in group.variances]
    spreads.extend(map(KeptVariance.of, quality_variances(register.results)))
    changes = significant_changes([item for group in groups for item in group.tested_changes()])
    lists: dict[str, list[Raw]] = {
        "groups": [group.group for group in groups],
        "changes": _json(changes),
        "variances": significant_variances(spreads),
        "findings": _json(findings),
        "evaluations": _json(evaluations),
        "withheld": _json(withheld),
        "takedowns": _json(takedown_rows(load_takedowns(store.root))),
    }
    lines = {name: list(map(_on_a_line, items)) for name, items in lists.items()}
    return msgspec.json.encode({"format": FORMAT, "states": states} | lines) + b"\n"


def _json(items: Iterable[BaseModel]) -> list[Raw]:
    return [Raw(item.model_dump_json(exclude_none=True).encode()) for item in items]


def _on_a_line(item: Raw) -> Raw:
    """Return a value that begins a line of the document, for whoever compares two of them."""
    return Raw(b"\n" + bytes(item))
