"""Bounded parsing of envelopes, their canonical body and content hash, and the writer's form."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError

from inferencebench_pipeline.envelope.models import Envelope, LaterEnvelope
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.untrusted import problems_of, shortened

MAX_ENVELOPE_BYTES = 2 * 1024 * 1024
"""Largest input read. Published envelopes are below 20 KB, a Sigstore bundle adds 20 KB."""
MAX_NESTING = 64
"""Deepest nesting read; real envelopes need 6. Bounds the recursion of every later step."""

_CONTAINERS = (dict, list)


class EnvelopeError(PermanentError):
    """The input is not an acceptable v1 envelope; the message names the field and its value."""


def parse_envelope(data: bytes) -> Envelope:
    """Return the envelope in ``data``, under the lax rules every v1 reader shares.

    Coercions, trimming and defaults are those of the format (a duplicate key's last value wins,
    ``NaN`` is a number, unknown fields are kept), so that the content hash agrees with every
    other implementation's.

    Raises:
        EnvelopeError: too large, too deep, not UTF-8, not JSON, or a field does not fit; the
            message names the field, the value and what is allowed.
    """
    return _validated(_decode(data))


def parse_any_version(data: bytes) -> Envelope:
    """Return the envelope in ``data``, which may be of a version after v1.

    For taking in what is published, before anybody judges it.

    Raises:
        EnvelopeError: as :func:`parse_envelope`, of what is no later version either.
    """
    document = _decode(data)
    try:
        return _validated(document)
    except EnvelopeError as error:
        return _later(document, error)


def parse_unambiguous(data: bytes) -> Envelope:
    """Return the envelope in ``data``, refusing a document that says something twice.

    For verification: where readers disagree on which of two values counts, one signature would
    cover two documents. A number that is not finite is refused for the same reason: it is not JSON,
    and what one reader takes for it another refuses.

    A version after v1 is read as far as it follows v1, so that its signature can be checked before
    anybody calls it new.

    Raises:
        EnvelopeError: a key is repeated, a number is not finite, or what :func:`parse_envelope`
            refuses.
    """
    document = _decode(data, _STRICT)
    try:
        return _validated(document)
    except EnvelopeError as error:
        return _later(document, error)


def _later(document: object, refusal: EnvelopeError) -> LaterEnvelope:
    """Return an envelope of a later version.

    Raises:
        EnvelopeError: it is none, or not one that can be read as v1; then as it was refused.
    """
    try:
        return LaterEnvelope.model_validate(document)
    except ValidationError:
        raise refusal from refusal.__cause__


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        ((repeated, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise EnvelopeError(
            f"the key {shortened(repeated)} appears twice, so readers may see two documents"
        )
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise EnvelopeError(f"the number {shortened(text)} is not finite, which JSON cannot hold")
    return number


def _validated(document: object) -> Envelope:
    try:
        return Envelope.model_validate(document)
    except ValidationError as error:
        problems = problems_of(error, whole="envelope", values=True)
        raise EnvelopeError(f"not a v1 envelope: {problems}") from error


def canonical_body(envelope: Envelope) -> bytes:
    r"""Return the bytes the content hash is taken over: everything but the signature.

    Sorted keys (by code point), no spaces, ASCII with ``\uXXXX``, floats as Python's shortest
    round-trip text. Non-finite numbers appear as ``NaN``/``Infinity``: not JSON, but what the
    format hashes.
    """
    # Defaults and nulls are hashed as well: leaving out what is unset would give another hash.
    body = envelope.model_dump(mode="json", exclude={"signature"})
    # Upstream hashes Python's own text. RFC 8785 differs from it in every whole-numbered float.
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode("ascii")


def content_hash(envelope: Envelope) -> str:
    """Return the SHA-256 of the canonical body, lower-case hex: what a signature covers."""
    return hashlib.sha256(canonical_body(envelope)).hexdigest()


def serialise(envelope: Envelope) -> bytes:
    """Return the bytes to store as ``envelope.json``: strict JSON, ASCII, fields in v1's order.

    Reading them back gives the same content hash, which is checked here.

    Raises:
        EnvelopeError: a number is not finite (strict JSON has no text for it, and writers that
            emit one break the signature on saving), or the envelope does not survive re-reading.
    """
    for path, value in _non_finite(envelope.model_dump(), ""):
        raise EnvelopeError(
            f"{path} is {value}, which JSON cannot hold; write null with a reason instead"
        )
    document = envelope.model_dump(mode="json")
    data = json.dumps(document, indent=2, allow_nan=False).encode("ascii") + b"\n"
    if content_hash(parse_envelope(data)) != content_hash(envelope):
        raise EnvelopeError(
            f"envelope of run {envelope.run_id!r} changes its content hash when re-read; "
            "it was built around validation: build it with Envelope(...) or build_envelope"
        )
    return data


_LAX: Final = json.JSONDecoder()
_STRICT: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite
)


def _decode(data: bytes, decoder: json.JSONDecoder = _LAX) -> object:
    if len(data) > MAX_ENVELOPE_BYTES:
        raise EnvelopeError(f"envelope is {len(data)} bytes; at most {MAX_ENVELOPE_BYTES} are read")
    try:
        # Given bytes, Python's parser would accept UTF-16 and UTF-32 as well.
        document = decoder.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise EnvelopeError(f"envelope is not UTF-8: {error}") from error
    except RecursionError as error:
        raise EnvelopeError(f"envelope nests deeper than {MAX_NESTING} levels") from error
    except ValueError as error:
        raise EnvelopeError(f"not JSON: {error}; expected the text of envelope.json") from error
    _check_nesting(document)
    return document


def _check_nesting(document: object) -> None:
    """Refuse what is too deep, level by level: what follows recurses, this does not."""
    level = [document] if isinstance(document, _CONTAINERS) else []
    for _ in range(MAX_NESTING):
        level = [
            part
            for item in level
            for part in (item.values() if isinstance(item, dict) else item)
            if isinstance(part, _CONTAINERS)
        ]
        if not level:
            return
    raise EnvelopeError(f"envelope nests deeper than {MAX_NESTING} levels")


def _non_finite(value: Any, path: str) -> Iterator[tuple[str, float]]:  # noqa: ANN401
    if isinstance(value, float) and not math.isfinite(value):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _non_finite(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _non_finite(item, f"{path}[{index}]")
