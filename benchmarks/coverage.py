"""How often a nominal 95 % interval of a latency percentile covers the truth, by method.

Series whose true quantiles are known: AR(1), and times in an M/M/1 queue, which is what latencies
near saturation look like. For each, many replications; the share of intervals that hold the true
value, and half their mean width relative to it (to 1 where it is 0). The last number is how often
an interval is reported at all, where not always: the others are null, with the reason.

    python benchmarks/coverage.py [--replications 300]
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from inferencebench_pipeline.measure.metrics.statistics import repeats_interval
from tests.measure.autocorrelated import (
    UNIT,
    Ints,
    ar1,
    ar1_quantile,
    as_if_independent,
    by_blocks,
    coverage,
    queue,
    queue_quantile,
)

Bounds = tuple[float, float] | None


def iid_bootstrap(series: Ints, permille: int) -> Bounds:
    """The percentile bootstrap that draws samples one by one, with 200 resamples."""
    random = np.random.default_rng(int(series[0]) % 2**32)
    drawn = series[random.integers(0, len(series), size=(200, len(series)))]
    low, high = np.quantile(np.quantile(drawn, permille / 1000, axis=1), [0.025, 0.975])
    return low / UNIT, high / UNIT


def over_repeats(series: Ints, permille: int) -> Bounds:
    """Five independent repeats, each a fifth of the samples: rows hold them side by side."""
    values = np.quantile(series.reshape(5, -1), permille / 1000, axis=1) / UNIT
    found = repeats_interval(values.tolist())
    return found.low, found.high


def shown(method: Callable[[Ints, int], Bounds], series: Ints, permille: int, truth: float) -> str:
    covered, given = coverage(method, series, permille, truth)
    if math.isnan(covered):
        return f"{'-':>14}"
    widths = [b[1] - b[0] for each in series[:50] if (b := method(each, permille)) is not None]
    width = float(np.mean(widths)) / (abs(truth) or 1.0) if widths else math.nan
    note = f" {given:4.0%}" if given < 1 else "     "
    return f"{covered:5.0%} ±{width / 2:4.0%}{note}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replications", type=int, default=300)
    replications = parser.parse_args().replications
    print(f"{replications} replications; coverage ± half the relative width, share given if < 100%")
    print(f"{'series':<22} {'':>6} {'i.i.d. order':>15} {'i.i.d. bootstr.':>15} "
          f"{'moving blocks':>16} {'5 repeats':>16}")  # fmt: skip
    for count in (500, 2000):
        cases = [
            (f"AR(1) 0.5, n={count}", ar1, ar1_quantile, 0.5),
            (f"AR(1) 0.9, n={count}", ar1, ar1_quantile, 0.9),
            (f"M/M/1 0.3, n={count}", queue, queue_quantile, 0.3),
            (f"M/M/1 0.7, n={count}", queue, queue_quantile, 0.7),
        ]
        for name, draw, quantile, parameter in cases:
            series = draw(parameter, count, replications, seed=count)
            apart = draw(parameter, count // 5, 5 * replications, seed=count + 1)
            side_by_side = apart.reshape(replications, -1)
            for permille in (500, 900, 990):
                truth = quantile(parameter, permille / 1000)
                cells = [
                    shown(method, rows, permille, truth)
                    for method, rows in (
                        (as_if_independent, series),
                        (iid_bootstrap, series),
                        (by_blocks, series),
                        (over_repeats, side_by_side),
                    )
                ]
                print(f"{name:<22} p{permille / 10:<5g} " + "  ".join(cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
