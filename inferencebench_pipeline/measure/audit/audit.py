"""The audit: what the engine's own ``/metrics`` say about the requests that we measured.

Read once before and once after the load, never during it. The engine's clock starts when a request
has reached it and ours when it left us, so a small positive difference is the way in between; a
large one means that one of the two is wrong.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from inferencebench_pipeline.files import write_atomically
from inferencebench_pipeline.measure.audit.counters import FAMILIES, Figure
from inferencebench_pipeline.measure.audit.document import AnsweredAs, AuditLine, EngineAudit
from inferencebench_pipeline.measure.audit.prometheus_text import read_exposition
from inferencebench_pipeline.measure.client.capture import Capture, read_spool
from inferencebench_pipeline.measure.engines.http import Access, RunningEngine, ask
from inferencebench_pipeline.measure.metrics.validity_flags import ValidityFlag
from inferencebench_pipeline.untrusted import AnswerTooLargeError, NoAnswerError, printable

BEFORE: Final = "engine-metrics-before.txt"
AFTER: Final = "engine-metrics-after.txt"

_TIMEOUT_S: Final = 10.0
_SETTLE_S: Final = 2.0
"""An engine may count a request a moment after we had its last byte."""
_SETTLE_STEP_S: Final = 0.2
_ANSWERS_LOOKED_AT: Final = 200
_AGREES_SHARE: Final = 0.10
# The way between the two clocks takes milliseconds even where latencies are short.
_AGREES_MS: Final = 10.0


@contextmanager
def metrics_before_and_after(
    engine: RunningEngine, served_name: str, capture: Capture
) -> Iterator[None]:
    """Keep what the engine's ``/metrics`` say before and after the body, when it has any.

    Raises:
        StoreError: the capture is not writable.
    """
    before = read_metrics(engine.base_url, engine.access)
    write_atomically(capture.path / BEFORE, before)
    yield
    after = _settled_metrics(engine, served_name) if before else b""
    write_atomically(capture.path / AFTER, after)


def read_metrics(base_url: str, access: Access) -> bytes:
    """Return the text of ``/metrics``; nothing when the engine has none that can be read."""
    try:
        answer = ask(base_url.removesuffix("/v1") + "/metrics", access, _TIMEOUT_S)
    except (NoAnswerError, AnswerTooLargeError):
        return b""
    return answer.body if answer.status == HTTPStatus.OK else b""


def _settled_metrics(engine: RunningEngine, served_name: str) -> bytes:
    """Return the text of ``/metrics`` once its token and request counts stand still."""
    deadline = time.monotonic() + _SETTLE_S
    last = read_metrics(engine.base_url, engine.access)
    while time.monotonic() < deadline:
        time.sleep(_SETTLE_STEP_S)
        text = read_metrics(engine.base_url, engine.access)
        if _counts(text, served_name) == _counts(last, served_name):
            return text
        last = text
    return last


def _counts(text: bytes, served_name: str) -> dict[str, float]:
    values = read_exposition(text.decode(errors="replace"), served_name)
    # Of all the text only what is compared: gauges in it may never stand still.
    names = {
        name
        for figures in FAMILIES.values()
        for figure in figures
        for name in (figure.metric, figure.metric + "_count")
    }
    return {name: value for name, value in values.items() if name in names}


def audit(capture: Capture, table: pa.Table) -> EngineAudit:
    """Return the engine's account beside ours.

    Args:
        capture: of a complete run.
        table: its traces.
    """
    before, after = (_kept(capture.path / name) for name in (BEFORE, AFTER))
    spec = capture.spec()
    served_name = spec.model.served_name or spec.model.id
    answered_as = _answered_as(capture)
    if not before or not after:
        return EngineAudit(
            family=None,
            lines=(),
            null_reason="the engine has no /metrics, or did not answer there",
            before_sha256=None,
            after_sha256=None,
            answered_as=answered_as,
        )
    first, last = (
        read_exposition(text.decode(errors="replace"), served_name) for text in (before, after)
    )
    # By the second reading: engines show some metrics only once there is something to count.
    family = next(
        (name for name, figures in FAMILIES.items() if _present(figures, last)),
        None,
    )
    ours = _ours(table)
    lines = () if family is None else tuple(_lines(FAMILIES[family], first, last, ours))
    reason = None
    if family is None:
        reason = "/metrics holds no metric of an engine that is known here"
    elif not lines:
        reason = "no counter in /metrics moved while we measured"
    return EngineAudit(
        family=family,
        lines=lines,
        null_reason=reason,
        before_sha256=hashlib.sha256(before).hexdigest(),
        after_sha256=hashlib.sha256(after).hexdigest(),
        answered_as=answered_as,
    )


def _kept(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # a capture made before there were audits


def _present(figures: tuple[Figure, ...], values: dict[str, float]) -> bool:
    return any(figure.metric in values or f"{figure.metric}_count" in values for figure in figures)


def _lines(
    figures: tuple[Figure, ...],
    first: dict[str, float],
    last: dict[str, float],
    ours: dict[str, float],
) -> Iterator[AuditLine]:
    def moved(name: str) -> float | None:
        """Return the increase of a counter; None without one or when the engine restarted."""
        if name not in last:
            return None
        change = last[name] - first.get(name, 0.0)
        # An engine that restarted counts from zero again.
        return change if change >= 0 else None

    for figure in figures:
        count: float | None
        if figure.unit != "ms":
            value, count = moved(figure.metric), None
        elif figure.count is None:
            value, count = moved(figure.metric + "_sum"), moved(figure.metric + "_count")
        else:
            value = moved(figure.metric)
            # llama.cpp counts no answered requests, so its sum is divided by ours.
            count = ours["n"] if figure.count == "requests" else moved(figure.count)
        if value is None or (figure.unit == "ms" and not count):
            continue
        yield AuditLine(
            name=figure.name,
            unit=figure.unit,
            engine=value * figure.scale / count if count else value,
            engine_n=int(count) if count else None,
            ours=None if figure.ours is None else ours.get(figure.ours),
            same_meaning=figure.ours is not None and not figure.note,
            note=figure.note,
        )


def _ours(table: pa.Table) -> dict[str, float]:
    """Return the same quantities from the traces: every answered request, warm-up included."""
    rows = table.filter(
        pc.and_(pc.is_valid(table["first_token_ns"]), pc.is_valid(table["sent_ns"]))
    )
    found = {
        "n": float(rows.num_rows),
        "prompt": float(pc.sum(rows["prompt_tokens"]).as_py() or 0),
        "output": float(pc.sum(rows["completion_tokens"]).as_py() or 0),
    }
    ttft = pc.mean(pc.subtract(rows["first_token_ns"], rows["sent_ns"])).as_py()
    e2e = pc.mean(pc.subtract(rows["last_token_ns"], rows["sent_ns"])).as_py()
    counted = rows.filter(pc.greater(rows["completion_tokens"], pa.scalar(1)))
    gaps = (pc.sum(counted["completion_tokens"]).as_py() or 0) - counted.num_rows
    spans = pc.sum(pc.subtract(counted["last_token_ns"], counted["first_token_ns"])).as_py()
    if ttft is not None:
        found |= {"ttft": ttft / 1e6, "e2e": e2e / 1e6}
    if gaps:
        found["itl"] = spans / gaps / 1e6
    return found


# The beginning of an answer is no whole JSON, so the names are looked for in its bytes.
_SAID: Final = {
    name: re.compile(rb'"' + name.encode() + rb'"\s*:\s*"((?:[^"\\]|\\.){1,200})"')
    for name in ("model", "provider", "system_fingerprint")
}


def _answered_as(capture: Capture) -> tuple[AnsweredAs, ...]:
    found: dict[tuple[str | None, ...], None] = {}
    for exchange in islice(read_spool(capture.spool), _ANSWERS_LOOKED_AT):
        start = b"".join(read.data for read in exchange.reads[:8])
        said = tuple(
            printable(match[1].decode(errors="replace"))
            if (match := pattern.search(start))
            else None
            for pattern in _SAID.values()
        )
        if said[0] is not None:
            found[said] = None
    return tuple(
        AnsweredAs(model=model or "", provider=provider, system_fingerprint=fingerprint)
        for model, provider, fingerprint in found
    )


def audit_flags(found: EngineAudit) -> tuple[ValidityFlag, ...]:
    """Return whether the engine's account supports ours; nothing when it gives none."""
    flags = []
    counts = [line for line in found.lines if line.unit == "requests" and line.same_meaning]
    for line in counts:
        others = round(line.engine - (line.ours or 0))
        flags.append(
            ValidityFlag(
                name="engine_not_shared",
                ok=others == 0,
                severity="warn",
                detail=f"the engine answered {line.engine:.0f} requests, we had answers to "
                f"{line.ours or 0:.0f}",
            )
        )
    compared = [line for line in found.lines if line.unit == "ms" and line.same_meaning]
    if compared:
        apart = [line for line in compared if not _agrees(line)]
        flags.append(
            ValidityFlag(
                name="engine_agrees",
                ok=not apart,
                severity="warn",
                detail="; ".join(
                    f"{line.name} mean: ours {line.ours or 0:.3f} ms, the engine's "
                    f"{line.engine:.3f} ms"
                    for line in apart or compared
                ),
            )
        )
    return tuple(flags)


def _agrees(line: AuditLine) -> bool:
    difference = line.difference
    if difference is None:
        return True
    return abs(difference) <= max(_AGREES_MS, _AGREES_SHARE * line.engine)
