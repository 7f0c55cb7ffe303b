"""Dagster resources: a thin skin over the domain's run store, Hub, signer and policy.

None of them has a field of configuration. What they hold is the deployment's, read from the
environment of the process that runs the step, so whoever may launch a run cannot choose where a
token is sent, whose signatures count, which command runs or where files are written: Dagster
refuses the launch. Tokens are read inside the step that needs them and are no part of a resource.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import dagster as dg

from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.parking import parked_by_an_outage
from inferencebench_pipeline.runs import RunBusyError, RunDirectory, RunStore
from inferencebench_pipeline.settings import Settings

NO_FIELD: Final[dict[str, Any]] = {}
"""The schema of a part that a launch cannot configure. It is closed: where a resource or a step has
none, Dagster takes anything and drops it."""
# With the usual wait of 30 s, these are ten minutes.
BUSY_RETRIES = 20
"""The attempts of a step while another process works on its run, where it tries again at all."""
LONGEST_HELD_WAIT_S = 300.0
"""The longest time that a step waits with its process alive, in seconds."""
OUTAGE: Final = "outage"
"""The metadata of a failure that is no answer: whoever asked may ask again. A refusal has none."""

# Seven trivial steps took 5 to 8 s in one process and 25 to 32 s in seven (Dagster 1.13).
IN_PROCESS: Final[dg.ExecutorDefinition] = dg.in_process_executor.configured(
    lambda _nothing: {}, config_schema=NO_FIELD, name="in_process"
)
"""Runs the steps one after the other in the run's process: a process a step costs more than most
steps. A launch cannot configure it, since one of the executor's options begins a stage although the
blocking check before it has failed."""


class StepRetryPolicy:
    """The retries of a step whose other side, such as the Hub, is down."""

    def __init__(self, retries: int = 2, wait_s: float = 30.0) -> None:
        """Take the figures of the policy.

        Args:
            retries: how often a step is tried again at most.
            wait_s: seconds before it is tried again, where the server gives no hint.
        """
        self.retries = retries
        self.wait_s = wait_s

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Turn the domain's two families of errors into Dagster's.

        A retryable error asks Dagster to run the step again after the server's hint, or after
        ``wait_s``, and is told in the log; the last one fails the step with its own sentence as
        the headline. A permanent one fails the step at once and says why. A hint beyond
        :data:`LONGEST_HELD_WAIT_S`, such as that of a quota which is refilled by the hour, ends the
        run instead: a process that sleeps holds its place in the queue. A parked run is asked for
        again when the time has come, anything else by its schedule.
        """
        try:
            yield
        except RetryableError as error:
            self._wait_or_fail(error)
        except PermanentError as error:
            raise dg.Failure(
                description=f"{type(error).__name__}: {error}", allow_retries=False
            ) from error

    def _wait_or_fail(self, error: RetryableError) -> NoReturn:
        said = f"{type(error).__name__}: {error}"
        # Before the attempts are counted: no number of retries helps against a wait of an hour.
        if (error.retry_after_s or 0.0) > LONGEST_HELD_WAIT_S:
            raise _outage(f"{said}; not waited for here") from error
        # Dagster knows which step runs here, so that none has to hand its context on.
        context = dg.OpExecutionContext.get()
        tried = context.retry_number + 1
        # Somebody who works on the run is no outage: nothing is lost by waiting for him.
        retries = max(self.retries, BUSY_RETRIES) if self._waits_for(error) else self.retries
        if tried > retries:
            raise _outage(f"{said}; tried {tried} times" if tried > 1 else said) from error
        wait_s = error.retry_after_s or self.wait_s
        context.log.warning("%s; retry %d of %d in %g s", said, tried, retries, wait_s)
        raise dg.RetryRequested(max_retries=retries, seconds_to_wait=wait_s) from error

    def _waits_for(self, error: RetryableError) -> bool:
        return isinstance(error, RunBusyError) and self.retries > 0

    @contextlib.contextmanager
    def guarded_run(
        self,
        context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
        run_store: RunStore,
        stage: str,
    ) -> Iterator[RunDirectory]:
        """Guard a stage that may be finished later; yield the run that is this step's partition.

        An outage leaves the run parked at ``stage``; the ``parked_runs`` sensor goes on there.
        """
        with self.guard():
            # Inside the guard, because Dagster takes any text as a
            # key, and an unusual one is refused here.
            run = run_store.run(context.partition_key)
            with parked_by_an_outage(run, stage):
                yield run


RunStoreResource = dg.ResourceParam[RunStore]
"""The annotation of a step's parameter ``run_store``."""
DeploymentResource = dg.ResourceParam[Deployment]
"""The annotation of a step's parameter ``deployment``."""
RetryPolicyResource = dg.ResourceParam[StepRetryPolicy]
"""The annotation of a step's parameter ``retry_policy``."""


def _outage(said: str) -> dg.Failure:
    return dg.Failure(description=said, metadata={OUTAGE: True}, allow_retries=False)


class _NothingKept(dg.IOManager):
    """Keeps no output: stages hand files to each other in the run directory, and ops hand nothing.

    Dagster's own would write what an op returns as a pickle, to a folder that the launch names.
    """

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Do nothing; the op has written what it made, and shows it in its metadata."""

    def load_input(self, context: dg.InputContext) -> NoReturn:
        """Refuse: there is nothing to load.

        Raises:
            DagsterInvariantViolationError: always.
        """
        raise dg.DagsterInvariantViolationError(
            f"{context.name} is to be handed on by Dagster, which keeps no values here; "
            "read it from the run directory or the store"
        )


def build_resources(settings: Settings) -> dict[str, dg.ResourceDefinition]:
    """Return the resources of a deployment, by the names the assets ask for."""
    return {
        "run_store": _without_configuration(
            RunStore(settings.store),
            "The store of this deployment's runs, below whose root the corpus and the leaderboard "
            "lie too.",
        ),
        "deployment": _without_configuration(
            Deployment(settings), "The Hub, the signer and the policy of this deployment."
        ),
        "retry_policy": _without_configuration(
            StepRetryPolicy(settings.outage_retries, settings.outage_wait_s),
            "The retries of this deployment's steps while another service is down.",
        ),
        "io_manager": dg.IOManagerDefinition(
            lambda _context: _NothingKept(),
            config_schema=NO_FIELD,
            description="Keeps nothing: steps write their files themselves.",
        ),
    }


def _without_configuration(value: object, description: str) -> dg.ResourceDefinition:
    return dg.ResourceDefinition(
        lambda _context: value,
        config_schema=NO_FIELD,
        description=f"{description} Set in its environment; a launch cannot change it.",
    )
