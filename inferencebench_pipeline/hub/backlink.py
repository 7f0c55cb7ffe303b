"""The model-card backlink: one front-matter key on the model's card that points to the record.

Metadata only: not a byte outside the key's lines changes. Where the account may write, the key is
committed; on everybody else's card it is proposed by a pull request, one per model and never a
second, and an owner who closes it is not asked again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.hub.card import CARD_FILE
from inferencebench_pipeline.hub.client import (
    Hub,
    HubHeadMovedError,
    HubIntegrityError,
    HubNotFoundError,
    HubUnavailableError,
    PullRequest,
    Repo,
)
from inferencebench_pipeline.hub.frontmatter import (
    FrontMatterError,
    append_item,
    get_key,
    remove_key,
    set_key,
)
from inferencebench_pipeline.hub.publish import Receipt
from inferencebench_pipeline.runs import RunDirectory, RunFile

KEY = "inferencebench-verified"
PULL_REQUEST_TITLE = "Link verified InferenceBench results in the metadata"
"""How a pull request of ours is known again: with the account's name, it is the identity."""

_PULL_REQUEST_TEXT = f"""\
This adds one metadata key, `{KEY}`, which lists signed benchmark results of this model that anyone
can verify. Nothing that the card shows changes, and no other byte of it either.

If you would rather not have it, close this pull request: it will not be proposed again. Further
results are added to this pull request while it is open, instead of opening another.
"""
_MODEL_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_ROUNDS = 5


class BacklinkReceipt(BaseModel):
    """The content of ``backlink.json``: what was changed where, or why nothing was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal["1"] = "1"
    mode: Literal["commit", "pull_request", "skipped"]
    model_id: str
    dataset_url: str | None
    """The record's page: the ``url`` of our entry."""
    url: str | None = None
    """The model's page, or the pull request."""
    parent: str | None = None
    """Commit the card was read at; equal to ``commit`` when the entry was there already."""
    commit: str | None = None
    reason: str | None = None
    """Why nothing was changed, when nothing was."""


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


def backlink(hub: Hub, run: RunDirectory) -> BacklinkReceipt:
    """Link the published record from its model's card; write and return the receipt.

    Repeating it changes nothing. A model that is not on the Hub, has no card, or whose card
    cannot be edited without touching more than our key is skipped with the reason.

    Raises:
        MissingRunFileError: the run is not published yet.
        HubPermissionError: no token, or one that may not do this.
        HubIntegrityError: the Hub serves another card than was committed.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub.errors`;
            a list of pull requests that cannot be read in full is an error, never "none".
    """
    published = Receipt.model_validate_json(run.read(RunFile.PUBLICATION))
    envelope = parse_envelope(run.read(RunFile.ENVELOPE))
    entry = _Entry(
        url=published.url,
        suite=envelope.suite_id,
        date=envelope.timestamp.astimezone(UTC).date(),
        fingerprint_sha256=envelope.hardware_fingerprint.fingerprint_sha256,
    )
    link = _Link(hub, envelope.model.id, entry, namespace=published.repo_id.partition("/")[0])
    return _written(run, link.make())


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
    if listed[: len(listed_before)] != listed_before:
        return f"an item that was under {KEY!r} before was changed or lost"
    times = sum(isinstance(item, dict) and item.get("url") == url for item in listed)
    return None if times == 1 else f"{url} is listed {times} times under {KEY!r}, not once"


