"""The checks of a verdict: what each records, and that nothing of a record acts on a page."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.trust.verify.bundle import BundleRejectedError
from inferencebench_pipeline.trust.verify.checklist import Checklist, RejectedError
from inferencebench_pipeline.trust.verify.verdict import Check, CheckStatus, FailureClass

DETAILS = {"first": "the first holds", "second": "the second holds"}


def recorded(checklist: Checklist) -> list[Check]:
    return [Check.model_validate(check) for check in checklist.checks]


def test_an_interrupt_is_no_result_of_a_check() -> None:
    checklist = Checklist()

    with pytest.raises(KeyboardInterrupt), checklist.check("one", FailureClass.TAMPERED):
        raise KeyboardInterrupt

    assert checklist.checks == []


@pytest.mark.parametrize(
    ("error", "failed", "passed"),
    [
        (BundleRejectedError("second", "it does not hold"), "second", ["first"]),
        (RuntimeError("it does not hold"), "first", []),
    ],
)
def test_of_checks_made_in_one_the_named_one_failed_or_the_first(
    error: Exception, failed: str, passed: list[str]
) -> None:
    checklist = Checklist()

    with (
        pytest.raises(RejectedError, match="it does not hold") as rejected,
        checklist.checks_in_one(["first", "second"], DETAILS, FailureClass.SIGNATURE_INVALID),
    ):
        raise error

    assert (rejected.value.check, rejected.value.failure) == (
        failed,
        FailureClass.SIGNATURE_INVALID,
    )
    checks = recorded(checklist)
    assert [check.name for check in checks if check.status is CheckStatus.PASSED] == passed
    assert checks[-1].name == failed and checks[-1].status is CheckStatus.FAILED
    assert checks[-1].evidence == {"error": type(error).__name__}


@pytest.mark.parametrize("bad", ["\x1b[2J", "\u202e", "\n", "x" * 601 + "\x07"])
@pytest.mark.parametrize("place", ["evidence", "detail", "plain"])
def test_one_text_that_acts_leaves_the_others_as_they_are(bad: str, place: str) -> None:
    checklist = Checklist()
    detail = f"found {bad}" if place != "evidence" else "found"
    checklist.add("before", CheckStatus.PASSED, "kept", {"value": "as it is"})
    evidence = {} if place == "plain" else {"value": bad if place == "evidence" else "kept"}
    checklist.add("quoted", CheckStatus.PASSED, detail, evidence)

    before, quoted = recorded(checklist)

    assert (before.detail, before.evidence) == ("kept", {"value": "as it is"})
    assert "".join((quoted.detail, *quoted.evidence.values())).isprintable()


def test_a_long_text_is_bounded_wherever_it_stands() -> None:
    checklist = Checklist()
    checklist.add("one", CheckStatus.PASSED, "found", {"value": "x" * 10_000})
    checklist.add("two", CheckStatus.PASSED, "y" * 10_000, {})

    one, two = recorded(checklist)

    assert len(one.evidence["value"]) < 4_100 and len(two.detail) < 4_100


def test_the_rest_is_skipped_once_each() -> None:
    checklist = Checklist()
    checklist.add("first", CheckStatus.PASSED, "found", {})
    checklist.skip_rest(["first", "second", "third"], "not reached")

    assert [(check.name, check.status.value) for check in recorded(checklist)] == [
        ("first", "passed"),
        ("second", "skipped"),
        ("third", "skipped"),
    ]
