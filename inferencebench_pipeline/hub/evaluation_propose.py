"""Entering a result into a model's repository, as a guest who asks once.

On a model of ours it is a commit. On anybody else's it is a pull request: only when somebody
confirmed it by the model's name, one per benchmark task and never a second, and never again after
its author closed it (:mod:`.evaluation_audit` looks first).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from inferencebench_pipeline.hub.errors import (
    HubHeadMovedError,
    HubIntegrityError,
    HubUnavailableError,
)
from inferencebench_pipeline.hub.evaluation_audit import (
    Finding,
    Proposal,
    ProposalError,
    State,
    address,
    examine,
    own_pull_requests,
)
from inferencebench_pipeline.hub.evaluation_client import EvaluationHub
from inferencebench_pipeline.hub.evaluation_register import (
    CommunityResult,
    evaluations_held,
    load_evaluations,
    record_results,
)
from inferencebench_pipeline.hub.repo import PullRequest, Repo
from inferencebench_pipeline.hub.takedown_register import Takedowns

_ROUNDS = 5
_DUPLICATE = "Opened twice by accident; the other one stays. Sorry for the noise."


@dataclass(frozen=True)
class Proposed:
    """What was done about one result."""

    finding: Finding
    url: str
    commit: str


def propose(
    hub: EvaluationHub,
    root: Path,
    proposal: Proposal,
    *,
    takedowns: Takedowns,
    confirmation: str | None,
) -> Proposed | Finding:
    """Enter the result; return what was done, or why nothing was.

    Repeating it, after any failure, changes nothing or finishes what was cut off.

    Args:
        hub: where.
        root: of the store.
        proposal: the result.
        takedowns: whose models we stay away from.
        confirmation: the model's id, typed by whoever decided that its owner gets a pull request;
            not needed for models of ours.

    Raises:
        ProposalError: the confirmation is missing or is another model's, or see :func:`examine`.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub.errors`.
    """
    with evaluations_held(root):
        finding = examine(hub, root, proposal, takedowns=takedowns)
        if finding.state is not State.READY:
            return finding
        model = Repo("model", proposal.model_id)
        if finding.mode == "commit":
            commit = _put(hub, model, "main", proposal)
            return Proposed(finding, hub.page_url(model), commit)
        if confirmation != proposal.model_id:
            raise ProposalError(
                f"{proposal.model_id} is not ours: a pull request there needs the confirmation "
                f"{proposal.model_id!r}, and {confirmation!r} was given; nothing was sent"
            )
        pull = _own_pull_request(hub, model, proposal, finding.author)
        _register(hub, root, proposal, pull)
        commit = _put(hub, model, pull.ref, proposal)
        if pull.status == "draft":
            hub.submit_draft(model, pull.number)
        return Proposed(finding, address(hub, model, pull.number), commit)


def _own_pull_request(
    hub: EvaluationHub, model: Repo, proposal: Proposal, author: str
) -> PullRequest:
    """Return our pull request, opened if need be.

    After a lost response the list, not the memory of a request, says whether it was opened; and
    should two have been opened at once, the later one is closed.
    """
    failure: HubUnavailableError | None = None
    for _ in range(_ROUNDS):
        live = [pull for pull in own_pull_requests(hub, model, proposal, author) if pull.is_live]
        if live:
            first, *others = sorted(live, key=lambda pull: pull.number)
            for other in others:
                hub.close_pull_request(model, other.number, comment=_DUPLICATE)
            return first
        try:
            hub.open_draft(model, title=proposal.title, description=proposal.description)
        except HubUnavailableError as error:
            failure = error
    raise failure or HubIntegrityError(
        f"a pull request opened on {model.id} does not show in the list of them"
    )


def _put(hub: EvaluationHub, model: Repo, revision: str, proposal: Proposal) -> str:
    """Commit the file on ``revision``, again on a fresh reading whenever that moved."""
    for _ in range(_ROUNDS):
        head = hub.head(model, revision)
        try:
            commit = hub.commit(
                model,
                {proposal.path: proposal.data},
                message=proposal.title,
                parent=head.commit,
                revision=revision,
            )
        except HubHeadMovedError:
            continue
        if hub.fetch(model, commit, proposal.path) != proposal.data:
            raise HubIntegrityError(
                f"{hub.page_url(model)} serves another {proposal.path} at {commit} than was "
                "committed; look at its history"
            )
        return commit
    raise HubUnavailableError(f"{model.id} was changed {_ROUNDS} times meanwhile; try again later")


def _register(hub: EvaluationHub, root: Path, proposal: Proposal, pull: PullRequest) -> None:
    result = CommunityResult(
        model_id=proposal.model_id,
        pull_request=pull.number,
        url=address(hub, Repo("model", proposal.model_id), pull.number),
        filename=proposal.path,
        entry=proposal.entry,
        proposed_by=pull.author,
        ours=True,
        first_seen_at=datetime.now(UTC).replace(microsecond=0),
    )
    known = {item.key: item for item in load_evaluations(root).results}.get(result.key)
    if known is not None:
        result = known.model_copy(update={"entry": proposal.entry, "ours": True})
    record_results(root, [result])
