"""Fast path: the facts of an envelope in the writers' own form, without building the envelope.

The structure that is decoded is generated from the envelope's models, and the columns are read from
it as they are from an envelope: nothing is written down twice. A document that is in any other form
is declined, and the caller then parses it in full.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from inferencebench_pipeline.envelope import EXTENSION_FIELD, Envelope
from inferencebench_pipeline.leaderboard.envelope_source import EnvelopeSource, Notes
from inferencebench_pipeline.leaderboard.facts import column_values, metric_values
from inferencebench_pipeline.leaderboard.index.parquet.struct_models import struct_of

# The crawl has parsed the bytes, so they are an envelope. Of its notes nobody knows that yet: those
# that the model refuses make the measurement an invalid one, so a structure must not accept them.
_DECODER: Final = msgspec.json.Decoder(
    struct_of(
        Envelope,
        known_to_hold=True,
        without=frozenset({"signature", "software_provenance", "warnings"}),
        beside=(("notes", EXTENSION_FIELD, Notes),),
    )
)


def read_fast(
    data: bytes, envelope_sha256: str, content_hash: str
) -> tuple[dict[str, Any], list[tuple[Any, ...]]] | None:
    """Return an envelope's facts and the values of each metric fact, or None to decline.

    Args:
        data: the bytes of an envelope that the crawl has parsed.
        envelope_sha256: the digest of those bytes.
        content_hash: the hash that the crawl computed from them.
    """
    try:
        document: Any = _DECODER.decode(data)
        source = EnvelopeSource(
            cast(Envelope, document), envelope_sha256, content_hash, document.notes
        )
        return column_values(source), list(metric_values(source))
    except (msgspec.DecodeError, ValueError):
        # A date that no calendar has is a ValueError.
        return None
