"""Linking a run from its model's card, one at a time with the takedowns that forbid it."""

from __future__ import annotations

from pathlib import Path

from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.model_card.backlink_edit import (
    BacklinkReceipt,
    LinkPolicy,
    backlink,
)
from inferencebench_pipeline.hub.takedowns.public_register import known_takedowns
from inferencebench_pipeline.hub.takedowns.register import changing_links
from inferencebench_pipeline.runs import RunDirectory


def link(
    hub: Hub, run: RunDirectory, root: Path, *, organisation: str, pull_requests: bool
) -> BacklinkReceipt:
    """Link a published run from its model's card, unless somebody asked us not to.

    A takedown that goes on in another process is waited for: else it could look at the card a
    moment before this link is on it.

    Args:
        hub: where the card is.
        run: the published run.
        root: of the store; the register of takedowns is there.
        organisation: our namespace; the public register is there.
        pull_requests: whether pull requests may be opened on models of others.

    Raises:
        LockedError: another process changes links and does not come to an end.
        PipelineError: as in :func:`~inferencebench_pipeline.hub.model_card.backlink_edit.backlink`.
    """
    with changing_links(root):
        takedowns = known_takedowns(hub, root, organisation)
        return backlink(hub, run, LinkPolicy(pull_requests=pull_requests, takedowns=takedowns))
