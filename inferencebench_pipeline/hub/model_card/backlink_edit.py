"""The model-card backlink: one front-matter key on the model's card that points to the record.

Only metadata changes, and no byte outside the lines of the key. Where the account may write, the
key is committed. On everybody else's card it is proposed by a pull request, only when that is
allowed explicitly, and by one per model. An owner who closes it, or who asked us to take our links
down, is not asked again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date
from typing import Any, Literal

from pydantic import ValidationError

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.envelope import parse_envelope
from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.client.edit import RemoteRepo
from inferencebench_pipeline.hub.client.pull_request import Proposal, one_pull_request
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.dataset.card import CARD_FILE
from inferencebench_pipeline.hub.dataset.receipt import ReceiptError, require_receipt
from inferencebench_pipeline.hub.model_card.front_matter import (
    FrontMatterError,
    append_item,
    get_key,
    remove_key,
    set_key,
)
from inferencebench_pipeline.hub.takedowns.register import Takedowns
from inferencebench_pipeline.runs import SHORT_WORK_S, RunDirectory, RunFile

KEY = "inferencebench-verified"
PROPOSAL = Proposal(
    title="Link verified InferenceBench results in the metadata",
    description=f"""\
This adds one metadata key, `{KEY}`, which lists signed benchmark results of this model that anyone
can verify. Nothing that the card shows changes, and no other byte of it either.

If you would rather not have it, close this pull request: it will not be proposed again. Further
results are added to this pull request while it is open, instead of opening another.
""",
)
_MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_LISTED = "the entry is in the card already"


class BacklinkReceipt(DocumentPart):
    """The content of ``backlink.json``: what was changed where, or why nothing was."""

    schema_version: Literal["1"] = "1"
    """The version of the form of the document."""
    mode: Literal["commit", "pull_request", "skipped"]
    """The way in which the card was changed, or ``skipped``."""
    model_id: str
    """The id of the model."""
    dataset_url: str | None
    """The record's page: the ``url`` of our entry."""
    url: str | None = None
    """The model's page, or the pull request."""
    parent: str | None = None
    """Commit the card was read at; equal to ``commit`` when the entry was there already."""
    commit: str | None = None
    """The commit that holds the entry."""
    reason: str | None = None
    """Reason why nothing was changed; ``None`` when something was."""


@dataclass(frozen=True)
class _Entry:
    """Our item of the list."""

    url: str
    suite: str
    date: date
    fingerprint_sha256: str

    def as_item(self) -> dict[str, object]:
        return {
            "url": self.url,
            "suite": self.suite,
            "date": self.date,
            "fingerprint_sha256": self.fingerprint_sha256,
        }


@dataclass(frozen=True)
class LinkPolicy:
    """The rules for the cards that we may link from."""

    pull_requests: bool = False
    """True if a person decided that pull requests may be opened on models of others."""
    takedowns: Takedowns = field(default_factory=Takedowns)
    """Models and organisations that we never link from."""


@dataclass(frozen=True)
class LinkPreview:
    """The card as linking would leave it; nothing was sent."""

    mode: Literal["commit", "pull_request", "skipped"]
    model_id: str
    reason: str | None
    before: bytes = b""
    after: bytes = b""


def backlink(hub: Hub, run: RunDirectory, policy: LinkPolicy) -> BacklinkReceipt:
    """Link the published record from its model's card; write and return the receipt.

    Repeating it changes nothing. A model that is not on the Hub, has no card, whose owner asked
    for a takedown, or whose card cannot be edited without touching more than our key is skipped
    with the reason.

    Raises:
        MissingRunFileError: the run is not published yet.
        ReceiptError: ``publication.json`` is damaged.
        RunBusyError: another process works on the run.
        HubPermissionError: no token, or one that may not do this.
        HubIntegrityError: the Hub serves another card than was committed.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`;
            a list of pull requests that cannot be read in full is an error, never "none".
    """
    with run.writing("linking from the model card", wait_s=SHORT_WORK_S):
        published = require_receipt(run)
        return _written(run, _link(hub, run, published.url, published.repo_id, policy).make())


def preview_backlink(hub: Hub, run: RunDirectory, dataset: Repo, policy: LinkPolicy) -> LinkPreview:
    """Return what :func:`backlink` would change once the run is published as ``dataset``.

    Raises:
        HubPermissionError: no token, or one that may not do this.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`.
    """
    return _link(hub, run, hub.page_url(dataset), dataset.id, policy).preview()


