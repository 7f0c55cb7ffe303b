"""The job ``reverify_everything``: it launches a backfill over all days of publication."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.execution.backfill import PartitionBackfill
from pydantic import Field

from inferencebench_pipeline.corpus import CorpusStore, created_days
from inferencebench_pipeline.lifecycle.corpus.corpus_verification import corpus_verification
from inferencebench_pipeline.lifecycle.form import Form
from inferencebench_pipeline.lifecycle.partitions import FIRST_DAY
from inferencebench_pipeline.resources import IN_PROCESS, RetryPolicyResource, RunStoreResource


class ReverificationForm(Form):
    """The thoroughness of the verification."""

    again: bool = Field(
        default=False,
        description="Judge every record again, also those whose bytes were judged before under the "
        "same rules.",
    )


@dg.op(config_schema=ReverificationForm.run_config())
def launch_backfill(
    context: dg.OpExecutionContext,
    run_store: RunStoreResource,
    retry_policy: RetryPolicyResource,
) -> str:
    """Launch the backfill that a person would launch in the UI, whose page shows its progress.

    The id of the backfill is that of this run, so a step that is tried again launches it once.
    """
    with retry_policy.guard():
        known = created_days(CorpusStore(run_store.root))
    # A backfill pays for each partition, so only the days with something to verify are named.
    days = [day for day in known if day >= FIRST_DAY]
    if not days:
        raise dg.Failure(
            description="the last crawl found nothing that is published; launch the job "
            "crawl_corpus first",
            allow_retries=False,
        )
    # Dagster's own ids of backfills have eight characters, too.
    backfill_id = uuid.UUID(context.run_id).hex[:8]
    # A step that is tried again has the same id, and finds the backfill that it launched.
    if context.instance.get_backfill(backfill_id) is None:
        context.instance.add_backfill(
            _backfill(
                context.instance, backfill_id, days, again=ReverificationForm.of(context).again
            )
        )
    context.log.info(
        "backfill %s over %d days, %s to %s", backfill_id, len(days), days[0], days[-1]
    )
    context.add_output_metadata(
        {
            "progress_and_result": dg.MetadataValue.md(
                f"[backfill {backfill_id}](/runs/b/{backfill_id}), then the check "
                "[of each day](/assets/corpus_verification?view=checks)"
            ),
            "days": dg.MetadataValue.int(len(days)),
            "first_day": dg.MetadataValue.text(days[0]),
            "last_day": dg.MetadataValue.text(days[-1]),
        }
    )
    return backfill_id


@dg.job(
    description="Verifies again everything that is published, by a backfill of corpus_verification "
    "over all days on which a repository was created. The output of the run links to the progress "
    "and the result.",
    executor_def=IN_PROCESS,
)
def reverify_everything() -> None:
    """The job has one op, so that the form in the UI shows ``again`` and nothing else."""
    launch_backfill()


def _backfill(
    instance: dg.DagsterInstance, backfill_id: str, days: Sequence[str], *, again: bool
) -> PartitionBackfill:
    config = {"ops": {corpus_verification.key.path[-1]: {"config": {"again": again}}}}
    # Dagster has no public way to launch a backfill; this is the way that its UI's mutation takes.
    return PartitionBackfill.from_asset_partitions(
        backfill_id=backfill_id,
        asset_graph=AssetGraph.from_assets([corpus_verification]),
        partition_names=list(days),
        asset_selection=[corpus_verification.key],
        backfill_timestamp=datetime.now(tz=UTC).timestamp(),
        tags={"launched_by": "reverify_everything"},
        dynamic_partitions_store=instance,
        all_partitions=False,
        title="Re-verify everything",
        description=f"{len(days)} days on which something was published",
        run_config=config,
    )
