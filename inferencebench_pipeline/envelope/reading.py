"""Reading of an envelope and its canonical body, for verification, by a fast path where it holds.

The fast path is for documents that are, byte for byte, what :func:`~.canonical.serialise` writes.
Nothing is assumed of them: the result is written again and compared, and a document that does not
come out equal is read by the full parser, which alone decides what is refused and why.
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import ValidationError

from inferencebench_pipeline.envelope.canonical import (
    MAX_ENVELOPE_BYTES,
    MAX_NESTING,
    canonical_body,
    parse_unambiguous,
)
from inferencebench_pipeline.envelope.models import Envelope, HardwareFingerprint

if TYPE_CHECKING:
    # The models of a measurement, which the content hash of an envelope does without.
    from inferencebench_pipeline.envelope.extension import PipelineExtension, TracesBinding

_SIGNATURE: Final = "signature"
_HARDWARE: Final = "hardware_fingerprint"
_TOO_DEEP: Final = b"\n" + b"  " * (MAX_NESTING - 1)
"""Beginning of a line that may be nested too deeply: two spaces for each level."""
_EXPONENT: Final = re.compile(rb"e[-+0-9][0-9]{0,3}[,}\]]")
"""End of a number with an exponent, in JSON without spaces (some strings look like it)."""
_SMALL: Final = b"0.0000"
_KNOWN_HARDWARE: Final = 64
_MOST_KNOWN_BYTES: Final = 1 << 13
"""Descriptions of hardware that are remembered, and the size of the largest: half a megabyte."""


@dataclass(frozen=True)
class ReadEnvelope:
    """An envelope, with everything that is derived from it parsed or computed once."""

    envelope: Envelope
    body: bytes | None = None
    """The canonical body, when it was found while reading."""

    @functools.cached_property
    def content_hash(self) -> str:
        """The SHA-256 of the canonical body, lower-case hex, which a signature covers."""
        body = canonical_body(self.envelope) if self.body is None else self.body
        return hashlib.sha256(body).hexdigest()

    @functools.cached_property
    def extension(self) -> PipelineExtension | None:
        """The notes of this pipeline, as :func:`~.extension.pipeline_extension` parses them."""
        from inferencebench_pipeline.envelope.extension import pipeline_extension

        return pipeline_extension(self.envelope)

    @functools.cached_property
    def traces(self) -> TracesBinding | None:
        """The traces file that is bound, as :func:`~.extension.traces_binding` parses it."""
        from inferencebench_pipeline.envelope.extension import traces_binding

        return traces_binding(self.envelope)


def read_unambiguous(data: bytes) -> ReadEnvelope:
    """Return the envelope in ``data``, refusing a document that says something twice.

    The envelope and the content hash are those of
    :func:`~inferencebench_pipeline.envelope.canonical.parse_unambiguous` and
    :func:`~inferencebench_pipeline.envelope.canonical.content_hash`, whichever way they come.

    Raises:
        EnvelopeError: what ``parse_unambiguous`` refuses.
    """
    return _as_written(data) or ReadEnvelope(parse_unambiguous(data))


def _as_written(data: bytes) -> ReadEnvelope | None:
    """Return what a document in the writer's form says, or None where that is not certain.

    Three comparisons carry it. The text equals the indented form of what was read: so no key is
    repeated, and numbers and strings are spelt as in that form. What the model would write of its
    declared fields equals what was read: so nothing was trimmed, coerced or filled in; unknown
    fields are kept as they are by definition. And the sorted text has only printable ASCII and no
    number that Python spells otherwise: so it is the canonical body.
    """
    if len(data) > MAX_ENVELOPE_BYTES or not data.isascii() or _TOO_DEEP in data:
        return None
    try:
        document = orjson.loads(data)
        if not isinstance(document, dict) or not _is_indented_form(document, data):
            return None
        hardware = _known_hardware(document)
        envelope = Envelope.model_validate(
            document if hardware is None else {**document, _HARDWARE: hardware}
        )
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, ValidationError, RecursionError):
        return None
    document.pop(_SIGNATURE, None)
    body = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    if hardware is not None:
        del document[_HARDWARE]
    if not _is_pythons_text(body) or not _is_normal(envelope, document):
        return None
    return ReadEnvelope(envelope, body)


def _known_hardware(document: dict[str, Any]) -> HardwareFingerprint | None:
    """Return the hardware, validated once for all records of a host; None for the usual way.

    It comes from exactly these bytes, and what the model would write of it equals them.
    """
    stated = document.get(_HARDWARE)
    if not isinstance(stated, dict):
        return None
    text = orjson.dumps(stated)
    return _hardware(text) if len(text) <= _MOST_KNOWN_BYTES else None


@functools.lru_cache(_KNOWN_HARDWARE)
def _hardware(text: bytes) -> HardwareFingerprint | None:
    hardware = HardwareFingerprint.model_validate(orjson.loads(text))
    return hardware if hardware.model_dump_json(warnings=False).encode() == text else None


def _is_indented_form(document: dict[str, Any], data: bytes) -> bool:
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    return text == data or (text + b"\n") == data


def _is_pythons_text(body: bytes) -> bool:
    """Return whether Python's ``json`` writes the numbers and strings in ``body`` the same way.

    It differs in floats below 1e-4 and from 1e16 on, which have an exponent in Python, and in DEL;
    other than ASCII does not come here.
    """
    return _SMALL not in body and b"\x7f" not in body and _EXPONENT.search(body) is None


def _is_normal(envelope: Envelope, document: dict[str, Any]) -> bool:
    unknown = envelope.model_extra or {}
    declared = {name: value for name, value in document.items() if name not in unknown}
    left_out = set() if _HARDWARE in declared else {_HARDWARE}
    written = envelope.model_dump_json(exclude={_SIGNATURE, *unknown, *left_out}, warnings=False)
    return written.encode() == orjson.dumps(declared)
