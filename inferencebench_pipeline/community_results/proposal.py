"""Entry of a result into a model's repository, asking its owner at most once.

On a model of ours it is a commit. On anybody else's it is a pull request: only when somebody
confirmed it by the model's name, one per benchmark task and never a second, and never again after
its author closed it (:mod:`.audit` looks first).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from inferencebench_pipeline.community_results.audit import (
    Assessment,
    ProposalError,
    State,
    Submission,
    address,
    examine,
)
from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.community_results.register import (
    CommunityResult,
    evaluations_held,
    load_evaluations,
    record_results,
)
from inferencebench_pipeline.hub import (
    Proposal,
    PullRequest,
    RemoteRepo,
    Repo,
    Takedowns,
    one_pull_request,
)


@dataclass(frozen=True)
class Proposed:
    """A result that was entered, with its place."""

    assessment: Assessment
    url: str
    commit: str


def propose(
    hub: EvaluationHub,
    root: Path,
    submission: Submission,
    *,
    takedowns: Takedowns,
    confirmation: str | None,
) -> Proposed | Assessment:
    """Enter the result; return what was done, or why nothing was.

    Repeating it, after any failure, changes nothing or finishes what was cut off.

    Args:
        hub: where.
        root: of the store.
        submission: the result.
        takedowns: whose models we stay away from.
        confirmation: the model's id, typed by whoever decided that its owner gets a pull request;
            not needed for models of ours.

    Raises:
        ProposalError: the confirmation is missing or is another model's, or see :func:`examine`.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`.
    """
    with evaluations_held(root):
        assessment = examine(hub, root, submission, takedowns=takedowns)
        if assessment.state is not State.READY:
            return assessment
        model = Repo("model", submission.model_id)
        if assessment.mode == "commit":
            commit = _put(hub, model, "main", submission)
            return Proposed(assessment, hub.page_url(model), commit)
        if confirmation != submission.model_id:
            raise ProposalError(
                f"{submission.model_id} is not ours: a pull request there needs the confirmation "
                f"{submission.model_id!r}, and {confirmation!r} was given; nothing was sent"
            )
        request = Proposal(submission.title, submission.description)
        pull = one_pull_request(hub, model, assessment.author, request)
        if isinstance(pull, str):
            return replace(assessment, state=State.WITHHELD, reason=pull)
        # Before the Hub can show it: after a crash no result of ours passes for a stranger's.
        _register(hub, root, submission, pull)
        commit = _put(hub, model, pull.ref, submission)
        if pull.status == "draft":
            hub.submit_draft(model, pull.number)
        return Proposed(assessment, address(hub, model, pull.number), commit)


def _put(hub: EvaluationHub, model: Repo, revision: str, submission: Submission) -> str:
    edit = RemoteRepo(hub, model).edit_file(
        submission.path,
        lambda _: submission.data,
        message=submission.title,
        revision=revision,
    )
    return edit.commit


def _register(hub: EvaluationHub, root: Path, submission: Submission, pull: PullRequest) -> None:
    result = CommunityResult(
        model_id=submission.model_id,
        pull_request=pull.number,
        url=address(hub, Repo("model", submission.model_id), pull.number),
        filename=submission.path,
        entry=submission.entry,
        proposed_by=pull.author,
        ours=True,
        first_seen_at=datetime.now(UTC).replace(microsecond=0),
    )
    known = {item.key: item for item in load_evaluations(root).results}.get(result.key)
    if known is not None:
        result = known.model_copy(update={"entry": submission.entry, "ours": True})
    record_results(root, [result])
