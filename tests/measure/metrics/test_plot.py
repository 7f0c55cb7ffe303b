"""The latency plot: a picture of any run, of the same bytes each time."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.measure.metrics.plot import latency_plot_png
from tests.measure.metrics.rows import Row, answered, row, table

_MS = 1_000_000
FAILED = row(0, error_class="timeout", sent_ns=0)
ANSWERED = answered(1, [3 * _MS, 9 * _MS], tokens=2)


@pytest.mark.parametrize("rows", [[], [FAILED], [ANSWERED], [FAILED, ANSWERED]])
def test_any_run_has_a_plot_and_the_same_one_each_time(rows: list[Row]) -> None:
    picture = latency_plot_png(table(rows))
    assert picture.startswith(b"\x89PNG")
    assert picture == latency_plot_png(table(rows))
    assert b"Software" not in picture


def test_only_requests_that_succeeded_are_drawn() -> None:
    assert latency_plot_png(table([FAILED])) == latency_plot_png(table([]))
    assert latency_plot_png(table([FAILED, ANSWERED])) == latency_plot_png(table([ANSWERED]))
    assert latency_plot_png(table([ANSWERED])) != latency_plot_png(table([]))
