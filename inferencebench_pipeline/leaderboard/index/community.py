"""What others decided about results: merged and withheld evaluations, and takedowns."""

from __future__ import annotations

from collections.abc import Iterable

from inferencebench_pipeline.community_results import CommunityResult, EvaluationRegister
from inferencebench_pipeline.hub import Takedowns
from inferencebench_pipeline.leaderboard.document import (
    EvaluationRow,
    TakedownRow,
    Tier,
    WithheldRow,
)

_TIERS: dict[str, Tier] = {"open": "community", "merged": "merged", "withheld": "withheld"}


def evaluation_rows(
    register: EvaluationRegister,
) -> tuple[list[EvaluationRow], list[WithheldRow]]:
    """Return the register's results: those that can be seen, and those that were made to go."""
    shown: list[EvaluationRow] = []
    withheld: list[WithheldRow] = []
    for result in register.results:
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


def takedown_rows(register: Takedowns) -> Iterable[TakedownRow]:
    """Yield the register's requests."""
    for item in register.takedowns:
        carried_out = item.carried_out_at
        yield TakedownRow(
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
