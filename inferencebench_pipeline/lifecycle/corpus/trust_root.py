"""The asset ``trust_root``: the versions of the public-good trust root, refreshed by TUF."""

import dagster as dg

from inferencebench_pipeline.lifecycle.metadata import table
from inferencebench_pipeline.resources import NO_FIELD, DeploymentResource, RetryPolicyResource


@dg.asset(
    group_name="corpus",
    kinds={"sigstore"},
    owners=["team:performance"],
    code_version="1",
    config_schema=NO_FIELD,
)
def trust_root(
    context: dg.AssetExecutionContext,
    deployment: DeploymentResource,
    retry_policy: RetryPolicyResource,
) -> dg.MaterializeResult[None]:
    """The trust root names the certificates, logs and clocks that count, pinned by its hash.

    Verification uses the pinned version and asks nobody; only this asset fetches a new one. Where a
    deployment names a trust configuration of its own, that file is the pin and nothing is
    refreshed. After a change, backfill `corpus_verification`, because every verdict was reached
    under another trust root.
    """
    with retry_policy.guard():
        if deployment.settings.trust_config is not None:
            root = deployment.trust()
            return dg.MaterializeResult(
                metadata={
                    "sha256": root.sha256,
                    "source": root.source,
                    "changes": "none: the deployment's own file is never refreshed",
                }
            )
        kept = deployment.kept_roots()
        refreshed = kept.refresh()
        pin = kept.pin()
    for change in refreshed.changes:
        context.log.warning("the trust root changed: %s", change)
    return dg.MaterializeResult(
        metadata={
            "sha256": refreshed.current.sha256,
            "previous_sha256": refreshed.previous_sha256,
            "changed": refreshed.changed,
            "changes": dg.MetadataValue.md(
                "\n".join(f"- {change}" for change in refreshed.changes) or "none"
            ),
            "checked_at": refreshed.checked_at.isoformat(timespec="seconds"),
            "versions_kept": table(
                {
                    "sha256": version.sha256,
                    "first_seen": version.first_seen.isoformat(timespec="seconds"),
                }
                for version in (pin.versions if pin else ())
            ),
        }
    )
