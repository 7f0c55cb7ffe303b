"""Environment variables of an engine that we start: those it gets, and those recorded.

There are two sources: the environment of the person who runs the pipeline, and ``engine.env`` of a
spec. A spec may set what ends in the record and nothing else: not where things are, not who is
asked for them, not which code is loaded, so that no spec turns the person's own tokens to another
address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from inferencebench_pipeline.measure.spec.secret_names import is_secret, word_set, words_of

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
_PATH_WORDS: Final = word_set("HOME DIR DIRS DIRECTORY PATH PATHS ROOT FILE FILES FOLDER FILENAME")
_CACHE_FOLDERS: Final = re.compile(r"(?:HF|TRANSFORMERS|VLLM_ASSETS|PYTORCH)(?:_.+)?_CACHE")
"""Those whose value is a folder; ``VLLM_DISABLE_COMPILE_CACHE`` is a switch."""
_ADDRESS_WORDS: Final = word_set(
    "ENDPOINT ENDPOINTS URL URLS URI PROXY PROXIES IP ADDR ADDRESS HOSTNAME"
)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LOADER_WORDS: Final = word_set(
    "PRELOAD PLUGIN PLUGINS LIB LIBS LIBRARY LIBRARIES MODULE MODULES PACKAGE PACKAGES"
)
_ABSOLUTE: Final = ("/", "~")


def reaches_engines(name: str) -> bool:
    """Return whether an engine may see a variable of this name.

    The tokens that publish and sign are none of its business; ``HF_TOKEN`` is, for gated models.
    """
    return bool(_BEHAVIOUR.fullmatch(name) or _PLACES.fullmatch(name))


def why_not_in_a_spec(name: str, value: str) -> str | None:
    """Return why ``engine.env`` may not set this variable to ``value``; None when it may."""
    words = words_of(name)
    # The tables end in `.+`, which also takes what no variable can be called.
    if not reaches_engines(name) or not _NAME.fullmatch(name):
        return f"{name!r:.100} is not among the variables an engine may get (docs/engines.md)"
    if is_secret(name):
        return f"{name} would put a secret into the record; export it in the environment"
    if words & _LOADER_WORDS or name.startswith(("LD_", "PYTHON")):
        return (
            f"{name} decides which code the engine loads, which no spec may; whoever runs the "
            "engine can export it in the environment"
        )
    if _is_address(name):
        return (
            f"{name} decides whom the engine asks, and so who is sent the tokens of whoever runs "
            "it; they can export it in the environment"
        )
    if not value.isprintable():
        return f"the value of {name} holds characters that cannot be printed; remove them"
    if not recorded_environment({name: value}) or "/" in value:
        return (
            f"{name} says where something is on one machine, which no record may state; export it "
            "in that machine's environment"
        )
    return None


def engine_environment(ours: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Return every variable an engine gets: those of ours that it may see, and the spec's."""
    return {name: value for name, value in ours.items() if reaches_engines(name)} | dict(more)


def bundled_engine_environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return every variable that an engine gets which has no use for a token: no secret of ours."""
    passed_on = engine_environment(ours, {})
    return {name: value for name, value in passed_on.items() if not is_secret(name)}


def recorded_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that decide how an engine computes: no secret, path or address."""
    return {name: value for name, value in sorted(environment.items()) if _is_recorded(name, value)}


def _is_recorded(name: str, value: str) -> bool:
    if is_secret(name) or not _BEHAVIOUR.fullmatch(name):
        return False
    if name == "LD_PRELOAD":
        return True  # an allocator decides speed, and has no other name than its path
    is_place = bool(words_of(name) & _PATH_WORDS or _CACHE_FOLDERS.fullmatch(name))
    is_place = is_place or value.startswith(_ABSOLUTE) or "://" in value
    return not is_place and not _is_address(name)


def _is_address(name: str) -> bool:
    return bool(words_of(name) & _ADDRESS_WORDS) or name.upper().endswith("_HOST")
