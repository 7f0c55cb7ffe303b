"""The engine's token counts, checked by its own tokenizer on some of the answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import orjson

from inferencebench_pipeline.files import write_atomically
from inferencebench_pipeline.measure.client.capture import Capture, read_spool
from inferencebench_pipeline.measure.client.decoder import decode
from inferencebench_pipeline.measure.errors import EngineAnswerError, EngineUnreachableError
from inferencebench_pipeline.measure.workloads.tokenizer import Tokenizer
from inferencebench_pipeline.untrusted import within

COUNTS: Final = "tokenizer-counts.json"

_ANSWERS: Final = 64
_BUDGET_S: Final = 10.0


def count_answers(capture: Capture, tokenizer: Callable[[], Tokenizer], requests: int) -> None:
    """Keep how many tokens the engine's tokenizer finds in some answers, spread over the run.

    Asked after the load, for ten seconds at most. A tokenizer that went away leaves fewer counts,
    or none: the measurement itself is done.

    Args:
        capture: whose spool is written.
        tokenizer: gives the engine's tokenizer.
        requests: how many requests a repeat has.

    Raises:
        StoreError: the capture is not writable.
    """
    step = max(1, requests // _ANSWERS)
    deadline = time.monotonic() + _BUDGET_S
    counts: dict[str, int] = {}
    try:
        with within(_BUDGET_S):
            asked = tokenizer()
            for exchange in read_spool(capture.spool):
                if exchange.phase != "measured" or exchange.index % step:
                    continue
                # `within` ends a question that hangs. Here it is enough not to ask another one.
                if time.monotonic() > deadline:
                    break
                answer = decode(exchange)
                if answer.error_class is None:
                    counts[_key(exchange.repeat, exchange.index)] = asked.length(answer.text)
    except (EngineUnreachableError, EngineAnswerError):
        pass  # what was counted so far is kept
    write_atomically(capture.path / COUNTS, orjson.dumps(counts))


def counted_answers(capture: Capture) -> Callable[[int, int], int | None]:
    """Return a function from repeat and index to the token count; None where not asked."""
    try:
        counts = orjson.loads((capture.path / COUNTS).read_bytes())
    except (OSError, ValueError):
        counts = {}  # no tokenizer was at hand
    return lambda repeat, index: counts.get(_key(repeat, index))


def _key(repeat: int, index: int) -> str:
    return f"{repeat}:{index}"
