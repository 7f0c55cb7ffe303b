"""Fronts of a comparison group: which runs they show, in which units, with which intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inferencebench_pipeline.leaderboard.analysis.fronts import fronts_of
from inferencebench_pipeline.leaderboard.analysis.prices import PricesError, load_prices
from inferencebench_pipeline.leaderboard.analysis.ranking import group_of
from inferencebench_pipeline.leaderboard.document import MetricCell, RunRow
from inferencebench_pipeline.measure import NEWEST_DEFINITIONS
from tests.leaderboard.ranking import ranked

H100 = "NVIDIA H100 80GB HBM3"
PRICES = f"""
version: 1
source: https://prices.example/list
date: 2026-10-01
currency: USD
accelerators:
  - accelerator: {H100}
    per_hour: 3.6
"""


def row(
    number: int,
    *,
    speed: float | None = 800.0,
    tpot: float | None = 10.0,
    gpus: int | None = 8,
    interval: float | None = 0.1,
    **metrics: float,
) -> RunRow:
    """A run on ``gpus`` H100 with these numbers, each known to a share ``interval`` of it."""
    values = {"output_tok_per_s": speed, "tpot_p50_ms": tpot, **metrics}
    cells = [
        MetricCell(
            key=key,
            value=value,
            low=None if interval is None else value * (1 - interval),
            high=None if interval is None else value * (1 + interval),
        )
        for key, value in values.items()
        if value is not None
    ]
    facts: dict[str, Any] = {
        "row_id": f"{number:016x}",
        "repo_id": f"org/run-{number}",
        "organisation": "org",
        "revision": "a" * 40,
        "dataset_url": "https://example.org",
        "created_at": "2026-05-18T09:00:00+00:00",
        "state": "verified",
        "hardware": f"{gpus} × {H100}" if gpus else "Example CPU",
        "accelerators": gpus,
        "metric_definitions": NEWEST_DEFINITIONS.version,
        "metrics": tuple(cells),
    }
    return RunRow.model_validate(facts)


def front(rows, name, prices=None):
    return next(
        (
            item
            for item in fronts_of([*map(ranked, rows)], NEWEST_DEFINITIONS, prices)
            if item.name == name
        ),
        None,
    )


@pytest.fixture
def prices(tmp_path: Path):
    path = tmp_path / "prices.yaml"
    path.write_text(PRICES)
    return load_prices(path)


def test_throughput_is_per_gpu_and_interactivity_what_one_user_sees():
    found = front([row(1), row(2, gpus=4)], "throughput_interactivity")
    assert [(point.x, point.y) for point in found.points] == [(100.0, 100.0), (100.0, 200.0)]
    assert (found.x.unit, found.y.unit) == ("token/s/user", "token/s/GPU")
    # The fastest end of TPOT is the highest end of the rate.
    assert (found.points[0].x_low, found.points[0].x_high) == (90.9091, 111.111)
    assert (found.points[0].y_low, found.points[0].y_high) == (90.0, 110.0)
    assert [point.on_front for point in found.points] == [False, True]


def test_only_separated_intervals_dominate_for_sure():
    near, far, unsure = row(1, speed=790), row(2, speed=80), row(3, speed=80, interval=None)
    best = row(4, tpot=5.0)
    found = front([near, far, unsure, best], "throughput_interactivity")
    assert [point.dominated_for_sure for point in found.points] == [False, True, False, False]


def test_a_run_without_the_value_is_on_no_front():
    found = front(
        [row(1), row(2, speed=None), row(3, tpot=None), row(4)], "throughput_interactivity"
    )
    assert [point.row_id for point in found.points] == [f"{1:016x}", f"{4:016x}"]


def test_runs_without_a_gpu_have_fronts_of_their_own():
    rows = [row(1), row(2), row(3, gpus=None), row(4, gpus=None)]
    by_gpu = front(rows, "throughput_interactivity")
    by_system = front(rows, "throughput_interactivity_system")
    assert [point.row_id for point in by_gpu.points] == [f"{1:016x}", f"{2:016x}"]
    assert [point.row_id for point in by_system.points] == [f"{3:016x}", f"{4:016x}"]
    assert by_system.points[0].y == 800.0


def test_goodput_and_energy_have_fronts_where_they_are_measured():
    rows = [
        row(n, ttft_p95_ms=100.0 * n, goodput_request_per_s=8.0, joules_per_output_token=0.5)
        for n in (1, 2)
    ]
    goodput = front(rows, "goodput_latency")
    assert [(point.x, point.y, point.on_front) for point in goodput.points] == [
        (100.0, 1.0, True),
        (200.0, 1.0, False),
    ]
    energy = front(rows, "energy_throughput")
    assert [(point.x, point.y) for point in energy.points] == [(100.0, 0.5), (100.0, 0.5)]
    assert all(point.on_front for point in energy.points)


def test_there_is_no_cost_without_a_price_and_no_price_without_its_source_and_day(prices):
    rows = [row(1), row(2)]
    assert front(rows, "cost_interactivity") is None
    cost = front([*rows, row(3, gpus=None)], "cost_interactivity", prices)
    # 8 GPUs at 3.6 an hour are 0.008 a second; a million tokens take 1250 seconds.
    assert [point.y for point in cost.points] == [10.0, 10.0]
    assert (cost.points[0].y_low, cost.points[0].y_high) == (9.09091, 11.1111)
    assert cost.note == "Prices of 2026-10-01 from https://prices.example/list, in USD."
    assert cost.y.unit == "USD/Mtoken"


def test_numbers_of_unknown_meaning_are_on_no_front():
    def fronts(definitions: str):
        said = {"metric_definitions": definitions, "group_id": "0" * 16}
        return group_of([ranked(row(n).model_copy(update=said)) for n in (1, 2)]).fronts

    assert fronts("not stated") == ()
    assert fronts(NEWEST_DEFINITIONS.version)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("per_hour: 3.6", "per_hour: 0", "accelerators.0.per_hour"),
        ("per_hour: 3.6", "per_hour: .nan", "accelerators.0.per_hour"),
        ("source: https://prices.example/list", "source: my head", "source"),
        ("date: 2026-10-01", "", "date: Field required"),
        ("currency: USD", "currency: dollars", "currency"),
        ("per_hour: 3.6", "per_week: 3.6", "per_week"),
        (
            "    per_hour: 3.6",
            f"    per_hour: 3.6\n  - {{accelerator: {H100}, per_hour: 2}}",
            "has two prices",
        ),
        ("version: 1", "version: [", "not valid YAML"),
    ],
)
def test_a_wrong_price_list_is_refused_with_the_entry(tmp_path, old, new, said):
    path = tmp_path / "prices.yaml"
    path.write_text(PRICES.replace(old, new))
    with pytest.raises(PricesError, match=said):
        load_prices(path)


def test_a_missing_price_list_is_named(tmp_path):
    with pytest.raises(PricesError, match=r"nowhere\.yaml.*INFERENCEBENCH_PRICES"):
        load_prices(tmp_path / "nowhere.yaml")
