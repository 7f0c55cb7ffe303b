"""The versions that an envelope names, read without the models of what they are the versions of.

Which of them are known here is the verifier's to say.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from inferencebench_pipeline.envelope.models import Envelope

EXTENSION_FIELD: Final = "inferencebench_pipeline"
"""The extra top-level field of the envelope that holds the notes of this pipeline."""
TRACES_FILE: Final = "traces.parquet"
"""The key of ``distributions`` that binds the traces, and the file's name beside the envelope."""
BINDING: Final = re.compile(r"sha256:([0-9a-f]{64});rows=([0-9]{1,12});schema=([0-9A-Za-z.]{1,16})")
"""The text that binds a traces file: its digest, its rows and the version of its schema."""


@dataclass(frozen=True)
class StatedVersions:
    """The versions that an envelope names, each None where it names none in a form we know."""

    envelope: str
    metric_definitions: str | None
    traces_schema: str | None


def stated_versions(envelope: Envelope) -> StatedVersions:
    """Return the versions that an envelope names; of one without our notes, only its own."""
    notes = (envelope.model_extra or {}).get(EXTENSION_FIELD)
    definitions = notes.get("metric_definitions") if isinstance(notes, dict) else None
    binding = BINDING.fullmatch(envelope.distributions.get(TRACES_FILE, ""))
    return StatedVersions(
        envelope=envelope.envelope_version,
        metric_definitions=definitions if isinstance(definitions, str) else None,
        traces_schema=None if binding is None else binding[3],
    )