def _link(hub: Hub, run: RunDirectory, url: str, repo_id: str, policy: LinkPolicy) -> _Link:
    envelope = parse_envelope(run.read(RunFile.ENVELOPE))
    entry = _Entry(
        url=url,
        suite=envelope.suite_id,
        date=envelope.timestamp.astimezone(UTC).date(),
        fingerprint_sha256=envelope.hardware_fingerprint.fingerprint_sha256,
    )
    return _Link(hub, envelope.model.id, entry, publisher=repo_id.partition("/")[0], policy=policy)


def skip_backlink(run: RunDirectory, reason: str) -> BacklinkReceipt:
    """Write and return a receipt that says why no backlink was made."""
    envelope = parse_envelope(run.read(RunFile.ENVELOPE))
    receipt = BacklinkReceipt(
        mode="skipped", model_id=envelope.model.id, dataset_url=None, reason=reason
    )
    return _written(run, receipt)


def check_backlink(hub: Hub, receipt: BacklinkReceipt) -> str | None:
    """Return what is wrong with the card at the receipt's commit, or ``None``.

    Both versions are read from the Hub by commit, whoever wrote the receipt.
    """
    if receipt.commit is None or receipt.parent is None or receipt.dataset_url is None:
        return None
    repo = Repo("model", receipt.model_id)
    before = hub.fetch(repo, receipt.parent, CARD_FILE)
    after = hub.fetch(repo, receipt.commit, CARD_FILE)
    return compare_cards(before, after, receipt.dataset_url)


def compare_cards(before: bytes, after: bytes, url: str) -> str | None:
    """Return how ``after`` differs from ``before`` by more than our entry, or ``None``.

    Proves from the bytes alone that outside the key's lines nothing changed, that what was listed
    is still listed, and that ``url`` is listed exactly once.
    """
    try:
        # Set and removed first, so that an empty block counts as none on both sides.
        rest_before = remove_key(set_key(before, KEY, None), KEY)
        rest = remove_key(set_key(after, KEY, None), KEY)
        listed_before, listed = _listed(before), _listed(after)
    except FrontMatterError as error:
        return f"the card cannot be read: {error}"
    if rest != rest_before:
        return f"bytes outside the lines of {KEY!r} changed"
    # Our entry is only ever added at the end, so what was listed must still lead.
    if listed[: len(listed_before)] != listed_before:
        return f"an item that was under {KEY!r} before was changed or lost"
    times = sum(isinstance(item, dict) and item.get("url") == url for item in listed)
    return None if times == 1 else f"{url} is listed {times} times under {KEY!r}, not once"


