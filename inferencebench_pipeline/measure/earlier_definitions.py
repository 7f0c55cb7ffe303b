"""The metric definitions that a later version replaced, word for word as they were published.

A record that names an earlier version is judged under these. Nothing is ever taken away here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from inferencebench_pipeline.measure.metric_definitions import DEFINITIONS, MetricDefinition

_ONE_WINDOW: Final = (
    "the measured window, which runs from the instant the first measured request was due to the "
    "end of the last one"
)


def _until(version: int, key: str, definition: str) -> MetricDefinition:
    """Return the meaning that a metric had from the first version to ``version``."""
    return replace(DEFINITIONS[key], definition=definition, since=1, until=version)


EARLIER_DEFINITIONS: Final = (
    _until(
        1,
        "output_tok_per_s",
        f"Output tokens that arrived during {_ONE_WINDOW}, from successful requests of every "
        "phase, per second. Each text chunk of a request carries an equal share of the engine's "
        "token count (cumulatively rounded down). Null when a successful request has no token "
        "count.",
    ),
    _until(
        1,
        "total_tok_per_s",
        "Output tokens as in output_tok_per_s plus the prompt tokens of requests whose first token "
        f"arrived during {_ONE_WINDOW}, per second.",
    ),
    _until(
        1,
        "request_per_s",
        f"Successful requests of every phase that ended during {_ONE_WINDOW}, per second.",
    ),
    # The same words as today's, and another meaning: request_per_s was over one window.
    _until(1, "goodput_request_per_s", DEFINITIONS["goodput_request_per_s"].definition),
)
"""The replaced definitions, each with the versions that had it."""
