"""Takedown of all that is ours from a model's repository, or from all of an organisation's.

The request is recorded first, here and publicly: from then on nothing is put there again, whatever
happens next. Then our open pull requests are closed and our items in the card and our entries in
``.eval_results/`` removed (only ours, and no other byte): by commit where we may write, elsewhere
by one pull request that the owner merges. Repeating it finishes what was cut off. The records stay:
they are our datasets, not part of anybody's repository.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from inferencebench_pipeline.community_results import (
    FOLDER,
    TITLE_PREFIX,
    CommunityResult,
    load_evaluations,
)
from inferencebench_pipeline.hub import (
    KEY,
    PROPOSAL,
    Hub,
    Proposal,
    RemoteRepo,
    Repo,
    Takedown,
    TakedownError,
    changing_links,
    list_published,
    load_takedowns,
    one_pull_request,
    publish_takedown,
    record_takedown,
)
from inferencebench_pipeline.takedown.removal import Ours, removal_of
from inferencebench_pipeline.untrusted import problems_of

REMOVAL = Proposal(
    title="Remove the InferenceBench links and results, as requested",
    description=(
        f"We were asked to take our benchmark links down. This removes our items under `{KEY}` in "
        f"the card and our entries in `{FOLDER}/`, and changes no other byte. We may not write "
        "here, so it needs your merge; removing the lines yourself is as good.\n"
    ),
)
_CLOSING_COMMENT = (
    "Closed by us: we were asked not to link from this model's card. Sorry for the noise. We have "
    "recorded the request and will not propose it again."
)


def take_down(
    hub: Hub,
    root: Path,
    *,
    target: str,
    reason: str,
    requested_by: str,
    organisation: str,
    on_stage: Callable[[str], None],
) -> Takedown:
    """Remove what is ours for ``target`` and never add it again; return the register's entry.

    Args:
        hub: where the cards are.
        root: of the store; the register is there.
        target: a model id, or an organisation.
        reason: why, for the public register.
        requested_by: who asked, as they want to be named publicly.
        organisation: our namespace; what points to its datasets is ours.
        on_stage: called with one line per step.

    Raises:
        TakedownError: a value cannot be recorded; nothing was done.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`: the
            request is recorded, run it again to finish.
    """
    takedown = _requested(root, target, reason, requested_by)
    record_takedown(root, takedown)
    with changing_links(root):  # a link on its way is there before we look, or never comes
        return _taken_down(hub, root, takedown, organisation, on_stage)


def _taken_down(
    hub: Hub, root: Path, takedown: Takedown, organisation: str, on_stage: Callable[[str], None]
) -> Takedown:
    on_stage(f"Recording the request... {takedown.target} is not linked from any more")
    # Public before anything is removed, so that no other deployment links again meanwhile.
    page = publish_takedown(hub, organisation, takedown)
    entered = load_evaluations(root).results
    outcomes = []
    for model_id in _models(hub, entered, takedown.target, organisation):
        ours = Ours.on(hub, model_id, organisation, entered)
        for outcome in _clear(hub, Repo("model", model_id), ours):
            outcomes.append((model_id, outcome))
            on_stage(f"{model_id}: {outcome.line}")
    left = sorted({model_id for model_id, outcome in outcomes if outcome.state == "left"})
    known = takedown.carried_out_at is not None
    lines = (
        f"{model_id}: {outcome.line}"
        for model_id, outcome in outcomes
        # Asked again after all is gone, that nothing was found is no news for the record.
        if not known or outcome.state != "nothing"
    )
    done = takedown.model_copy(
        update={
            "carried_out_at": None if left else takedown.carried_out_at or _now(),
            "outcome": tuple(dict.fromkeys((*takedown.outcome, *lines))),
        }
    )
    record_takedown(root, done)
    publish_takedown(hub, organisation, done)
    on_stage(f"Waiting for the owner of {', '.join(left)}." if left else "Taken down.")
    on_stage(f"Public record: {page}")
    return done


def _requested(root: Path, target: str, reason: str, requested_by: str) -> Takedown:
    """Return the register's entry for ``target``: the earlier one when it was asked before."""
    try:
        asked = Takedown(
            target=target,
            reason=reason,
            requested_by=requested_by,
            requested_at=_now(),
        )
    except ValidationError as error:
        raise TakedownError(f"takedown: {problems_of(error, values=True)}") from error
    # Asked again, the first request stands with its date and its words.
    return load_takedowns(root).of(target) or asked


def _models(
    hub: Hub, entered: Iterable[CommunityResult], target: str, organisation: str
) -> list[str]:
    """Return the models that may carry something of ours: named, listed with our key, or measured.

    The models that we published or proposed results of are looked at too, since a pull request
    that is still open leaves no trace in the model's own list entry.
    """
    if "/" in target:
        return [target]
    linked = {
        str(row["id"]) for row in hub.list_models(target) if KEY in (row.get("cardData") or {})
    }
    measured = {
        model
        for published in list_published(hub, organisation)
        if (model := _model_of(published.card)).lower().startswith(f"{target.lower()}/")
    }
    proposed = {
        result.model_id
        for result in entered
        if result.ours and result.model_id.lower().startswith(f"{target.lower()}/")
    }
    return sorted(linked | measured | proposed)


def _model_of(card: Any) -> str:  # noqa: ANN401 - a card's front matter, as its writer left it
    facets = card.get("inferencebench")
    return str(facets.get("model", "")) if isinstance(facets, dict) else ""


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class _Outcome:
    """The outcome for one model."""

    line: str
    state: Literal["nothing", "removed", "left"] = "nothing"
    """There was nothing of ours; or it is removed; or something is left for its owner to do."""


def _clear(hub: Hub, model: Repo, ours: Ours) -> Iterable[_Outcome]:
    """Remove what is ours from one model; yield what was done."""
    if hub.find(model) is None:
        yield _Outcome("not on the Hub, or hidden from us; nothing to remove")
        return
    author = hub.account().name
    for pull in hub.pull_requests(model):
        proposed = pull.title.startswith((PROPOSAL.title, TITLE_PREFIX))
        # Anybody may use our titles, so the account has to be ours as well.
        if pull.is_live and pull.author == author and proposed:
            hub.close_pull_request(model, pull.number, comment=_CLOSING_COMMENT)
            yield _Outcome(f"pull request {pull.number} closed", state="removed")
    found = removal_of(hub, model, hub.head(model), ours)
    for problem in found.problems:
        yield _Outcome(problem, state="left")
    if found.changes:
        yield _remove(hub, model, ours, found.what)
    elif not found.problems:
        yield _Outcome("no link or result of ours on the main branch")


def _remove(hub: Hub, model: Repo, ours: Ours, what: str) -> _Outcome:
    """Remove what is ours: by commit where we may, else by the owner's merge."""
    account = hub.account()
    if model.namespace in {ours.organisation, *account.writable}:
        commit = _edit(hub, model, ours, "main")
        return _Outcome(f"{what} removed in commit {commit}", state="removed")
    pull = one_pull_request(hub, model, account.name, REMOVAL)
    if isinstance(pull, str):
        return _Outcome(f"{pull}; still there: {what}", state="left")
    _edit(hub, model, ours, pull.ref)
    if pull.status == "draft":
        hub.submit_draft(model, pull.number)
    return _Outcome(
        f"pull request {pull.number} removes {what}; its owner has to merge it", state="left"
    )


def _edit(hub: Hub, model: Repo, ours: Ours, revision: str) -> str:
    edit = RemoteRepo(hub, model).edit_files(
        lambda head: removal_of(hub, model, head, ours).changes,
        message="Remove our benchmark links and results, as requested",
        revision=revision,
    )
    return edit.commit
