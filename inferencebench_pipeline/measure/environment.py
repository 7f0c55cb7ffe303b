"""Which environment variables an engine that we start gets, and which of them are recorded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_BEHAVIOUR: Final = re.compile(
    r"(?:CUDA|NVIDIA|NCCL|VLLM|SGLANG|OMP|KMP|MKL|OPENBLAS|GOMP|TORCH|TORCHINDUCTOR|PYTORCH|TRITON"
    r"|GLOO|UCX|FLASHINFER|HIP|HSA|ROCM|ROCR|GGML|LLAMA|TRANSFORMERS|TOKENIZERS|HF)_.+"
    r"|LD_PRELOAD"
)
"""Variables that decide how an engine computes: passed on, and recorded."""
_PLACES: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_.+|TZ|TMPDIR|XDG_.+|VIRTUAL_ENV|PYTHON.+"
    r"|LD_LIBRARY_PATH|CC|CXX|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE"
    r"|(?:HTTPS?|NO|ALL)_PROXY|(?:https?|no|all)_proxy"
)
"""Variables that say where things are on this machine: passed on, and nobody else's business."""
_PATHS: Final = re.compile(r".*(?:HOME|CACHE|_DIR|_PATH|_ROOT|_FILE).*")
_SECRET: Final = re.compile(r".*(?:TOKEN(?!IZERS)|KEY|SECRET|PASSWORD|CREDENTIAL).*")


def is_secret(name: str) -> bool:
    """Return whether a variable of this name holds a secret, such as ``HF_TOKEN``."""
    return _SECRET.fullmatch(name.upper()) is not None


def reaches_engines(name: str) -> bool:
    """Return whether an engine may see a variable of this name.

    The tokens that publish and sign are none of its business; ``HF_TOKEN`` is, for gated models.
    """
    return bool(_BEHAVIOUR.fullmatch(name) or _PLACES.fullmatch(name))


def engine_environment(ours: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return every variable an engine gets: those of ours that it may see, and the spec's."""
    return {name: value for name, value in ours.items() if reaches_engines(name)} | dict(more)


def recorded_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that decide how an engine computes, without secrets and local paths."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if _BEHAVIOUR.fullmatch(name) and not is_secret(name) and not _PATHS.fullmatch(name)
    }
