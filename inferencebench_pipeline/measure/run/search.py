"""The highest load at which an SLO is met: probes of halving steps, each decided by an interval.

A probe is a run like any other. It passed when the whole interval of its attainment lies above
what is asked for, failed when it lies below, and decided nothing in between: then the search takes
it for a failure, because a rate that cannot be told from one too many is not to be promised.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.files import write_atomically
from inferencebench_pipeline.measure.errors import AllRequestsFailedError, SpecError
from inferencebench_pipeline.measure.metrics.compute import Metric
from inferencebench_pipeline.measure.metrics.statistics import wilson_bounds
from inferencebench_pipeline.measure.run.measurement import Measurement
from inferencebench_pipeline.measure.spec.load import ClosedLoad, OpenLoad
from inferencebench_pipeline.measure.spec.plan import Plan, Search
from inferencebench_pipeline.measure.spec.spec import BenchmarkSpec, Place
from inferencebench_pipeline.runs import new_run_id


class ProbeOutcome(StrEnum):
    """The verdict of a probe on its load."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"


class Probe(DocumentPart):
    """One load that was tried."""

    load: float = Field(gt=0)
    """The load in requests per second, or in requests in flight."""
    run_id: str
    """The run id of the probe."""
    met: int = Field(ge=0)
    """The number of measured requests that met the SLO."""
    requests: int = Field(ge=0)
    """The number of measured requests."""
    low: float
    """The lower bound of the attainment's 95 % interval."""
    high: float
    """The upper bound of the attainment's 95 % interval."""
    outcome: ProbeOutcome
    """The verdict on the load."""


class SearchResult(DocumentPart):
    """The result of a search, with every probe in the order of probing."""

    name: str
    """The name of the spec."""
    search: Search
    """The bounds of the search."""
    highest: float | None
    """The highest load that passed, null when none did."""
    lowest_failed: float | None
    """The lowest load that did not pass, null when all did."""
    probes: tuple[Probe, ...]
    """The probes in their order."""
    reason: str
    """The reason why the search ended."""


Measure = Callable[[BenchmarkSpec, str], Measurement]
"""Measures a spec under a run id."""


def find_highest(spec: BenchmarkSpec, search: Search, measure: Measure) -> SearchResult:
    """Return the highest load that meets the SLO of ``spec``, to the resolution of ``search``.

    Rates are halved on a logarithmic scale; numbers in flight are whole.

    Args:
        spec: what every probe measures, at another load.
        search: where to look.
        measure: runs a probe.

    Raises:
        SpecError: the load of the spec has neither a rate nor a number in flight.
    """
    whole = isinstance(spec.load, ClosedLoad)
    probes: list[Probe] = []

    def passes(load: float) -> bool:
        probe, run_id = probe_spec(spec, load, number=len(probes) + 1), new_run_id()
        try:
            attainment = measure(probe, run_id).metrics["slo_attainment"]
        # An engine that answers nothing at this load did not pass. The search goes on below it.
        except AllRequestsFailedError:
            requests = spec.load.requests * spec.repeats.least
            attainment = Metric(value=0.0, unit="ratio", n=requests)
        probes.append(_judged(load, run_id, attainment, search))
        return probes[-1].outcome is ProbeOutcome.PASSED

    def result(highest: float | None, failed: float | None, reason: str) -> SearchResult:
        return SearchResult(
            name=spec.name,
            search=search,
            highest=highest,
            lowest_failed=failed,
            probes=tuple(probes),
            reason=reason,
        )

    low, high = _ends(search, whole=whole)
    if not passes(low):
        return result(None, low, f"the SLO is not met at the lowest load, {low:g}")
    if passes(high):
        return result(high, None, f"the SLO is still met at the highest load, {high:g}")
    # Between two neighbouring numbers in flight there is none to try.
    while high - low > (max(search.resolution * low, 1) if whole else search.resolution * low):
        if len(probes) == search.most_probes:
            return result(low, high, f"search.most_probes = {search.most_probes} was reached")
        middle = _middle(low, high, whole=whole)
        low, high = (middle, high) if passes(middle) else (low, middle)
    return result(low, high, f"{low:g} passed and {high:g} did not, as near as was asked for")


def _ends(search: Search, *, whole: bool) -> tuple[float, float]:
    return (math.ceil(search.low), math.floor(search.high)) if whole else (search.low, search.high)


def _middle(low: float, high: float, *, whole: bool) -> float:
    if whole:
        return float((int(low) + int(high)) // 2)
    return float(f"{math.sqrt(low * high):.4g}")


def search_bases(plan: Plan) -> list[BenchmarkSpec]:
    """Return the base of each search: each model, engine and workload of a plan."""
    bases: dict[str, BenchmarkSpec] = {}
    for spec in plan.runs:
        key = spec.model_dump_json(include={"model", "engine", "workload"})
        bases.setdefault(key, spec)
    return list(bases.values())


def write_search(store: Path, result: SearchResult) -> Path:
    """Write a search's result to ``searches/`` in the store, by its first probe's run id.

    Raises:
        StoreError: the store is not writable.
    """
    path = store / "searches" / f"{result.probes[0].run_id}.json"
    write_atomically(path, result.model_dump_json(indent=2).encode() + b"\n")
    return path


def probe_spec(spec: BenchmarkSpec, load: float, *, number: int) -> BenchmarkSpec:
    """Return the spec of a probe: ``spec`` at another load.

    Raises:
        SpecError: its load is a recorded schedule, which has no rate to vary.
    """
    place = Place(sweep=spec.name, point=number)
    if isinstance(spec.load, ClosedLoad):
        changed = {**spec.load.model_dump(), "concurrency": int(load)}
        return spec.model_copy(update={"load": ClosedLoad(**changed), "place": place})
    if isinstance(spec.load, OpenLoad):
        changed = {**spec.load.model_dump(), "rate_per_s": load}
        return spec.model_copy(update={"load": OpenLoad(**changed), "place": place})
    raise SpecError("a search varies a rate or a number in flight; load.kind: replay has neither")


def _bounds(attainment: Metric) -> tuple[float, float]:
    """Return the metric's own interval, which knows how requests depend on one another.

    Of few requests it has none; they are then taken to be independent (Wilson 1927).
    """
    if attainment.value is None:
        # Without a value every attainment is possible, which decides nothing.
        return 0.0, 1.0
    if attainment.interval is not None:
        return attainment.interval.low, attainment.interval.high
    return wilson_bounds(attainment.value, attainment.n)


def _judged(load: float, run_id: str, attainment: Metric, search: Search) -> Probe:
    low, high = _bounds(attainment)
    outcome = ProbeOutcome.UNDECIDED
    if low >= search.attainment:
        outcome = ProbeOutcome.PASSED
    elif high < search.attainment:
        outcome = ProbeOutcome.FAILED
    return Probe(
        load=load,
        run_id=run_id,
        met=round((attainment.value or 0.0) * attainment.n),
        requests=attainment.n,
        low=low,
        high=high,
        outcome=outcome,
    )
