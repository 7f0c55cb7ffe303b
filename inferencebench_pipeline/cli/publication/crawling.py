"""The commands ``crawl`` and ``webhooks``: take stock of the Hub, and hear of its pushes."""

from __future__ import annotations

from typing import Annotated

import typer

from inferencebench_pipeline.cli.terminal import say
from inferencebench_pipeline.corpus import CorpusStore
from inferencebench_pipeline.corpus import crawl as crawl_corpus
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.settings import Settings

webhooks = typer.Typer(no_args_is_help=True, help="Receive webhooks of the Hub about pushes.")


def crawl(
    org: Annotated[
        str | None,
        typer.Option("--org", help="The Hub namespace. Default: INFERENCEBENCH_ORGANISATION."),
    ] = None,
) -> None:
    """Take stock of the published runs on the Hub, and print the requests that it took."""
    settings = Settings.from_environment()
    if org is not None:
        settings = settings.model_copy(update={"organisation": org})
    deployment = Deployment(settings)
    hub = deployment.crawl_hub()
    try:
        inventory = crawl_corpus(
            hub, deployment.require_organisation(), CorpusStore(settings.store)
        )
        say(
            f"Published runs known: {len(inventory.entries)}, fetched now: {inventory.fetched}, "
            f"findings: {len(inventory.findings)}"
        )
        for item in inventory.findings:
            say(f"{item.severity}: {item.repo_id}: {item.kind}: {item.detail}")
    finally:
        # After a failure as well, since its requests count against the quota all the same.
        say(f"Hub: {hub.budget.report()}")


@webhooks.command()
def serve(
    host: Annotated[
        str, typer.Option(help="The address to listen on; put a proxy with TLS in front of it.")
    ] = ("127.0.0.1"),
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8099,
) -> None:
    """Receive the Hub's webhooks, each of which makes the sensor `nudged_crawl` request a crawl.

    The secret is read from INFERENCEBENCH_WEBHOOK_SECRET, or from the file that
    INFERENCEBENCH_WEBHOOK_SECRET_FILE names.
    """
    # The extra `pipeline` brings the server; a crawl does without.
    import uvicorn

    from inferencebench_pipeline.hub import webhook_app, webhook_secret

    # Read once now, so that a missing secret is an error at the start and not at the first webhook.
    webhook_secret()
    receiver = webhook_app(Settings.from_environment().store, webhook_secret)
    say(f"Listening for webhooks on http://{host}:{port}/")
    uvicorn.run(
        receiver, host=host, port=port, log_level="warning", access_log=False, server_header=False
    )
