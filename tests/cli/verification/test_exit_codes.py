"""One table of exit codes: what the help prints, the documentation lists and a verdict gets."""

from __future__ import annotations

import re

import pytest

from inferencebench_pipeline.cli import app
from inferencebench_pipeline.cli.verification.exit_codes import ExitCode, exit_code_of
from inferencebench_pipeline.trust.verify.verdict import FailureClass, Outcome, Verdict
from tests.cli.test_help import help_of
from tests.paths import REPOSITORY

OUTCOMES = {
    Outcome.VERIFIED: 0,
    Outcome.REJECTED: 1,
    Outcome.INCOMPLETE: 4,
    Outcome.NEWER: 5,
}


def verdict_of(outcome: Outcome, failure: FailureClass | None) -> Verdict:
    return Verdict(
        content_hash=None,
        ok=outcome is Outcome.VERIFIED,
        outcome=outcome,
        reason="",
        checks=(),
        policy_sha256="",
        trust_root_sha256="",
        failure_class=failure,
    )


@pytest.mark.parametrize("outcome", Outcome)
def test_each_outcome_has_a_code(outcome: Outcome) -> None:
    assert exit_code_of(verdict_of(outcome, None)) == OUTCOMES[outcome]


@pytest.mark.parametrize("failure", FailureClass)
def test_a_rejection_has_the_code_1_whatever_the_reason_but_for_the_place(
    failure: FailureClass,
) -> None:
    expected = 6 if failure is FailureClass.PLACE_DISAGREES else 1
    assert exit_code_of(verdict_of(Outcome.REJECTED, failure)) == expected


@pytest.mark.parametrize("command", ["verify", "explain"])
def test_the_help_lists_every_code_with_its_meaning(command: str) -> None:
    lines = [" ".join(line.split()) for line in help_of(command).splitlines()]
    for code in ExitCode:
        assert f"{code.value} {code.meaning}" in lines


def test_the_documentation_lists_every_code_with_its_meaning() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", (REPOSITORY / "docs/trust.md").read_text(), re.M)
    assert rows == [(str(code.value), code.meaning) for code in ExitCode]


def test_the_codes_are_the_numbers_of_all_commands() -> None:
    assert [ExitCode.VERIFIED, ExitCode.WRONG_INPUT, ExitCode.OUTAGE] == [
        app._DONE,
        app._WRONG_INPUT,
        app._OUTAGE,
    ]
    assert list(ExitCode) == list(range(12))


def test_no_code_but_the_first_is_a_success() -> None:
    """A shell takes 0 for success, so that nothing else may end with it."""
    assert [code for code in ExitCode if not code] == [ExitCode.VERIFIED]
