"""Search for our links and results in a model repository, and the changes that remove them.

Only what points to our datasets, or what our register says that we entered, is ours; all else keeps
every byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from inferencebench_pipeline.community_results import (
    CommunityResult,
    EvaluationEntry,
    EvaluationFileError,
    is_result_file,
    without_entries,
)
from inferencebench_pipeline.hub import (
    CARD_FILE,
    KEY,
    FrontMatterError,
    Hub,
    Repo,
    RepoHead,
    get_key,
    remove_items,
    remove_key,
)


@dataclass(frozen=True)
class Ours:
    """The marks of our links and results on one model, whoever merged them and in whatever file."""

    organisation: str
    datasets_url: str
    """Beginning of the addresses of our datasets."""
    entered: frozenset[tuple[str, EvaluationEntry]]
    """The results that our register says we entered, with their files."""

    @classmethod
    def on(
        cls, hub: Hub, model_id: str, organisation: str, results: Iterable[CommunityResult]
    ) -> Ours:
        """Return it for one model."""
        entered = {
            (result.filename, result.entry)
            for result in results
            if result.ours and result.model_id.lower() == model_id.lower()
        }
        return cls(organisation, f"{hub.endpoint}/datasets/{organisation}/", frozenset(entered))

    def is_item(self, item: object) -> bool:
        """Return whether it is an item of ours in a card."""
        return isinstance(item, dict) and str(item.get("url", "")).startswith(self.datasets_url)

    def is_entry(self, filename: str, entry: EvaluationEntry) -> bool:
        """Return whether it is a result of ours: it cites a dataset of ours, or we entered it."""
        cites_us = entry.source is not None and entry.source.url.startswith(self.datasets_url)
        return cites_us or (filename, entry) in self.entered


@dataclass
class Removal:
    """The changes after which a repository holds nothing of ours."""

    changes: dict[str, bytes | None] = field(default_factory=dict)
    links: int = 0
    results: int = 0
    problems: list[str] = field(default_factory=list)
    """Reasons why something cannot be changed safely."""

    @property
    def what(self) -> str:
        """The number of links and results, as words for a message."""
        counted = ((self.links, "link"), (self.results, "result"))
        named = [f"{count} {word}{'s' * (count > 1)}" for count, word in counted if count]
        return " and ".join(named)


def removal_of(hub: Hub, model: Repo, head: RepoHead, ours: Ours) -> Removal:
    """Return what to change at ``head`` of ``model``; only reads.

    Raises:
        HubIntegrityError: the Hub serves other files than it lists.
        HubUnavailableError: and the other errors of :mod:`inferencebench_pipeline.hub`.
    """
    removal = Removal()
    if CARD_FILE in head.files:
        _remove_links(hub.read(model, head, CARD_FILE), ours, removal)
    for path in sorted(filter(is_result_file, head.files)):
        _remove_results(path, hub.read(model, head, path), ours, removal)
    return removal


def _remove_links(card: bytes, ours: Ours, removal: Removal) -> None:
    """Note the card without our items, or why that cannot be had."""
    try:
        after = _without_items(card, ours)
        before, left = get_key(card, KEY), get_key(after, KEY)
    except FrontMatterError as error:
        removal.problems.append(f"the card cannot be edited safely, remove {KEY} by hand ({error})")
        return
    if after != card:
        removal.changes[CARD_FILE] = after
        removal.links = len(before or []) - len(left or [])


def _without_items(card: bytes, ours: Ours) -> bytes:
    """Return ``card`` less our items, proven to be nothing else.

    Raises:
        FrontMatterError: it cannot be had.
    """
    after = remove_items(card, KEY, ours.is_item)
    listed, left = get_key(card, KEY), get_key(after, KEY)
    # A list that would be empty goes with its key, so there is no value then.
    kept = [item for item in listed or [] if not ours.is_item(item)] or None
    if card != after and (left != kept or remove_key(after, KEY) != remove_key(card, KEY)):
        raise FrontMatterError("more than our own items would change")
    return after


def _remove_results(path: str, data: bytes, ours: Ours, removal: Removal) -> None:
    """Take our entries out of one results file."""
    meant: list[EvaluationEntry] = []

    def is_meant(entry: EvaluationEntry) -> bool:
        if ours.is_entry(path, entry):
            meant.append(entry)
            return True
        return False

    try:
        after = without_entries(data, is_meant, filename=path)
    except EvaluationFileError as error:
        # A file that nobody can read shows nothing, and is not ours unless it names us.
        if ours.datasets_url.encode() in data:
            removal.problems.append(f"remove our entries by hand ({error})")
        return
    if meant:
        removal.changes[path] = after
        removal.results += len(meant)
