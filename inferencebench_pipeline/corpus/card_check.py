"""Comparison of a dataset card's machine-readable fields with the envelope beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from inferencebench_pipeline.envelope import (
    EnvelopeError,
    ReadEnvelope,
    parse_envelope,
)
from inferencebench_pipeline.hub import front_matter
from inferencebench_pipeline.trust import Verdict
from inferencebench_pipeline.untrusted import printable

CARD_KEY = "inferencebench"
"""The front-matter key that repeats envelope fields for consumers that index cards."""

_SHOWN_CHARACTERS = 120


def card_differences(card_json: str, envelope_bytes: bytes, verdict: Verdict) -> Iterator[str]:
    """Yield a sentence per field of the card that says something else than the envelope.

    Consumers index cards without parsing envelopes, so a card that disagrees misleads them. Keys
    that the card leaves out, or adds, are its own business; a malformed envelope has no facts.

    Args:
        card_json: the card's ``inferencebench`` block, as JSON.
        envelope_bytes: ``envelope.json`` at the same commit.
        verdict: on those bytes; what ``signature_verified`` has to agree with.
    """
    card: Mapping[str, Any] = json.loads(card_json)
    try:
        facts = _facts(ReadEnvelope(parse_envelope(envelope_bytes)), verdict)
    except EnvelopeError:
        return
    for key, expected in facts.items():
        if key in card and str(card[key]) != str(expected):
            says, gives = (printable(it, _SHOWN_CHARACTERS) for it in (card[key], expected))
            yield f"card says {key}: {says}, the record gives {gives}"


def _facts(read: ReadEnvelope, verdict: Verdict) -> Mapping[str, Any]:
    """Return what each field of the card has to say: what we would write there ourselves."""
    facts = dict(front_matter(read, verified=verdict.ok)[CARD_KEY])
    if not verdict.ok:
        del facts["signature_verified"]  # the rejection is a finding of its own
    if read.extension is None:
        del facts["hardware_class"]  # a foreign writer's classes are its own
    return facts
