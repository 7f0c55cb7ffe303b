"""Records that others publish: found on the Hub by their tag, taken in within bounds.

Anybody may tag a dataset and fill it with anything. What one look costs is therefore bounded, in
repositories, bytes and time, for each owner and altogether; what is left over waits for the next.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from inferencebench_pipeline.corpus.inventory import Inventory, RepoState, crawl_others
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.envelope import TRACES_FILE
from inferencebench_pipeline.hub import (
    ENVELOPE_FILE,
    Hub,
    HubNotFoundError,
    PublishedRepo,
    Repo,
    RetryPolicy,
    list_elsewhere,
)

PATIENCE: Final = RetryPolicy(attempts=3, longest_wait_s=30.0, deadline_s=120.0)
"""The retries for any one file. A stranger's record is not worth more."""
GLANCE: Final = RetryPolicy(attempts=1, longest_wait_s=0.0, deadline_s=20.0)
"""The retries for the list alone, which a sensor asks for that must answer within a minute."""


@dataclass(frozen=True)
class Bounds:
    """The bounds on the cost of one look at the records of others."""

    listed: int = 2_000
    fetched: int = 200
    fetched_of_one_owner: int = 50
    envelope_bytes: int = 1 << 20
    traces_bytes: int = 64 << 20
    all_bytes: int = 512 << 20
    duration_s: float = 900.0


BOUNDS: Final = Bounds()


@dataclass(frozen=True)
class TakenIn:
    """The result of a look at the records of others."""

    inventory: Inventory
    passed_over: frozenset[str]
    """New or changed ones that the bounds left for the next time."""
    fetched_bytes: int


def news_elsewhere(
    hub: Hub, organisation: str, store: CorpusStore, bounds: Bounds
) -> dict[str, str]:
    """Return the revision of each record of others that is new or changed, by repository.

    Raises:
        HubError: the list could not be read.
        InventoryError: the inventory cannot be read.
    """
    known = _known_revisions(Inventory.load(store))
    listing = list_elsewhere(hub, organisation, most=bounds.listed)
    return {
        repo.repo_id: repo.revision for repo in listing if known.get(repo.repo_id) != repo.revision
    }


def take_in_elsewhere(
    hub: Hub,
    organisation: str,
    store: CorpusStore,
    *,
    bounds: Bounds = BOUNDS,
    clock: Callable[[], float] = time.monotonic,
) -> TakenIn:
    """Bring the inventory up to date with what others publish, as far as ``bounds`` allow.

    The entries are marked as the community's. Nothing is judged here: the policy decides what a
    signature under somebody else's namespace is worth.

    Raises:
        HubUnavailableError: the Hub stopped answering; what was fetched until then is kept.
        InventoryError: the inventory cannot be read.
    """
    source = _Bounded(hub, bounds, clock)
    before = Inventory.load(store)
    # Read to its end first, since only its length tells whether it was cut.
    listing = list(list_elsewhere(hub, organisation, most=bounds.listed))
    # When the list was cut, what is not in it may still be there.
    cut_off = {entry.repo_id for entry in before.entries if entry.community}
    source.passed_over = cut_off if len(listing) >= bounds.listed else set()
    inventory = crawl_others(
        source, source.within_bounds(listing, before), source.passed_over, store
    )
    return TakenIn(inventory, frozenset(source.postponed), source.fetched_bytes)


class _Bounded:
    """Reads files of strangers, and stops choosing repositories when the bounds are reached."""

    def __init__(self, hub: Hub, bounds: Bounds, clock: Callable[[], float]) -> None:
        self._hub = hub
        self._bounds = bounds
        self._clock = clock
        self._until = clock() + bounds.duration_s
        self._without_envelope: set[str] = set()
        self.fetched_bytes = 0
        self.passed_over: set[str] = set()
        self.postponed: set[str] = set()

    @property
    def endpoint(self) -> str:
        """Base URL of the Hub."""
        return self._hub.endpoint

    def listed(self, organisation: str) -> Iterator[PublishedRepo]:
        """Yield the records of everybody but ``organisation``."""
        return list_elsewhere(self._hub, organisation, most=self._bounds.listed)

    def within_bounds(
        self, listing: list[PublishedRepo], before: Inventory
    ) -> Iterator[PublishedRepo]:
        """Yield what is worth looking into; not again what is known to be no record."""
        known, bounds = _known_revisions(before), self._bounds
        hopeless = {
            entry.repo_id
            for entry in before.entries
            if entry.state in (RepoState.UNREADABLE, RepoState.NO_ENVELOPE)
        }
        chosen: Counter[str] = Counter()
        for repo in listing:
            # The Hub takes names of other case for the same, so
            # another spelling buys no further share.
            owner = repo.repo_id.partition("/")[0].lower()
            if known.get(repo.repo_id) == repo.revision:
                # Its commit is the known one, so it would be refused or found empty again.
                if repo.repo_id in hopeless:
                    self.passed_over.add(repo.repo_id)
                else:
                    yield repo
            elif (
                self._spent()
                or chosen.total() >= bounds.fetched
                or chosen[owner] >= bounds.fetched_of_one_owner
            ):
                self._postpone(repo)
            else:
                chosen[owner] += 1
                yield repo

    def fetch(self, repo_id: str, revision: str, path: str) -> bytes | None:
        """Return a file's bytes at ``revision``; None where the commit has none.

        Raises:
            HubIntegrityError: it is larger than such a file of a run is.
        """
        if repo_id in self._without_envelope:
            return None
        of_kind = self._bounds.traces_bytes if path == TRACES_FILE else self._bounds.envelope_bytes
        try:
            data = self._hub.fetch(Repo("dataset", repo_id), revision, path, max_bytes=of_kind)
        except HubNotFoundError:
            if path == ENVELOPE_FILE:
                # Its traces need not be asked for either.
                self._without_envelope.add(repo_id)
            return None
        self.fetched_bytes += len(data)
        return data

    def _postpone(self, repo: PublishedRepo) -> None:
        self.postponed.add(repo.repo_id)
        self.passed_over.add(repo.repo_id)

    def _spent(self) -> bool:
        return self.fetched_bytes >= self._bounds.all_bytes or self._clock() >= self._until


def _known_revisions(inventory: Inventory) -> Mapping[str, str]:
    return {entry.repo_id: entry.revision for entry in inventory.entries if entry.community}
