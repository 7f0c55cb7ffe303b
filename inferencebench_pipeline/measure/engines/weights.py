"""The files of a model in the Hub's layout: digests of its weights and tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from inferencebench_pipeline.files import sha256_of
from inferencebench_pipeline.measure.engines.http import sha256_text
from inferencebench_pipeline.measure.errors import EngineMissingError

_SUFFIXES: Final = (".safetensors", ".bin", ".gguf", ".pt", ".pth")
# The first that is there counts: many models carry an older form beside tokenizer.json.
_TOKENIZERS: Final = ("tokenizer.json", "tokenizer.model", "tekken.json", "vocab.json")


@dataclass(frozen=True)
class Weights:
    """Digests of a model's files."""

    sha256: str
    """The SHA-256 of the one weights file, or of the sorted ``name=sha256`` lines of several."""
    files: dict[str, str]
    """SHA-256 of each weights file by its name."""
    tokenizer_sha256: str | None


def read_weights(folder: Path) -> Weights | None:
    """Return the digests of the model in ``folder``, or None when it holds no weights.

    Every byte is read: about a second per gigabyte, before anything is measured.

    Raises:
        EngineMissingError: a file cannot be read.
    """
    files = {
        path.name: _digest(path) for path in sorted(folder.iterdir()) if path.suffix in _SUFFIXES
    }
    if not files:
        return None
    digests = list(files.values())
    lines = "\n".join(f"{name}={digest}" for name, digest in sorted(files.items()))
    tokenizers = [folder / name for name in _TOKENIZERS if (folder / name).is_file()]
    return Weights(
        sha256=digests[0] if len(digests) == 1 else sha256_text(lines),
        files=files,
        tokenizer_sha256=_digest(tokenizers[0]) if tokenizers else None,
    )


def cached_snapshot(model_id: str, revision: str | None) -> Path | None:
    """Return the folder of a model that the Hub's cache on this machine holds."""
    try:
        config = try_to_load_from_cache(model_id, "config.json", revision=revision)
    except HFValidationError:
        return None  # a path, not an id of the Hub
    # A file that is known to be missing gives a marker object, which is no text.
    return Path(config).parent if isinstance(config, str) else None


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise EngineMissingError(
            f"cannot read {path} of the model: {error.strerror or error}; fetch the model again"
        ) from error
