"""Taking our links down from a model's card, or from all cards of an organisation, for good.

The request is recorded first: from then on nothing links there again, whatever happens next. Then
our items are removed (only ours, and no other byte), and our open pull requests closed. Repeating
it finishes what was cut off. The records stay: they are our datasets, not part of anybody's card.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from inferencebench_pipeline.hub.backlink import KEY, PULL_REQUEST_TITLE
from inferencebench_pipeline.hub.card import CARD_FILE
from inferencebench_pipeline.hub.client import Hub
from inferencebench_pipeline.hub.crawl import list_published
from inferencebench_pipeline.hub.errors import (
    HubHeadMovedError,
    HubIntegrityError,
    HubNotFoundError,
    HubPermissionError,
    HubUnavailableError,
)
from inferencebench_pipeline.hub.evaluation_audit import TITLE_PREFIX
from inferencebench_pipeline.hub.evaluation_register import load_evaluations
from inferencebench_pipeline.hub.frontmatter import (
    FrontMatterError,
    get_key,
    remove_items,
    remove_key,
)
from inferencebench_pipeline.hub.repo import Repo
from inferencebench_pipeline.hub.takedown_register import (
    Takedown,
    TakedownError,
    load_takedowns,
    record_takedown,
)

_CLOSING_COMMENT = (
    "Closed by us: we were asked not to link from this model's card. Sorry for the noise. We have "
    "recorded the request and will not propose it again."
)
_ROUNDS = 5


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
    """Remove our links for ``target`` and never add them again; return the register's entry.

    Args:
        hub: where the cards are.
        root: of the store; the register is there.
        target: a model id, or an organisation.
        reason: why, for the public register.
        requested_by: who asked, as they want to be named publicly.
        organisation: our namespace; only items that point to its datasets are ours.
        on_stage: called with one line per step.

    Raises:
        TakedownError: a value cannot be recorded; nothing was done.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub.errors`: the
            request is recorded, run it again to finish.
    """
    takedown = _requested(root, target, reason, requested_by)
    record_takedown(root, takedown)
    on_stage(f"Recording the request... {takedown.target} is not linked from any more")
    author = hub.account().name
    outcome = []
    for model_id in _models(hub, root, takedown.target, organisation):
        for line in _clear(hub, Repo("model", model_id), author, organisation):
            outcome.append(f"{model_id}: {line}")
            on_stage(outcome[-1])
    done = takedown.model_copy(
        update={
            "carried_out_at": datetime.now(UTC).replace(microsecond=0),
            "outcome": tuple(dict.fromkeys((*takedown.outcome, *outcome))),
        }
    )
    record_takedown(root, done)
    on_stage("Taken down.")
    return done


def _requested(root: Path, target: str, reason: str, requested_by: str) -> Takedown:
    """Return the register's entry for ``target``: the earlier one when it was asked before."""
    try:
        asked = Takedown(
            target=target,
            reason=reason,
            requested_by=requested_by,
            requested_at=datetime.now(UTC).replace(microsecond=0),
        )
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise TakedownError(
            f"takedown {problem['loc'][0]}={problem['input']!r}: {problem['msg']}"
        ) from error
    return load_takedowns(root).of(target) or asked


def _models(hub: Hub, root: Path, target: str, organisation: str) -> list[str]:
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
        for result in load_evaluations(root).results
        if result.ours and result.model_id.lower().startswith(f"{target.lower()}/")
    }
    return sorted(linked | measured | proposed)


def _model_of(card: Any) -> str:  # noqa: ANN401 - a card's front matter, as its writer left it
    facets = card.get("inferencebench")
    return str(facets.get("model", "")) if isinstance(facets, dict) else ""


def _clear(hub: Hub, model: Repo, author: str, organisation: str) -> Iterable[str]:
    """Remove what is ours from one model; yield what was done."""
    try:
        pulls = hub.pull_requests(model)
    except HubNotFoundError:
        yield "not on the Hub, or hidden from us; nothing to remove"
        return
    for pull in pulls:
        ours = pull.title == PULL_REQUEST_TITLE or pull.title.startswith(TITLE_PREFIX)
        if pull.is_live and pull.author == author and ours:
            hub.close_pull_request(model, pull.number, comment=_CLOSING_COMMENT)
            yield f"pull request {pull.number} closed"
    yield _unlink(hub, model, organisation)


def _unlink(hub: Hub, model: Repo, organisation: str) -> str:
    """Remove our items from the card, again on a fresh reading whenever it moved."""
    ours = f"{hub.endpoint}/datasets/{organisation}/"
    for _ in range(_ROUNDS):
        head = hub.head(model)
        if head.commit is None or CARD_FILE not in head.files:
            return "no card"
        before = hub.fetch(model, head.commit, CARD_FILE)
        try:
            after = remove_items(before, KEY, lambda item: _points_to(item, ours))
            _prove(before, after, ours)
        except FrontMatterError as error:
            return f"the card cannot be edited safely, remove {KEY} by hand ({error})"
        if after == before:
            return "no link of ours in the card"
        try:
            commit = hub.commit(
                model,
                {CARD_FILE: after},
                message=f"Remove our benchmark results from {KEY}, as requested",
                parent=head.commit,
            )
        except HubHeadMovedError:
            continue
        except HubPermissionError:
            return f"the card is not ours to change; its owner can delete our items of {KEY}"
        if hub.fetch(model, commit, CARD_FILE) != after:
            raise HubIntegrityError(
                f"{hub.page_url(model)} serves another card at {commit} than was committed; look "
                "at its history"
            )
        return f"link removed from the card in commit {commit}"
    raise HubUnavailableError(
        f"the card of {model.id} was changed {_ROUNDS} times meanwhile; run the takedown again"
    )


def _points_to(item: object, prefix: str) -> bool:
    return isinstance(item, dict) and str(item.get("url", "")).startswith(prefix)


def _prove(before: bytes, after: bytes, ours: str) -> None:
    """Return when ``after`` is ``before`` less our items, and nothing else.

    Raises:
        FrontMatterError: it is not.
    """
    listed, left = get_key(before, KEY), get_key(after, KEY)
    kept = [item for item in listed or [] if not _points_to(item, ours)] or None
    if before != after and (left != kept or remove_key(after, KEY) != remove_key(before, KEY)):
        raise FrontMatterError("more than our own items would change")
