"""``inferencebench crawl`` and ``webhooks``: what is published, looked at when it changes."""

from __future__ import annotations

from typing import Annotated

import typer

from inferencebench_pipeline.cli.terminal import say
from inferencebench_pipeline.corpus import CorpusStore
from inferencebench_pipeline.corpus import crawl as crawl_corpus
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.settings import Settings

webhooks = typer.Typer(
    no_args_is_help=True, help="Being told by the Hub that something was pushed."
)


def crawl(
    org: Annotated[
        str | None,
        typer.Option("--org", help="Hub namespace; INFERENCEBENCH_ORGANISATION otherwise."),
    ] = None,
) -> None:
    """Take stock of what is published, and say what it cost of the Hub's request limits."""
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
            f"{len(inventory.entries)} published runs are known, {inventory.fetched} of them "
            f"fetched now; {len(inventory.findings)} findings"
        )
        for item in inventory.findings:
            say(f"{item.severity}: {item.repo_id}: {item.kind}: {item.detail}")
    finally:
        say(f"Hub: {hub.budget.report()}")


@webhooks.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; put TLS before it.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8099,
) -> None:
    """Receive the Hub's webhooks; each makes the sensor `nudged_crawl` look at the Hub soon.

    The secret comes from INFERENCEBENCH_WEBHOOK_SECRET, or from the file that
    INFERENCEBENCH_WEBHOOK_SECRET_FILE names.
    """
    # The extra `pipeline` brings the server; a crawl does without.
    import uvicorn

    from inferencebench_pipeline.hub import webhook_app, webhook_secret

    webhook_secret()
    receiver = webhook_app(Settings.from_environment().store, webhook_secret)
    say(f"Listening for webhooks on http://{host}:{port}/")
    uvicorn.run(
        receiver, host=host, port=port, log_level="warning", access_log=False, server_header=False
    )
