"""Reading of an envelope and its canonical body, for verification, by a fast path where it holds.

The fast path is for documents that are, byte for byte, what :func:`~.canonical.serialise` writes.
Nothing is assumed of them: the result is written again and compared, and a document that does not
come out equal is read by the full parser, which alone decides what is refused and why.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import orjson
from pydantic import BaseModel, ValidationError

from inferencebench_pipeline.envelope.canonical import (
    MAX_ENVELOPE_BYTES,
    MAX_NESTING,
    canonical_body,
    parse_unambiguous,
)
from inferencebench_pipeline.envelope.models import (
    VALIDATED,
    Dataset,
    EngineIdentity,
    Envelope,
    HardwareFingerprint,
    ModelIdentity,
    QuantizationFormat,
    SoftwareProvenance,
)

if TYPE_CHECKING:
    # The models of a measurement, which the content hash of an envelope does without.
    from inferencebench_pipeline.envelope.extension import PipelineExtension, TracesBinding

_SIGNATURE: Final = "signature"
_HARDWARE: Final = "hardware_fingerprint"
_SETUP: Final[dict[str, type[BaseModel]]] = {
    "model": ModelIdentity,
    "engine": EngineIdentity,
    "quantization": QuantizationFormat,
    _HARDWARE: HardwareFingerprint,
    "software_provenance": SoftwareProvenance,
    "dataset": Dataset,
}
"""The parts that say what was measured, and on what: the same in all records of one series."""
_VALUES: Final = frozenset({"metrics", "driver_options"})
"""The two mappings that are compared as they are, since most of the text is theirs."""
_TOO_DEEP: Final = b"\n" + b"  " * (MAX_NESTING - 1)
"""Beginning of a line that may be nested too deeply: two spaces for each level."""
_EXPONENT: Final = re.compile(rb"e[-+0-9][0-9]{0,3}[,}\]]")
"""End of a number with an exponent, in JSON without spaces (some strings look like it)."""
_SMALL: Final = b"0.0000"
_KNOWN_SETUPS: Final = 64
_MOST_KNOWN_BYTES: Final = 1 << 13
"""Number of setups that are remembered, and the size of the largest: half a megabyte of text."""


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
    repeated, and numbers and strings are spelt as in that form. What the model makes of its
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
        setup = _known_setup(document)
        envelope = Envelope.model_validate(
            {**document, **setup}, context={VALIDATED: setup.get(_HARDWARE)}
        )
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, ValidationError, RecursionError):
        return None
    document.pop(_SIGNATURE, None)
    body = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
    if not _is_pythons_text(body) or not _is_normal(envelope, document, setup.keys()):
        return None
    return ReadEnvelope(envelope, body)


def _known_setup(document: dict[str, Any]) -> Mapping[str, BaseModel]:
    """Return the parts of the setup, validated once for all records of it; none for the usual way.

    They come from exactly these bytes, and what their models would write of them equals these.
    """
    stated = {name: part for name in _SETUP if isinstance(part := document.get(name), dict)}
    text = orjson.dumps(stated)
    return _setup(text) if len(text) <= _MOST_KNOWN_BYTES else {}


@functools.lru_cache(_KNOWN_SETUPS)
def _setup(text: bytes) -> Mapping[str, BaseModel]:
    parts = {name: _SETUP[name].model_validate(part) for name, part in orjson.loads(text).items()}
    written = {name: orjson.Fragment(part.model_dump_json()) for name, part in parts.items()}
    return parts if orjson.dumps(written) == text else {}


def _is_indented_form(document: dict[str, Any], data: bytes) -> bool:
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2)
    return text == data or (text + b"\n") == data


def _is_pythons_text(body: bytes) -> bool:
    """Return whether Python's ``json`` writes the numbers and strings in ``body`` the same way.

    It differs in floats below 1e-4 and from 1e16 on, which have an exponent in Python, and in DEL;
    other than ASCII does not come here.
    """
    return _SMALL not in body and b"\x7f" not in body and _EXPONENT.search(body) is None


def _is_normal(envelope: Envelope, document: dict[str, Any], known: Collection[str]) -> bool:
    """Return whether the model makes of ``document`` what it says; the parts ``known`` are equal.

    The text of the fields is compared, or their values where that says as much: text and number in
    a flat mapping are the same when their values and their types are.
    """
    if not (
        _is_same(envelope.metrics, document["metrics"])
        and _is_same(envelope.driver_options, document.get("driver_options"))
    ):
        return False
    aside = {*known, *_VALUES, *(envelope.model_extra or ())}
    stated = {name: value for name, value in document.items() if name not in aside}
    written = envelope.model_dump_json(exclude={_SIGNATURE, *aside}, warnings=False)
    return written.encode() == orjson.dumps(stated)


def _is_same(made: dict[str, Any], stated: dict[str, Any] | None) -> bool:
    # Values of any kind are the very objects that were read. True equals 1.0, and is no number.
    return made == stated and [*map(type, made.values())] == [*map(type, stated.values())]
