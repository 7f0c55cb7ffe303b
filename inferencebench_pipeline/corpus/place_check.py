"""Comparison of the place a record was found in, its name and its card, with the record itself."""

from __future__ import annotations

import json
from collections.abc import Iterator

from inferencebench_pipeline.corpus.entries import InventoryEntry
from inferencebench_pipeline.corpus.findings import FindingKind
from inferencebench_pipeline.envelope import EnvelopeError, read_unambiguous
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub import (
    Card,
    CardError,
    card_body,
    card_differences,
    card_omissions,
    place_differences,
    record_name,
)


def place_problems(
    entry: InventoryEntry, envelope: bytes, card: bytes | None, *, verified: bool
) -> Iterator[tuple[FindingKind, str]]:
    """Yield a finding for each fact that the name or the card gets wrong, or the card leaves out.

    Args:
        entry: the repository, with the card's front matter as the Hub reads it.
        envelope: of a record whose signature holds.
        card: the bytes of the card; empty where the commit has none, and None where an earlier
            version has crawled it, which did not read any.
        verified: whether the verdict is good, which the card has to say.
    """
    # Most places have the name that we give, which takes no reading of the envelope to see.
    if not card and _has_our_name(entry):
        return
    try:
        read = read_unambiguous(envelope)
    except EnvelopeError:
        return
    for detail in place_differences(entry.repo_id, read.envelope):
        yield FindingKind.PLACE_DISAGREES, detail
    if not card:
        return
    try:
        found = Card(json.loads(entry.card_json), card_body(card))
    except CardError as error:
        yield FindingKind.CARD_DISAGREES, f"the card cannot be compared with the record: {error}"
        return
    for detail in card_differences(found, read, verified=verified):
        yield FindingKind.CARD_DISAGREES, detail
    for detail in card_omissions(found, read):
        yield FindingKind.CARD_INCOMPLETE, detail


def _has_our_name(entry: InventoryEntry) -> bool:
    try:
        expected = record_name(entry.model_id or "", entry.suite_id or "", entry.run_id or "")
    except PermanentError:
        return False
    return entry.repo_id.rpartition("/")[2].lower() == expected
