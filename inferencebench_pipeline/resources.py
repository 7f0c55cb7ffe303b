"""Dagster resources: a thin skin over the domain's run store, Hub, signer and policy.

Everything here is configuration that may be shown in the UI; tokens are read inside the step that
needs them and never become configuration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.leaderboard.prices import Prices, load_prices
from inferencebench_pipeline.parking import parked_by_an_outage
from inferencebench_pipeline.runs import RunDirectory, RunStore
from inferencebench_pipeline.settings import Settings

LONGEST_HELD_WAIT_S = 300.0
"""A step waits no longer than this with its process alive."""
OUTAGE = "outage"
"""Metadata of a step failure that is no answer: who asked may ask again. A refusal has none."""


class StoreResource(dg.ConfigurableResource[Any]):
    """Where run directories, the corpus and the leaderboard live, where specs and new runs are."""

    root: str
    specs: str
    inbox: str | None = None
    prices: str | None = None

    def price_list(self) -> Prices | None:
        """Return the reviewed prices that costs on the leaderboard rest on, where there are some.

        Raises:
            PricesError: the list is named and cannot be read.
        """
        return load_prices(Path(self.prices)) if self.prices else None

    def store(self) -> RunStore:
        """Return the run store."""
        return RunStore(Path(self.root))

    def run(
        self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext
    ) -> RunDirectory:
        """Return the directory of the run that is this step's partition."""
        return self.store().run(context.partition_key)


class DeploymentResource(dg.ConfigurableResource[Any]):
    """The outside world: which Hub, whose namespace, which trust configuration and policy."""

    hub_endpoint: str
    organisation: str | None = None
    trust_store: str
    trust_config: str | None = None
    policy: str | None = None
    identity_token_file: str | None = None
    identity_token_command: list[str] = []  # noqa: RUF012  # a field of a Dagster resource
    dev_key: str | None = None
    log_viewer: str | None = None
    update_model_card: bool = False
    open_pull_requests: bool = False

    def deployment(self) -> Deployment:
        """Return the domain object that builds the Hub, the signer and the verifier."""
        return Deployment(
            hub_endpoint=self.hub_endpoint,
            organisation=self.organisation,
            trust_config=_path(self.trust_config),
            trust_store=Path(self.trust_store),
            policy_path=_path(self.policy),
            identity_token_file=_path(self.identity_token_file),
            identity_token_command=tuple(self.identity_token_command),
            dev_key=_path(self.dev_key),
            log_viewer=self.log_viewer,
        )


class OutageResource(dg.ConfigurableResource[Any]):
    """How a step behaves when the other side is down."""

    retries: int = 2
    wait_s: float = 30.0

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Turn the domain's two families of errors into Dagster's.

        A retryable error asks Dagster to run the step again after the server's hint, or after
        ``wait_s``; a permanent one fails the step at once and says why. A hint beyond
        :data:`LONGEST_HELD_WAIT_S`, such as that of a quota which is refilled by the hour, ends the
        run instead: a process that sleeps holds its place in the queue. A parked run is asked for
        again when the time has come, anything else by its schedule.
        """
        try:
            yield
        except RetryableError as error:
            if (error.retry_after_s or 0.0) > LONGEST_HELD_WAIT_S:
                raise dg.Failure(
                    description=f"{type(error).__name__}: {error}; not waited for here",
                    metadata={OUTAGE: True},
                    allow_retries=False,
                ) from error
            raise dg.RetryRequested(
                max_retries=self.retries, seconds_to_wait=error.retry_after_s or self.wait_s
            ) from error
        except PermanentError as error:
            raise dg.Failure(
                description=f"{type(error).__name__}: {error}", allow_retries=False
            ) from error

    @contextlib.contextmanager
    def guarded_run(
        self,
        context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext,
        runs_store: StoreResource,
        stage: str,
    ) -> Iterator[RunDirectory]:
        """Guard a stage that may be finished later; yield the run that is this step's partition.

        An outage leaves the run parked at ``stage``; the ``parked_runs`` sensor goes on there.
        """
        with self.guard():
            run = runs_store.run(context)
            with parked_by_an_outage(run, stage):
                yield run


def build_resources(settings: Settings) -> dict[str, dg.ConfigurableResource[Any]]:
    """Return the resources of a deployment, by the names the assets ask for."""
    return {
        "runs_store": StoreResource(
            root=str(settings.store),
            specs=str(settings.specs),
            inbox=settings.inbox,
            prices=_text(settings.prices),
        ),
        "world": DeploymentResource(
            hub_endpoint=settings.hub_endpoint,
            organisation=settings.organisation,
            trust_config=_text(settings.trust_config),
            trust_store=str(settings.trust_store),
            policy=_text(settings.policy),
            identity_token_file=_text(settings.identity_token_file),
            identity_token_command=list(settings.identity_token_command),
            dev_key=_text(settings.dev_key),
            log_viewer=settings.log_viewer,
            update_model_card=settings.update_model_card,
            open_pull_requests=settings.open_pull_requests,
        ),
        "outages": OutageResource(retries=settings.outage_retries, wait_s=settings.outage_wait_s),
    }


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def _text(value: Path | None) -> str | None:
    return str(value) if value else None
