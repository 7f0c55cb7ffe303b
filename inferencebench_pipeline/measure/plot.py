"""The latency plot of a run: how TTFT and end-to-end latency are distributed."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

_WIDTH_IN: Final = 6.4
_HEIGHT_IN: Final = 3.4
_DPI: Final = 110
_CURVES: Final = (
    ("TTFT", "first_token_ns", "#0072b2"),
    ("E2E", "last_token_ns", "#d55e00"),
)
"""Colours of the Okabe-Ito palette, told apart by readers with any colour vision."""


def latency_plot_png(table: pa.Table) -> bytes:
    """Return a PNG with the empirical distribution of TTFT and E2E of the measured requests.

    The figure never touches pyplot's global state, so it can be drawn in any thread.
    """
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    rows = [
        row
        for row in table.drop_columns(["chunks"]).to_pylist()
        if row["phase"] == "measured" and row["error_class"] is None
    ]
    for label, column, colour in _CURVES:
        latencies_ms = np.sort([(row[column] - row["sent_ns"]) / 1e6 for row in rows])
        if len(latencies_ms):
            share = np.arange(1, len(latencies_ms) + 1) / len(latencies_ms)
            axes.step(latencies_ms, share, where="post", color=colour, label=label)
    axes.set(
        xlabel="ms",
        ylabel="share of requests",
        ylim=(0, 1.02),
        title=f"Latency of {len(rows)} successful requests",
    )
    axes.set_xlim(left=0)
    axes.grid(visible=True, alpha=0.3)
    if rows:
        axes.legend(loc="lower right", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
