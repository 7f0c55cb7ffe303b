"""Arguments that a spec may give to an engine that we start."""

from __future__ import annotations

from typing import Final

from inferencebench_pipeline.measure.spec.secret_names import is_secret

_OURS: Final = frozenset(
    {"--model", "--served-model-name", "--revision", "--host", "--port", "--uds", "--config"}
)
"""``--config`` names a file with more arguments, which no record would state."""
_SECRET: Final = frozenset({"--api-key", "--hf-token"})


def why_not_an_argument(argument: str) -> str | None:
    """Return why a spec may not hold this argument; None when it may.

    Engines read ``--api_key`` as ``--api-key`` and take an unambiguous beginning of a name for the
    name (``--api-k``), so both are looked at as the engine would.
    """
    if "\0" in argument:
        return "an argument holds a NUL character, which no process can be given; remove it"
    name = argument.split("=", 1)[0]
    if not name.startswith("--"):
        return None  # a value, or a short option, which none of these has
    read_as = "--" + name[2:].replace("_", "-").lower()
    # `--` by itself begins every name and is none: it ends the options.
    if any(ours.startswith(read_as) and len(read_as) > 2 for ours in _OURS | _SECRET) or is_secret(
        read_as
    ):
        return f"{name} is the pipeline's to decide, or a secret; remove it"
    return None
