"""Checks of a record against what was asked for: its place, its card, and what a reader expects.

A genuine record at a place that claims another one is the oldest trick with signed files. The
comparisons themselves are the Hub's; here they become checks of the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from inferencebench_pipeline.cli.targets import Target
from inferencebench_pipeline.envelope import read_unambiguous
from inferencebench_pipeline.trust import Check, CheckStatus, FailureClass, Outcome, Verdict
from inferencebench_pipeline.untrusted import printable

PLACE_CHECK: Final = "place_agrees"
EXPECTED_CHECK: Final = "expected_record"
_SHOWN: Final = 200


def with_place(verdict: Verdict, target: Target) -> Verdict:
    """Return the verdict with one more check, if the target is a repository or has a card.

    Args:
        verdict: on the target's bytes.
        target: where they were found.
    """
    if target.repo_id is None and target.card is None:
        return verdict
    if not verdict.signature_holds:
        return _skipped(verdict, PLACE_CHECK)
    problems, omissions = _compared(target, verdict.ok)
    if problems:
        return _failed(verdict, PLACE_CHECK, "; ".join(problems))
    compared = [
        name
        for name, there in (
            ("the repository's name", target.repo_id is not None),
            ("the card", target.card is not None),
        )
        if there
    ]
    said = f"{' and '.join(compared)} claim{'s' * (len(compared) == 1)} nothing else"
    if target.card is None:
        said = f"{said}; there is no card (README.md) to compare"
    said = "; ".join([said, *omissions])
    return _with(verdict, PLACE_CHECK, CheckStatus.PASSED, said)


def with_expectations(
    verdict: Verdict, target: Target, *, model: str | None, run: str | None
) -> Verdict:
    """Return the verdict with one more check, if a reader names the model or the run it is to be.

    Args:
        verdict: on the target's bytes.
        target: where they were found.
        model: the model's id that the record must name; any when None.
        run: the run's id that the record must name; any when None.
    """
    if model is None and run is None:
        return verdict
    if not verdict.signature_holds:
        return _skipped(verdict, EXPECTED_CHECK)
    envelope = read_unambiguous(target.envelope).envelope
    problems = [
        f"the record is of {what} {printable(given, _SHOWN)}, and you expect {wanted}"
        for what, wanted, given in (
            ("model", model, envelope.model.id),
            ("run", run, envelope.run_id),
        )
        if wanted not in (None, given)
    ]
    if problems:
        return _failed(verdict, EXPECTED_CHECK, "; ".join(problems))
    named = " and ".join(name for name in (model, run) if name is not None)
    return _with(verdict, EXPECTED_CHECK, CheckStatus.PASSED, f"the record is of {named}")


def _compared(target: Target, verified: bool) -> tuple[Sequence[str], Sequence[str]]:
    """Return what the place says and the record does not, and what its card leaves out."""
    # Loaded here: most records are verified as files, which have no place.
    from inferencebench_pipeline.hub import (
        CardError,
        card_differences,
        card_omissions,
        place_differences,
        read_card,
    )

    # A record whose signature holds has been read before.
    read = read_unambiguous(target.envelope)
    problems = (
        [] if target.repo_id is None else list(place_differences(target.repo_id, read.envelope))
    )
    if target.card is None:
        return problems, []
    try:
        card = read_card(target.card)
    except CardError as error:
        return [*problems, str(error)], []
    problems += card_differences(card, read, verified=verified)
    return problems, list(card_omissions(card, read))


def _skipped(verdict: Verdict, name: str) -> Verdict:
    return _with(verdict, name, CheckStatus.SKIPPED, "not reached: the record is not accepted")


def _failed(verdict: Verdict, name: str, detail: str) -> Verdict:
    failed = _with(verdict, name, CheckStatus.FAILED, detail)
    return failed.model_copy(
        update={
            "ok": False,
            "outcome": Outcome.REJECTED,
            "reason": f"{name}: {detail}",
            "failure_class": FailureClass.PLACE_DISAGREES,
        }
    )


def _with(verdict: Verdict, name: str, status: CheckStatus, detail: str) -> Verdict:
    check = Check(name=name, status=status, detail=printable(detail, 4_000))
    return verdict.model_copy(update={"checks": (*verdict.checks, check)})
