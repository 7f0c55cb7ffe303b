"""One pull request of ours on somebody else's repository: found, opened once, withdrawn if doubled.

The Hub has no key that makes a repeated request harmless. So the existing pull requests are listed
each time, on all pages and in every status, and a list that cannot be read is an error, never
"none". Two of us who open one at the same moment see each other's afterwards: the lower number
stays, and the other is withdrawn while it is still an empty draft.
"""

from __future__ import annotations

from dataclasses import dataclass

from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.client.edit import act_on_state
from inferencebench_pipeline.hub.client.errors import HubUnavailableError
from inferencebench_pipeline.hub.client.repo import PullRequest, Repo

_WITHDRAWN = " (withdrawn: opened twice)"
"""Marks a title, so that our own closing is not taken for the owner's answer."""


@dataclass(frozen=True)
class Proposal:
    """The text of a pull request; its title and author identify ours among others."""

    title: str
    description: str


def _find_ours(hub: Hub, repo: Repo, author: str, proposal: Proposal) -> list[PullRequest]:
    """Return all pull requests that ``author`` opened for this proposal, lowest number first.

    Raises:
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`: the
            list could not be read in full.
    """
    return sorted(
        (
            pull
            for pull in hub.pull_requests(repo)
            if pull.author == author and pull.title in {proposal.title, proposal.title + _WITHDRAWN}
        ),
        key=lambda pull: pull.number,
    )


def one_pull_request(hub: Hub, repo: Repo, author: str, proposal: Proposal) -> PullRequest | str:
    """Return our one live pull request, opened as a draft if need be; or why there must be none.

    Raises:
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`.
    """

    def look() -> PullRequest | str | None:
        return _settled(hub, repo, author, proposal)

    def open_unless(found: PullRequest | str | None) -> tuple[PullRequest | str, bool]:
        if found is not None:
            return found, False
        number = hub.open_draft(repo, title=proposal.title, description=proposal.description)
        return PullRequest(number, proposal.title, author, "draft"), True

    # A request to open one that fails may have opened one all the same, hence the look before each.
    pull, is_new = act_on_state(
        hub, look(), open_unless, look_again=look, again_on=HubUnavailableError
    )
    # Another of us may have opened one as well. A list that lags does not show ours; it exists for
    # all that, and another is not opened.
    return (look() or pull) if is_new else pull


def _settled(hub: Hub, repo: Repo, author: str, proposal: Proposal) -> PullRequest | str | None:
    """Return our one live pull request, why there must be none, or ``None`` to open one."""
    ours = _find_ours(hub, repo, author, proposal)
    kept = [pull for pull in ours if pull.title == proposal.title]
    live = [pull for pull in kept if pull.is_live]
    closed = [pull.number for pull in kept if pull.status == "closed"]
    if live:
        _withdraw(hub, repo, [p for p in ours if p.is_live and p != live[0]], proposal, live[0])
        return live[0]
    if closed:
        return f"the owner closed our pull request {max(closed)}; it is not proposed again"
    return None


def _withdraw(
    hub: Hub, repo: Repo, doubles: list[PullRequest], proposal: Proposal, kept: PullRequest
) -> None:
    for pull in doubles:
        # Renamed before it is closed: closed under its first title it would look like the owner's
        # no.
        if pull.title == proposal.title:
            hub.rename_pull_request(repo, pull.number, proposal.title + _WITHDRAWN)
        hub.close_pull_request(
            repo, pull.number, comment=f"Opened twice by us, sorry; #{kept.number} is the one."
        )
