"""Precedence among the records of one run: a result counts once, and for whom it belongs.

Pure functions over plain data. Two records are of one run when they share a run id, the traces, or
all that they say; any of these belongs to the organisation and the signer that first had it logged.
The time is that which a trusted clock gave the signature. What a repository says about itself (its
date of creation) and the order in which repositories were found decide nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Shared(StrEnum):
    """The ways in which two records are of one run, with the words that say so."""

    RUN_ID = "it has the same run id"
    FILE = "it binds the same file of traces"
    CONTENT = "its traces hold the same measurements"
    BODY = "it says the same but for run id and date"


class Claim(NamedTuple):
    """A record that was found good, as far as it decides to whom a run belongs.

    A record that was rejected, or that is in a log which is not honest, makes no claim.
    """

    repo_id: str
    organisation: str
    identity: str
    """The identity that signed it, or the fingerprint of a pinned key."""
    issuer: str
    ours: bool
    """True when it is in our own namespace."""
    logged_at: datetime | None
    """The earliest time that a trusted clock gave its signature; None for a bare key."""
    ranks: bool
    """False when it is gone from the Hub, or something else keeps it from being ranked."""
    marks: tuple[tuple[Shared, str], ...]
    """The things that no other run has."""

    @property
    def holder(self) -> tuple[str, str, str]:
        """The organisation and the signer together, to whom a run can belong."""
        return (self.organisation.lower(), self.issuer, self.identity)


def repetitions(claims: Iterable[Claim]) -> dict[str, str]:
    """Return each record that repeats another, by repository, with a sentence that names that one.

    Each mark belongs to the holder of the first claim to it, for good: also when that record has
    gone since. Of the holder's own records with that mark the first that ranks is the run; every
    other record with it is a repetition. So no two records that rank share a mark, and a record
    that is logged later never takes the place of one that was logged before.

    The order is that of the trusted times. Records without one come last. Of those with the same
    time, or without any, ours comes first; then one whose signer's identity names its organisation,
    as the copies of it elsewhere do not; then the one that is first by its name.
    """
    ordered = sorted(claims, key=_order)
    first: dict[tuple[Shared, str], Claim] = {}
    ranking: dict[tuple[Shared, str], Claim] = {}
    for claim in ordered:
        for mark in claim.marks:
            owner = first.setdefault(mark, claim)
            if claim.ranks and claim.holder == owner.holder:
                ranking.setdefault(mark, claim)
    found = {}
    for claim in ordered:
        sentence = next(_sentences(claim, first, ranking), None) if claim.ranks else None
        if sentence is not None:
            found[claim.repo_id] = sentence
    return found


def _order(claim: Claim) -> tuple[bool, float, bool, bool, str]:
    named = f"/{claim.organisation.lower()}/" in claim.identity.lower()
    moment = 0.0 if claim.logged_at is None else claim.logged_at.timestamp()
    return (claim.logged_at is None, moment, not claim.ours, not named, claim.repo_id)


def _sentences(
    claim: Claim,
    first: dict[tuple[Shared, str], Claim],
    ranking: dict[tuple[Shared, str], Claim],
) -> Iterator[str]:
    for mark in claim.marks:
        before = ranking.get(mark, first[mark])
        if before is not claim:
            gone = "" if before.ranks else ", which does not rank itself"
            when = _when(before, claim)
            yield f"it repeats {before.repo_id}{gone}: {mark[0]}, and that record {when}"


def _when(before: Claim, claim: Claim) -> str:
    if before.logged_at is None:
        return "comes first by its name, since neither has a trusted time"
    moment = f"{before.logged_at:%Y-%m-%d %H:%M:%S}Z"
    if claim.logged_at is None:
        return f"has a trusted time ({moment}), which this one has not"
    if claim.logged_at == before.logged_at:
        return f"has the same trusted time ({moment}) and comes first by its namespace"
    return f"was signed first, at {moment}"
