"""When the other side is down, a person reads its own sentence, first and last."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import pytest

from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.lifecycle.partitions import per_run_check, runs
from inferencebench_pipeline.resources import OUTAGE, RetryPolicyResource, StepRetryPolicy
from inferencebench_pipeline.runs.run_directory import new_run_id

SENTENCE = "no engine answers at http://127.0.0.1:9/v1; start it or correct engine.base_url"


class Answers:
    """Another side that is down a number of times, and then is not."""

    def __init__(self, down: int, error: Callable[[], Exception]) -> None:
        self.asked = 0
        self._down = down
        self._error = error

    def ask(self) -> None:
        self.asked += 1
        if self.asked <= self._down:
            raise self._error()


def outage() -> Exception:
    return RetryableError(SENTENCE)


def executed(
    retry_policy: StepRetryPolicy, answers: Answers, capfd: pytest.CaptureFixture[str]
) -> tuple[dg.ExecuteInProcessResult, str]:
    @dg.asset(partitions_def=runs)
    def stage(retry_policy: RetryPolicyResource) -> None:
        with retry_policy.guard():
            answers.ask()

    @per_run_check(asset=stage, name="checked", description="")
    def checked(retry_policy: RetryPolicyResource) -> dg.AssetCheckResult:
        with retry_policy.guard():
            answers.ask()
        return dg.AssetCheckResult(passed=True)

    run_id = new_run_id()
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(runs.name), [run_id])
        result = dg.materialize(
            [stage, checked],
            instance=instance,
            partition_key=run_id,
            resources={"retry_policy": retry_policy},
            raise_on_error=False,
        )
    return result, capfd.readouterr().err


def headline(result: dg.ExecuteInProcessResult) -> tuple[str, bool]:
    """Return what the failed step says first, and whether it says that it was an outage."""
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    data = failure.step_failure_data
    assert data.user_failure_data is not None
    return data.user_failure_data.description or "", OUTAGE in data.user_failure_data.metadata


def test_the_outages_own_sentence_is_the_headline_and_told_at_each_retry(capfd):
    answers = Answers(99, outage)
    result, log = executed(StepRetryPolicy(retries=2, wait_s=0), answers, capfd)
    assert answers.asked == 3
    said, is_outage = headline(result)
    assert said == f"RetryableError: {SENTENCE}; tried 3 times"
    assert is_outage
    assert f"{SENTENCE}; retry 1 of 2 in 0 s" in log
    assert f"{SENTENCE}; retry 2 of 2 in 0 s" in log
    assert "Exceeded max_retries" not in log


@pytest.mark.parametrize("down", [1, 2])
def test_an_outage_that_ends_in_time_is_none(capfd, down):
    answers = Answers(down, outage)
    result, _ = executed(StepRetryPolicy(retries=2, wait_s=0), answers, capfd)
    assert result.success
    assert answers.asked == down + 2


def test_a_check_tells_its_outage_as_a_stage_does(capfd):
    answers = Answers(0, outage)
    failing = Answers(99, outage)
    calls = iter([answers, failing, failing])

    class Both(Answers):
        def ask(self) -> None:
            next(calls).ask()

    result, log = executed(StepRetryPolicy(retries=1, wait_s=0), Both(0, outage), capfd)
    assert headline(result) == (f"RetryableError: {SENTENCE}; tried 2 times", True)
    assert f"{SENTENCE}; retry 1 of 1" in log


def test_a_long_wait_and_a_refusal_are_not_tried_again(capfd):
    far = Answers(99, lambda: RetryableError("the quota is used up", retry_after_s=3000))
    result, _ = executed(StepRetryPolicy(retries=2, wait_s=0), far, capfd)
    assert headline(result) == ("RetryableError: the quota is used up; not waited for here", True)
    refused = Answers(99, lambda: PermanentError("no"))
    result, _ = executed(StepRetryPolicy(retries=2, wait_s=0), refused, capfd)
    assert headline(result) == ("PermanentError: no", False)
    assert (far.asked, refused.asked) == (1, 1)
