"""Rows of made-up traces, and tables of them."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa

from inferencebench_pipeline.measure.metric_definitions import ERROR_CLASSES
from inferencebench_pipeline.measure.traces.schema import PHASES, SCHEMA

Row = dict[str, Any]


def row(index: int, **fields: Any) -> Row:
    """A row of the traces; everything not given is null, or as of a request that never began."""
    return {
        "repeat": 1,
        "request_index": index,
        "phase": "measured",
        "prompt_id": "p",
        "attempt": 1,
        "scheduled_ns": 0,
        "end_ns": 0,
        "token_source": "missing",
        "chunks": [],
    } | fields


def answered(
    index: int,
    text_ns: list[int],
    *,
    sent: int = 0,
    tokens: int | None = None,
    told_tokens: list[int] | None = None,
    **fields: Any,
) -> Row:
    """A successful row whose text chunks arrived at ``text_ns``, after a role chunk."""
    instants = [(text_ns[0], 0), *((instant, 3) for instant in text_ns), (text_ns[-1], 0)]
    nothing: list[int | None] = [None] * len(text_ns)
    told = iter(told_tokens or nothing)
    chunks = [
        {
            "received_ns": at,
            "size_bytes": 99,
            "content_chars": chars,
            "tokens": next(told) if chars else 0,
            "kernel_stamp": True,
        }
        for at, chars in instants
    ]
    usage = {} if tokens is None else {"prompt_tokens": 7, "completion_tokens": tokens}
    return row(
        index,
        **{
            "sent_ns": sent,
            "scheduled_ns": sent,
            "first_token_ns": text_ns[0],
            "last_token_ns": text_ns[-1],
            "end_ns": text_ns[-1],
            "chunks": chunks,
            **usage,
            **fields,
        },
    )


def table(rows: list[Row]) -> pa.Table:
    """The rows as a table of traces."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def many_rows(
    seed: int, repeats: tuple[int, ...], *, failing: float = 0.2, uncounted: float = 0.0
) -> list[Row]:
    """Rows of ``repeats`` of different lengths, as an engine under a load that comes and goes.

    Waiting follows a slow wave, so that neighbours depend on one another; failures come in bursts
    and are of every class and of one without a rate of its own; the first tenth of each repeat is
    warm-up and the last twentieth is drained.

    Args:
        seed: of all that is random here.
        repeats: how many requests each repeat has.
        failing: about which share of the requests fails.
        uncounted: about which share of the answers comes without a token count.
    """
    chance = random.Random(f"rows {seed}")
    rows = []
    for number, count in enumerate(repeats, start=1):
        due, bad, wave = 0, False, chance.random()
        for index in range(count):
            due += chance.randrange(100_000, 900_000)
            wave = 0.8 * wave + 0.2 * chance.random()
            if chance.random() < 0.2:
                bad = chance.random() < failing
            place = (index + 0.5) / count
            phase = PHASES[0] if place < 0.1 else PHASES[2] if place > 0.95 else PHASES[1]
            common = {"repeat": number, "phase": phase, "scheduled_ns": due}
            if bad:
                failure = chance.choice([*ERROR_CLASSES, "surprise"])
                rows.append(_failed(chance, index, failure) | common)
            else:
                rows.append(_answer(chance, index, due, wave, uncounted) | common)
    return rows


def _failed(chance: random.Random, index: int, failure: str) -> Row:
    end = chance.randrange(10**7)
    if chance.random() < 0.5:
        return row(index, end_ns=end, error_class=failure)
    # It broke off after some text, which counts in no latency and no rate.
    return answered(index, [end - 90_000, end], tokens=2, sent=end - 99_000, error_class=failure)


def _answer(chance: random.Random, index: int, due: int, wave: float, uncounted: float) -> Row:
    sent = due + chance.randrange(60_000)
    at = sent + int(2_000_000 * wave**3) + chance.randrange(1_000, 50_000)
    times = [at]
    for _ in range(chance.randrange(6)):
        times.append(times[-1] + int(chance.paretovariate(1.3) * 40_000))
    told = [chance.randrange(1, 4) for _ in times] if chance.random() < 0.5 else None
    tokens: int | None = sum(told) if told else len(times) + chance.randrange(3)
    if chance.random() < uncounted:
        tokens = told = None
    return answered(index, times, sent=sent, tokens=tokens, told_tokens=told) | (
        {} if tokens is None else {"prompt_tokens": chance.randrange(1, 90)}
    )
