"""The trade-offs that a comparison group is shown by, with the place of its runs on each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from inferencebench_pipeline.leaderboard.analysis.pareto import Measured, standings
from inferencebench_pipeline.leaderboard.analysis.prices import Prices
from inferencebench_pipeline.leaderboard.analysis.ranked_run import RankedRun
from inferencebench_pipeline.leaderboard.document import (
    Column,
    Front,
    FrontPoint,
    six_digits,
)
from inferencebench_pipeline.measure import Definitions, MetricDefinition

_ONE_KIND = re.compile(r"\d+ × (?P<model>[^,]+)")
_TOKENS_PRICED: Final = 1_000_000
_PER_GPU: Final = " per GPU"

Reading = Callable[[RankedRun], Measured | None]


@dataclass(frozen=True)
class _Axis:
    column: Column
    read: Reading
    """The value of a run; None when it has none, and then it is in no plot with this axis."""


@dataclass(frozen=True)
class _TradeOff:
    name: str
    title: str
    x: _Axis
    y: _Axis
    note: str | None = None


def fronts_of(
    rows: Sequence[RankedRun], definitions: Definitions, prices: Prices | None = None
) -> tuple[Front, ...]:
    """Return the fronts of one comparison group's ranked runs.

    Throughput against interactivity (tokens per second that one user sees: ``1 / TPOT p50``),
    goodput against latency, energy against throughput, and, where prices are given, cost against
    interactivity. Throughput and goodput are per GPU; runs without one have fronts of their own,
    per system, because a host and a GPU are not the same unit. A front of fewer than two runs
    compares nothing and is left out.
    """
    found = (_front(trade_off, rows) for trade_off in _trade_offs(definitions, prices))
    return tuple(front for front in found if front is not None)


def _front(trade_off: _TradeOff, rows: Sequence[RankedRun]) -> Front | None:
    placed = [
        (row, x, y) for row in rows if (x := trade_off.x.read(row)) and (y := trade_off.y.read(row))
    ]
    if len(placed) < 2:
        return None
    across, up = trade_off.x.column, trade_off.y.column
    stand = standings(
        [(x, y) for _, x, y in placed],
        x_better=across.better or "higher",
        y_better=up.better or "higher",
    )
    return Front(
        name=trade_off.name,
        title=trade_off.title,
        note=trade_off.note,
        x=across,
        y=up,
        points=tuple(
            FrontPoint(
                row_id=row.row_id,
                x=six_digits(at_x.value),
                y=six_digits(at_y.value),
                x_low=_end(at_x.low),
                x_high=_end(at_x.high),
                y_low=_end(at_y.low),
                y_high=_end(at_y.high),
                on_front=standing.on_front,
                dominated_for_sure=standing.dominated_for_sure,
            )
            for (row, at_x, at_y), standing in zip(placed, stand, strict=True)
        ),
    )


def _trade_offs(definitions: Definitions, prices: Prices | None) -> Iterable[_TradeOff]:
    metrics = definitions.metrics
    for unit, suffix in (("GPU", ""), ("system", "_system")):
        throughput = _rate(metrics["output_tok_per_s"], unit)
        goodput = _rate(metrics["goodput_request_per_s"], unit)
        yield _TradeOff(
            f"throughput_interactivity{suffix}",
            f"Throughput per {unit} against interactivity",
            _INTERACTIVITY,
            throughput,
        )
        yield _TradeOff(
            f"goodput_latency{suffix}",
            f"Goodput per {unit} against latency",
            _axis(metrics["ttft_p95_ms"]),
            goodput,
        )
        # The first definitions had no energy.
        if energy := metrics.get("joules_per_output_token"):
            yield _TradeOff(
                f"energy_throughput{suffix}",
                f"Energy per token against throughput per {unit}",
                throughput,
                _axis(energy),
            )
    if prices is not None:
        yield _TradeOff(
            "cost_interactivity",
            "Cost per million output tokens against interactivity",
            _INTERACTIVITY,
            _cost(prices),
            prices.note,
        )


def _column(known: MetricDefinition, *, suffix: str = "", unit: str | None = None) -> Column:
    return Column(
        key=known.key,
        label=known.label + suffix,
        unit=unit or known.unit,
        definition=known.definition,
        better=known.better,
    )


def _axis(known: MetricDefinition) -> _Axis:
    return _Axis(_column(known), lambda row: _measured(row, known.key))


def _rate(known: MetricDefinition, unit: str) -> _Axis:
    """Return the axis of a rate per GPU, of runs that used some; or of the others, as a whole."""
    if unit != "GPU":
        return _Axis(
            _column(known),
            lambda row: None if row.accelerators else _measured(row, known.key),
        )
    return _Axis(
        _column(known, suffix=_PER_GPU, unit=f"{known.unit}/GPU"),
        lambda row: (
            _scaled(_measured(row, known.key), 1 / row.accelerators) if row.accelerators else None
        ),
    )


def _cost(prices: Prices) -> _Axis:
    def read(row: RankedRun) -> Measured | None:
        # A host with several kinds of accelerators has no single price, and so no cost.
        kind = _ONE_KIND.fullmatch(row.hardware or "")
        per_hour = prices.per_hour(kind["model"]) if kind else None
        if per_hour is None or not row.accelerators:
            return None
        per_token = per_hour * row.accelerators / 3600
        return _inverse(_measured(row, "output_tok_per_s"), per_token * _TOKENS_PRICED)

    column = Column(
        key="cost_per_million_output_tokens",
        label="Cost",
        unit=f"{prices.currency}/Mtoken",
        definition="Price of the accelerators used, for the time that a million output tokens "
        f"took. {prices.note}",
        better="lower",
    )
    return _Axis(column, read)


def _measured(row: RankedRun, key: str) -> Measured | None:
    cell = row.metrics.get(key)
    if cell is None or cell.value is None:
        return None
    return Measured(cell.value, cell.low, cell.high)


def _scaled(item: Measured | None, factor: float) -> Measured | None:
    if item is None:
        return None
    low, high = (None if end is None else end * factor for end in (item.low, item.high))
    return Measured(item.value * factor, low, high)


def _inverse(item: Measured | None, of: float) -> Measured | None:
    """Return ``of`` divided by the value. An interval that reaches zero has no inverse."""
    if item is None or item.value <= 0:
        return None
    if item.low is None or item.high is None or item.low <= 0:
        return Measured(of / item.value)
    # The inverse turns the interval round.
    return Measured(of / item.value, of / item.high, of / item.low)


def _end(value: float | None) -> float | None:
    return None if value is None else six_digits(value)


_INTERACTIVITY: Final = _Axis(
    Column(
        key="interactivity_tok_per_s",
        label="Interactivity",
        unit="token/s/user",
        definition="Tokens per second that one user sees once they flow: 1000 / TPOT p50.",
        better="higher",
    ),
    lambda row: _inverse(_measured(row, "tpot_p50_ms"), 1000),
)
