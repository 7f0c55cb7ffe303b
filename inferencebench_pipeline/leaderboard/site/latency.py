"""The distribution of a run's latencies, from its published traces and stated percentiles."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from markupsafe import Markup

from inferencebench_pipeline.corpus import BlobError, BlobStore
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.leaderboard.document import MetricCell, RunDetails
from inferencebench_pipeline.measure import (
    definitions_of,
    latencies_ms,
    open_traces,
)

# Steps of one per cent, and finer ones at the end, where the tail is.
_SHARES = np.concatenate((np.linspace(0, 0.99, 100), [0.995, 0.999, 1.0]))
# In a key such as ttft_p99_9_ms, the second underscore is the decimal point.
_PERCENTILE = re.compile(r"_p([0-9]{2}(?:_[0-9])?)_ms$")
_NONE = np.empty(0)
MOST_TOKENS = 1_000_000
"""The most chunks of a run of which all are read for its page."""


def latency_curves(details: RunDetails, blobs: BlobStore) -> list[dict[str, Any]]:
    """Return what the run's page draws: per latency its curve and its stated percentiles.

    The curve is computed from the published traces, where the record verifies and they are kept.
    Gaps between tokens need every chunk: of a very long run only their percentiles are drawn. A
    latency without either is left out.
    """
    run = details.run
    definitions = definitions_of(run.metric_definitions)
    if definitions is None:
        return []
    samples = _samples(details, blobs)
    curves = []
    for item in definitions.distributions:
        if not item.drawn:
            continue
        marks = list(_marks(item.name, details.metrics))
        values = samples.get(item.name, _NONE)
        drawn = len(values) > 1
        if marks or drawn:
            curves.append(
                {
                    "label": item.label,
                    "n": len(values) if item.name in samples else marks[0]["n"],
                    "x": np.quantile(values, _SHARES).round(4).tolist() if drawn else [],
                    "share": _SHARES.round(4).tolist() if drawn else [],
                    "marks": marks,
                }
            )
    return curves


def json_block(value: object) -> Markup:
    """Return JSON for a data block in a page: nothing in it can end the element."""
    text = orjson.dumps(value).decode().replace("<", "\\u003c").replace(">", "\\u003e")
    return Markup(text.replace("&", "\\u0026"))  # noqa: S704 escaped here, for a script element


def _marks(name: str, metrics: Iterable[MetricCell]) -> Iterable[dict[str, Any]]:
    """Yield the percentiles of one latency that the envelope states."""
    for cell in metrics:
        found = _PERCENTILE.search(cell.key)
        # The whole key is compared, or ttft_sched would be taken for ttft.
        if found is None or cell.value is None or cell.key != f"{name}{found.group()}":
            continue
        yield {
            "x": cell.value,
            "share": float(found.group(1).replace("_", ".")) / 100,
            "low": cell.low,
            "high": cell.high,
            "n": cell.n,
        }


def _samples(details: RunDetails, blobs: BlobStore) -> dict[str, npt.NDArray[np.float64]]:
    """Return the latencies in ms of the record's traces; none where they cannot be relied on."""
    run = details.run
    if run.traces_sha256 is None or details.verdict is None or not details.verdict.ok:
        return {}
    try:
        # Traces that cannot be read are the verification's to
        # report; the page shows what is stated.
        return latencies_ms(open_traces(blobs.get(run.traces_sha256)), most_tokens=MOST_TOKENS)
    except (BlobError, PermanentError):
        return {}
