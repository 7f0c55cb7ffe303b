"""The latency plot of a run: how TTFT and end-to-end latency are distributed."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inferencebench_pipeline.measure.traces.reader import Traces

_WIDTH_IN: Final = 6.4
_HEIGHT_IN: Final = 3.4
_DPI: Final = 110
_CURVES: Final = (
    ("TTFT", "first_token_ns", "#0072b2"),
    ("E2E", "last_token_ns", "#d55e00"),
)
"""Colours of the Okabe-Ito palette, told apart by readers with any colour vision."""


def latency_plot_png(traces: Traces | pa.Table) -> bytes:
    """Return a PNG with the empirical distribution of TTFT and E2E of the measured requests.

    The figure never touches pyplot's global state, so it can be drawn in any thread.
    """
    # The extra `pipeline` brings it: a host that only measures or verifies draws nothing.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    table = Traces.of(traces).rows
    wanted = pc.and_(
        pc.equal(table.column("phase"), pa.scalar("measured")),
        pc.is_null(table.column("error_class")),
    )
    rows = table.filter(wanted)
    for label, column, colour in _CURVES:
        latencies = rows.column(column).to_numpy() - rows.column("sent_ns").to_numpy()
        latencies_ms = np.sort(latencies / 1e6)
        if len(latencies_ms):
            # One point more than latencies: the curve begins at 0 where the first one lies.
            share = np.arange(len(latencies_ms) + 1) / len(latencies_ms)
            steps_ms = np.concatenate((latencies_ms[:1], latencies_ms))
            axes.step(steps_ms, share, where="post", color=colour, label=label)
    axes.set(xlabel="ms", ylabel="share of requests", ylim=(0, 1.02))
    axes.set_title(f"Latency of {rows.num_rows:,} successful requests", loc="left", fontsize=10)
    axes.set_xlim(left=0)
    axes.grid(visible=True, alpha=0.3)
    if rows.num_rows:
        # Above the axes: inside them, every corner may hold a curve.
        axes.legend(
            loc="lower right",
            bbox_to_anchor=(1, 1),
            borderaxespad=0.2,
            ncols=len(_CURVES),
            fontsize=9,
            frameon=False,
        )
    buffer = io.BytesIO()
    # Matplotlib would write its own version into the file.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