class _Link:
    """One attempt to link one record from one card."""

    def __init__(
        self, hub: Hub, model_id: str, entry: _Entry, *, publisher: str, policy: LinkPolicy
    ) -> None:
        self._hub = hub
        self._model = Repo("model", model_id)
        self._entry = entry
        self._publisher = publisher
        self._policy = policy

    def make(self) -> BacklinkReceipt:
        decided = self._decide()
        if isinstance(decided, str):
            return self._skipped(decided)
        mode, author = decided
        try:
            if mode == "commit":
                return self._commit("main", mode="commit", url=self._hub.page_url(self._model))
            return self._propose(author)
        except FrontMatterError as error:
            return self._skipped(str(error))

    def preview(self) -> LinkPreview:
        decided = self._decide()
        if isinstance(decided, str):
            return LinkPreview("skipped", self._model.id, decided)
        head = self._hub.head(self._model)
        before = self._hub.read(self._model, head, CARD_FILE)
        try:
            if _is_listed(before, self._entry.url):
                return LinkPreview("skipped", self._model.id, _LISTED, before, before)
            return LinkPreview(
                decided[0], self._model.id, None, before, _with_entry(before, self._entry)
            )
        except FrontMatterError as error:
            return LinkPreview("skipped", self._model.id, str(error))

    def _decide(self) -> tuple[Literal["commit", "pull_request"], str] | str:
        """Return how the link is to be made and as whom, or why there must be none."""
        takedown = self._policy.takedowns.covering(self._model.id)
        if takedown is not None:
            return (
                f"taken down: {takedown.target} asked on {takedown.requested_at:%Y-%m-%d} that "
                "we do not link from its cards"
            )
        # An engine may call its model by a path, or by any other name.
        if not _MODEL_ID.fullmatch(self._model.id):
            return "the model id is not that of a repository on the Hub"
        head = self._hub.find(self._model)
        if head is None:
            return "there is no such model on the Hub, or it is hidden from us"
        if CARD_FILE not in head.files:
            return "the model has no card to link from"
        account = self._hub.account()
        account.require_write_token()
        if self._model.namespace in {self._publisher, *account.writable}:
            return "commit", account.name
        if not self._policy.pull_requests:
            return (
                f"{self._model.namespace} is not ours and pull requests were not allowed "
                "(--open-pull-requests, or INFERENCEBENCH_OPEN_PULL_REQUESTS=1)"
            )
        return "pull_request", account.name

    def _propose(self, author: str) -> BacklinkReceipt:
        head = self._hub.head(self._model)
        assert head.commit is not None
        card = self._hub.read(self._model, head, CARD_FILE)
        if _is_listed(card, self._entry.url):
            page = self._hub.page_url(self._model)
            return self._receipt("pull_request", page, head.commit, head.commit, _LISTED)
        _with_entry(card, self._entry)  # a card that cannot be edited gets no pull request
        pull = one_pull_request(self._hub, self._model, author, PROPOSAL)
        if isinstance(pull, str):
            return self._skipped(pull)
        address = f"{self._hub.page_url(self._model)}/discussions/{pull.number}"
        receipt = self._commit(pull.ref, mode="pull_request", url=address)
        # Shown to the owner only now that it holds the change.
        if pull.status == "draft":
            self._hub.submit_draft(self._model, pull.number)
        return receipt

    def _commit(
        self, revision: str, *, mode: Literal["commit", "pull_request"], url: str
    ) -> BacklinkReceipt:
        """Add the entry on ``revision``, unless it is there."""

        def change(card: bytes | None) -> bytes:
            if card is None:
                raise FrontMatterError("the model's card is gone meanwhile")
            return card if _is_listed(card, self._entry.url) else _with_entry(card, self._entry)

        edit = RemoteRepo(self._hub, self._model).edit_file(
            CARD_FILE,
            change,
            message=f"Link a verified benchmark result under {KEY}",
            revision=revision,
        )
        reason = None if edit.changed else _LISTED
        return self._receipt(mode, url, edit.parent, edit.commit, reason)

    def _receipt(
        self,
        mode: Literal["commit", "pull_request"],
        url: str,
        parent: str | None,
        commit: str,
        reason: str | None,
    ) -> BacklinkReceipt:
        return BacklinkReceipt(
            mode=mode,
            model_id=self._model.id,
            dataset_url=self._entry.url,
            url=url,
            parent=parent,
            commit=commit,
            reason=reason,
        )

    def _skipped(self, reason: str) -> BacklinkReceipt:
        return BacklinkReceipt(
            mode="skipped", model_id=self._model.id, dataset_url=self._entry.url, reason=reason
        )


def _with_entry(card: bytes, entry: _Entry) -> bytes:
    """Return the card with the entry, proven to change nothing else.

    Raises:
        FrontMatterError: that is not possible.
    """
    edited = append_item(card, KEY, entry.as_item())
    if (problem := compare_cards(card, edited, entry.url)) is not None:
        raise FrontMatterError(f"the card cannot be edited safely: {problem}")
    return edited


def _is_listed(card: bytes, url: str) -> bool:
    return any(isinstance(item, dict) and item.get("url") == url for item in _listed(card))


def _listed(card: bytes) -> list[Any]:
    items = get_key(card, KEY)
    return items if isinstance(items, list) else []


def read_backlink(run: RunDirectory) -> BacklinkReceipt:
    """Return what linking left in ``backlink.json``.

    Raises:
        MissingRunFileError: nothing was linked yet, nor skipped.
        ReceiptError: the file is damaged.
    """
    try:
        return BacklinkReceipt.model_validate_json(run.read_as_written(RunFile.BACKLINK))
    except ValidationError as error:
        raise ReceiptError(
            f"{run.file(RunFile.BACKLINK)} is damaged; materialise `model_card_backlink` again"
        ) from error


def _written(run: RunDirectory, receipt: BacklinkReceipt) -> BacklinkReceipt:
    run.write(RunFile.BACKLINK, receipt.model_dump_json(indent=2).encode() + b"\n")
    return receipt
