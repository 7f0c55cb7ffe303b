"""Jobs that run in this process while a person watches: each event becomes a readable line.

They run on the instance that the UI opens, so the UI shows them too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, cast

import dagster as dg
from dagster import DagsterEvent, DagsterEventType

_NARRATOR = "narrator"
_INTERRUPTED = "DagsterExecutionInterruptedError"
"""The error that Dagster reports, and does not raise, after Ctrl-C inside a step."""

Say = Callable[[str], None]
"""Prints one line of progress."""


class JobFailedError(RuntimeError):
    """A job failed. The message is that of the failed step or check."""


@dataclass(frozen=True)
class AttendedJobs:
    """Runs the jobs of a code location one after the other, and prints their events."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    say: Say

    def register(self, partitions: dg.DynamicPartitionsDefinition, key: str) -> None:
        """Make ``key`` a partition, as the UI's "add a partition" does."""
        self.instance.add_dynamic_partitions(cast(str, partitions.name), [key])

    def run(
        self,
        job_name: str,
        *,
        partition_key: str | None = None,
        run_config: Mapping[str, Any] | None = None,
    ) -> None:
        """Run a job to its end.

        Raises:
            JobFailedError: a step or a blocking check failed; later stages did not run.
            KeyboardInterrupt: the person stopped it.
        """
        stages = {key.path[-1] for key in self.definitions.resolve_all_asset_keys()}
        narrator = _Narrator(self.say, stages)
        location = dg.Definitions.merge(
            self.definitions, dg.Definitions(loggers={_NARRATOR: _logger_into(narrator)})
        )
        result = location.resolve_job_def(job_name).execute_in_process(
            instance=self.instance,
            partition_key=partition_key,
            run_config={**(run_config or {}), "loggers": {_NARRATOR: {}}},
            # The narrator has kept the sentence of a failure, and
            # Dagster's exception adds only a stack.
            raise_on_error=False,
        )
        if narrator.interrupted:
            raise KeyboardInterrupt
        if not result.success:
            raise JobFailedError(narrator.failure or f"job {job_name} failed")


class _Narrator(logging.Handler):
    """Turns Dagster's events into lines, and keeps the reason of a failure."""

    def __init__(self, say: Say, stages: Collection[str]) -> None:
        super().__init__(logging.DEBUG)
        self._stages = stages
        self.failure: str | None = None
        self.interrupted = False
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", {})
        event: DagsterEvent | None = meta.get("dagster_event")
        if event is None:
            if meta.get("step_key") and record.levelno == logging.INFO:
                self._say(f"    {meta.get('orig_message') or record.getMessage()}")
        elif line := self._line(event):
            self._say(line)

    def _line(self, event: DagsterEvent) -> str | None:
        kind = event.event_type
        if kind is DagsterEventType.STEP_START and event.step_key in self._stages:
            return f"  {event.step_key}"
        if kind is DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed:
                self.failure = (
                    f"check {check.check_name} failed: {check.description or 'see the UI'}"
                )
            return f"    {'✓' if check.passed else '✗'} {check.check_name}"
        if kind is DagsterEventType.STEP_UP_FOR_RETRY:
            return f"    {event.step_key}: an outage; it is tried again"
        if kind is DagsterEventType.STEP_FAILURE:
            self._remember(event)
        return None

    def _remember(self, event: DagsterEvent) -> None:
        """Keep the reason of a failed step: our own description, or else the root cause."""
        data = event.step_failure_data
        if data.error is not None and data.error.cls_name == _INTERRUPTED:
            self.interrupted = True
        if data.user_failure_data is not None and data.user_failure_data.description:
            self.failure = f"{event.step_key}: {data.user_failure_data.description}"
        # A check that failed before says more than the error of the step that it blocks.
        elif self.failure is None and data.error is not None:
            self.failure = f"{event.step_key}: {_root_message(data.error)}"


def _root_message(error: Any) -> str:  # noqa: ANN401  (its type is not public)
    # The outermost error only says that a step failed.
    while error.cause is not None:
        error = error.cause
    return str(error.message).strip()


def _logger_into(handler: logging.Handler) -> dg.LoggerDefinition:
    @dg.logger
    def narrator(_context: dg.InitLoggerContext) -> logging.Logger:
        # Not from the registry of loggers, where the handlers of all jobs would pile up.
        logger = logging.Logger("inferencebench.attended", logging.DEBUG)
        logger.addHandler(handler)
        return logger

    return narrator
