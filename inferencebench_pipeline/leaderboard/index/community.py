"""The decisions of others about results: merged and withheld evaluations, and takedowns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from inferencebench_pipeline.community_results import CommunityResult, load_evaluations
from inferencebench_pipeline.hub import Takedown, load_takedowns
from inferencebench_pipeline.leaderboard.document import (
    EvaluationRow,
    TakedownRow,
    Tier,
    WithheldRow,
)

_TIERS: dict[str, Tier] = {"open": "community", "merged": "merged", "withheld": "withheld"}


@dataclass(frozen=True)
class OthersDecisions:
    """The lists of what others decided."""

    results: tuple[CommunityResult, ...]
    """All results of quality, as the register has them."""
    evaluations: list[EvaluationRow]
    """Those that can be seen."""
    withheld: list[WithheldRow]
    """Those that were made to go."""
    takedowns: list[TakedownRow]


def others_decisions(root: Path) -> OthersDecisions:
    """Return what the public registers of the store in ``root`` say.

    Raises:
        TakedownError, EvaluationRegisterError: a register cannot be read.
    """
    results = load_evaluations(root).results
    shown, withheld = _evaluation_rows(results)
    takedowns = [_takedown(item) for item in load_takedowns(root).takedowns]
    return OthersDecisions(tuple(results), shown, withheld, takedowns)


def _evaluation_rows(
    results: Iterable[CommunityResult],
) -> tuple[list[EvaluationRow], list[WithheldRow]]:
    """Return the results that can be seen, and those that were made to go."""
    shown: list[EvaluationRow] = []
    withheld: list[WithheldRow] = []
    for result in results:
        row = _evaluation(result)
        if result.state == "withheld" and result.withheld:
            last = result.withheld[-1]
            withheld.append(
                WithheldRow(
                    **row.model_dump(),
                    withheld_at=last.at.isoformat(),
                    withheld_by=last.by,
                    withheld_url=last.url,
                )
            )
        else:
            shown.append(row)
    return shown, withheld


def _takedown(item: Takedown) -> TakedownRow:
    carried_out = item.carried_out_at
    return TakedownRow(
        target=item.target,
        reason=item.reason,
        requested_by=item.requested_by,
        requested_at=item.requested_at.isoformat(),
        carried_out_at=carried_out.isoformat() if carried_out else None,
        outcome=item.outcome,
    )


def _evaluation(result: CommunityResult) -> EvaluationRow:
    return EvaluationRow(
        tier=_TIERS.get(result.state),
        state=result.state,
        model_id=result.model_id,
        dataset_id=result.entry.dataset.id,
        task_id=result.entry.dataset.task_id,
        value=float(result.entry.value),
        url=result.url,
        proposed_by=result.proposed_by,
        ours=result.ours,
        first_seen_at=result.first_seen_at.isoformat(),
    )
