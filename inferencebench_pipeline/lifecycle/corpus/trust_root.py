"""``trust_root``: the public-good trust root, refreshed through TUF, each version kept."""

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
    """Whose certificates, logs and clocks count, by hash, and what changed at this refresh.

    Verification uses what is pinned and asks nobody; only this asset fetches. A deployment that
    names its own trust configuration has nothing to refresh: that file is the pin. After a change
    every verdict is under another trust root, so backfill ``corpus_verification``.
    """
    with retry_policy.guard():
        if deployment.settings.trust_config is not None:
            root = deployment.trust()
            return dg.MaterializeResult(
                metadata={
                    "sha256": root.sha256,
                    "source": root.source,
                    "changes": "none: a file of the deployment's own, never refreshed from here",
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