class _Link:
    """One attempt to link one record from one card."""

    def __init__(self, hub: Hub, model_id: str, entry: _Entry, *, namespace: str) -> None:
        self._hub = hub
        self._model = Repo("model", model_id)
        self._entry = entry
        self._publisher = namespace

    def make(self) -> BacklinkReceipt:
        if not _MODEL_ID.fullmatch(self._model.id):
            return self._skipped("the model id is not that of a repository on the Hub")
        try:
            head = self._hub.head(self._model)
        except HubNotFoundError:
            return self._skipped("there is no such model on the Hub, or it is hidden from us")
        if CARD_FILE not in head.files:
            return self._skipped("the model has no card to link from")
        account = self._hub.account()
        try:
            if self._model.id.partition("/")[0] in {self._publisher, *account.writable}:
                return self._commit("main", mode="commit", url=self._hub.page_url(self._model))
            return self._propose(account.name)
        except FrontMatterError as error:
            return self._skipped(str(error))

    def _propose(self, author: str) -> BacklinkReceipt:
        head = self._hub.head(self._model)
        assert head.commit is not None
        card = self._hub.fetch(self._model, head.commit, CARD_FILE)
        if _is_listed(card, self._entry.url):
            return self._receipt(
                "pull_request",
                self._hub.page_url(self._model),
                head.commit,
                head.commit,
                "the entry is in the card already",
            )
        _with_entry(card, self._entry)  # a card that cannot be edited gets no pull request
        pull = self._live_pull_request(author)
        if isinstance(pull, str):
            return self._skipped(pull)
        address = f"{self._hub.page_url(self._model)}/discussions/{pull.number}"
        receipt = self._commit(pull.ref, mode="pull_request", url=address)
        if pull.status == "draft":
            self._hub.submit_draft(self._model, pull.number)
        return receipt

    def _live_pull_request(self, author: str) -> PullRequest | str:
        """Return our pull request, opened if need be, or why there must be none.

        After a lost response the list, not the memory of a request, says whether it was opened.
        """
        failure: HubUnavailableError | None = None
        for _ in range(_ROUNDS):
            ours = [
                pull
                for pull in self._hub.pull_requests(self._model)
                if pull.author == author and pull.title == PULL_REQUEST_TITLE
            ]
            live = [pull for pull in ours if pull.status in {"draft", "open"}]
            closed = [pull.number for pull in ours if pull.status == "closed"]
            if live:
                return min(live, key=lambda pull: pull.number)
            if closed:
                return f"the owner closed our pull request {max(closed)}; it is not proposed again"
            try:
                self._hub.open_draft(
                    self._model, title=PULL_REQUEST_TITLE, description=_PULL_REQUEST_TEXT
                )
            except HubUnavailableError as error:
                failure = error
        raise failure or HubIntegrityError(
            f"a pull request opened on {self._model.id} does not show in the list of them"
        )

    def _commit(
        self, revision: str, *, mode: Literal["commit", "pull_request"], url: str
    ) -> BacklinkReceipt:
        """Add the entry on ``revision``, again on a fresh reading whenever the card moved."""
        for _ in range(_ROUNDS):
            head = self._hub.head(self._model, revision)
            assert head.commit is not None
            before = self._hub.fetch(self._model, head.commit, CARD_FILE)
            if _is_listed(before, self._entry.url):
                return self._receipt(
                    mode, url, head.commit, head.commit, "the entry is in the card already"
                )
            after = _with_entry(before, self._entry)
            try:
                commit = self._hub.commit(
                    self._model,
                    {CARD_FILE: after},
                    message=f"Link a verified benchmark result under {KEY}",
                    parent=head.commit,
                    revision=revision,
                )
            except HubHeadMovedError:
                continue
            if self._hub.fetch(self._model, commit, CARD_FILE) != after:
                raise HubIntegrityError(
                    f"{self._hub.page_url(self._model)} serves another card at {commit} than was "
                    "committed; look at its history"
                )
            return self._receipt(mode, url, head.commit, commit, None)
        raise HubUnavailableError(
            f"the card of {self._model.id} was changed {_ROUNDS} times meanwhile; try again later"
        )

    def _receipt(
        self,
        mode: Literal["commit", "pull_request"],
        url: str,
        parent: str,
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


def _written(run: RunDirectory, receipt: BacklinkReceipt) -> BacklinkReceipt:
    run.write(RunFile.BACKLINK, receipt.model_dump_json(indent=2).encode() + b"\n")
    return receipt
