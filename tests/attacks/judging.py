"""Judging refusals of strange answers: in time, in little memory, fit to be read."""

from __future__ import annotations

import time
import tracemalloc
import unicodedata
from collections.abc import Callable

from inferencebench_pipeline.errors import PermanentError, PipelineError, RetryableError

MANY_BYTES = 256 << 20
"""Bytes that no reader of one answer holds at once; the attacks are of gigabytes."""
LONGEST_MESSAGE = 2_000
_NEVER_SHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def outcome(ask: Callable[[], object], *, within_s: float) -> PipelineError | None:
    """Return the error that ``ask`` ends with, which is one of ours; None when it has none.

    Fails when it is late, or when the error is of neither family, too long or not printable.
    """
    began = time.monotonic()
    error: PipelineError | None = None
    try:
        ask()
    except PipelineError as caught:
        error = caught
    took_s = time.monotonic() - began
    assert took_s < within_s, f"took {took_s:.1f} s"
    if error is not None:
        assert isinstance(error, PermanentError | RetryableError)
        assert_fit_to_print(str(error))
    return error


def assert_fit_to_print(text: str) -> None:
    """Fail when ``text`` holds what acts on a terminal, or too much."""
    assert len(text) <= LONGEST_MESSAGE, f"{len(text)} characters"
    odd = {character for character in text if unicodedata.category(character) in _NEVER_SHOWN}
    assert not odd, f"{odd!r} in {text!r}"


def assert_in_little_memory(ask: Callable[[], object]) -> None:
    """Fail when ``ask`` holds many bytes at once."""
    tracemalloc.start()
    try:
        ask()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MANY_BYTES, f"{peak >> 20} MiB"
