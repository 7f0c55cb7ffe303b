"""Comparison of two sets of runs, A and B, that answer the same question."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.envelope import EnvelopeError, parse_envelope
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.leaderboard.analysis.permutation import (
    FALSE_DISCOVERY_RATE,
    Stratum,
    adjusted_p_values,
    enough_runs,
    p_value,
    seed_of,
)
from inferencebench_pipeline.leaderboard.analysis.two_samples import difference
from inferencebench_pipeline.leaderboard.column_ranges import UnfitError
from inferencebench_pipeline.leaderboard.comparability import comparable_keys
from inferencebench_pipeline.leaderboard.envelope_source import FOREIGN_DEFINITIONS
from inferencebench_pipeline.leaderboard.facts import (
    MetricFact,
    MetricKey,
    MetricLabel,
    stated_facts,
)
from inferencebench_pipeline.leaderboard.run_columns import EnvelopeFacts
from inferencebench_pipeline.measure import (
    DEFINITIONS,
    METRIC_DEFINITIONS_VERSION,
    Definitions,
    MetricDefinition,
    definitions_of,
    newest_of,
)

FORMAT: Final = "inferencebench-pipeline-comparison/1"
COMPARED: Final = tuple(
    key for key, definition in DEFINITIONS.items() if "compare" in definition.tested_in
)
"""The metrics that are compared unless others are asked for. Each further one costs the others
certainty."""
_QUESTION: Final = ("suite_id", "suite_version", "workload", "slo")
"""Runs that differ in any of these answer different questions."""
_FACTORS: Final = (
    "model_id",
    "model_revision",
    "model_provider",
    "quantization_format",
    "quantization_method",
    "engine_name",
    "engine_version",
    "engine_config_hash",
    "hardware",
)
"""The facts in which the reason of a difference may lie."""

Verdict = Literal["better", "worse", "not_separated", "identical", "too_few_runs"]
"""``identical``: the same number in every run at the same load; there is nothing to test."""


class ComparisonError(PermanentError):
    """The runs cannot be compared: they answer different questions, or one does not count."""


@dataclass(frozen=True)
class ComparedRun:
    """One run, and where it was read."""

    where: str
    facts: EnvelopeFacts
    values: dict[str, float]
    """The values by metric key; a metric that is null is not in it."""

    @property
    def run_id(self) -> str:
        """The id of the run; every envelope states one."""
        return self.facts.run_id or ""


class Factor(DocumentPart):
    """Something that is not the same on both sides."""

    field: str
    """The name of the fact, a column of the table of runs."""
    a: tuple[str, ...]
    """The values that the runs of A have, each once."""
    b: tuple[str, ...]
    """The values that the runs of B have, each once."""


class MetricComparison(DocumentPart):
    """One metric of B against A."""

    key: MetricKey
    label: MetricLabel
    unit: str
    """The unit of the metric's values."""
    n_a: int
    """The number of runs of A that have the metric."""
    n_b: int
    """The number of runs of B that have the metric."""
    median_a: float
    """The median over the runs of A, in ``unit``."""
    median_b: float
    """The median over the runs of B, in ``unit``."""
    effect: float
    """The difference of B from A within the same load; relative where ``scale`` says so."""
    effect_low: float | None
    """Lower end of the 95 % interval of ``effect``; null when there are too few runs for one."""
    effect_high: float | None
    """Upper end of the 95 % interval of ``effect``; null when there are too few runs for one."""
    scale: Literal["relative", "absolute"]
    """``relative`` for a share of A's value, ``absolute`` for a difference in ``unit``."""
    p_value: float | None
    """The p-value of the permutation test; null where there is nothing to test."""
    q_value: float | None
    """The p-value adjusted for all metrics tested; both are null where there is nothing to test."""
    verdict: Verdict
    """The result of the test, by the direction that the metric's definition calls better."""


class Comparison(DocumentPart):
    """The result of a comparison of B with A."""

    format: Literal["inferencebench-pipeline-comparison/1"] = FORMAT
    """The name and the version of this form of document."""
    question: dict[str, str | None]
    """The values that all runs share, and must share to be compared."""
    load_points: tuple[str, ...]
    """The loads at which both sides were run, in words."""
    differs: tuple[Factor, ...]
    """If there is more than one, nobody can tell which of them did it."""
    left_out: tuple[str, ...]
    """Runs at a load that the other side was not run at."""
    metrics: tuple[MetricComparison, ...]
    """The comparison of each metric that both sides have."""
    false_discovery_rate: float = FALSE_DISCOVERY_RATE
    """The expected share of false ones among the differences that are reported."""


def read_run(data: bytes, where: str) -> ComparedRun:
    """Return what is compared of the envelope ``data``. Its signature is not looked at.

    Raises:
        ComparisonError: it is not an envelope, its measurement failed one of its own validity
            checks, or it does not state metric definitions that are known here.
    """
    try:
        envelope = parse_envelope(data)
    except EnvelopeError as error:
        raise ComparisonError(f"{where} cannot be read: {error}") from error
    try:
        # The digest is left empty, because nothing here is looked up by it.
        columns, found = stated_facts(envelope, "")
    except UnfitError as error:
        raise ComparisonError(f"{where} cannot be compared: {error}") from error
    facts = EnvelopeFacts(**columns)
    if definitions_of(facts.metric_definitions) is None:
        said = facts.metric_definitions
        stated = "does not state" if said == FOREIGN_DEFINITIONS else f"states version {said} of"
        raise ComparisonError(
            f"{where} {stated} its metric definitions; only numbers under versions up to "
            f"{METRIC_DEFINITIONS_VERSION} are compared"
        )
    if not facts.valid:
        raise ComparisonError(
            f"{where} is not a valid measurement ({facts.invalid_reason}); leave it out or "
            "measure again"
        )
    metrics = (MetricFact(*values) for values in found)
    return ComparedRun(where, facts, {m.key: m.value for m in metrics if m.value is not None})


def compare(
    a: Sequence[ComparedRun], b: Sequence[ComparedRun], metrics: Iterable[str] = COMPARED
) -> Comparison:
    """Return how B differs from A, metric by metric.

    Runs are matched by load point; of each metric one permutation test over run statistics, at a
    false-discovery rate of 5 % over all metrics. A number whose definition is another one in the
    newest version among the runs takes no part. A difference that is not separated is not a proof
    of equality: read the interval.

    Raises:
        ComparisonError: the runs answer different questions, a run is there twice, no load point
            has runs of both sides, or a metric is unknown.
    """
    _check(a, b)
    shared = {run.facts.load_point for run in a} & {run.facts.load_point for run in b}
    if not shared:
        raise ComparisonError(
            f"load_point differs: A was run at {_listed(a, 'load_point')}, B at "
            f"{_listed(b, 'load_point')}; compare runs at the same load"
        )
    definitions = newest_of(run.facts.metric_definitions for run in (*a, *b))
    kept = [
        [_under(run, definitions) for run in side if run.facts.load_point in shared]
        for side in (a, b)
    ]
    compared = [
        found
        # A metric that is named twice is tested once, or it would cost the others certainty.
        for definition in map(_definition, dict.fromkeys(metrics))
        if (found := _compared(definition, *kept)) is not None
    ]
    tested = [item for item in compared if item.p_value is not None]
    q_values = dict(
        zip(
            (item.key for item in tested),
            adjusted_p_values([item.p_value for item in tested if item.p_value is not None]),
            strict=True,
        )
    )
    return Comparison(
        question={name: getattr(a[0].facts, name) for name in _QUESTION}
        | {"metric_definitions": definitions.version if definitions else FOREIGN_DEFINITIONS},
        load_points=tuple(sorted(point or "not stated" for point in shared)),
        differs=_differences(*kept),
        left_out=tuple(run.where for run in (*a, *b) if run.facts.load_point not in shared),
        metrics=tuple(_judged(item, q_values.get(item.key)) for item in compared),
    )


def _check(a: Sequence[ComparedRun], b: Sequence[ComparedRun]) -> None:
    for name, side in (("A", a), ("B", b)):
        if not side:
            raise ComparisonError(f"{name} holds no runs; name at least one")
    first = a[0]
    seen: dict[str, str] = {}
    for run in (*a, *b):
        for name in _QUESTION:
            here, there = getattr(first.facts, name), getattr(run.facts, name)
            if here != there:
                raise ComparisonError(
                    f"{name} differs: {here!r} in {first.where}, {there!r} in {run.where}; these "
                    "runs answer different questions"
                )
        if run.run_id in seen:
            raise ComparisonError(
                f"{run.where} is the same run as {seen[run.run_id]} "
                f"({run.run_id}); a run counts once"
            )
        seen[run.run_id] = run.where


def _under(run: ComparedRun, definitions: Definitions | None) -> ComparedRun:
    """Return a run without the numbers that mean another thing under the definitions."""
    keys = comparable_keys(run.facts.metric_definitions, definitions)
    if keys is None:
        return run
    return replace(run, values={key: run.values[key] for key in run.values if key in keys})


def _definition(key: str) -> MetricDefinition:
    if key not in DEFINITIONS:
        raise ComparisonError(f"there is no metric {key!r}; docs/metrics.md lists them")
    return DEFINITIONS[key]


def _compared(
    definition: MetricDefinition, a: list[ComparedRun], b: list[ComparedRun]
) -> MetricComparison | None:
    """Return the comparison of a metric, without its verdict; None when a side has no value."""
    sides = [[run for run in side if definition.key in run.values] for side in (a, b)]
    values = [np.array([run.values[definition.key] for run in side]) for side in sides]
    # Logarithms need positive values. Shares are compared in points, whatever their size.
    relative = definition.unit != "ratio" and all(bool((v > 0).all()) for v in values)
    strata = _strata(definition.key, sides, relative=relative)
    if not strata:
        return None
    identical = all(np.ptp(stratum.values) == 0 for stratum in strata)
    testable = not identical and enough_runs([stratum.levels for stratum in strata])
    # Sorted, so that the same runs give the same answer in whatever order they are named.
    seed = seed_of(definition.key, *sorted(run.run_id for side in sides for run in side))
    found = difference(strata, seed=seed)
    told = [
        # Differences of logarithms become relative changes.
        None if end is None else (math.expm1(end) if relative else end)
        for end in (found.estimate, found.low, found.high)
    ]
    return MetricComparison(
        key=definition.key,
        label=definition.label,
        unit=definition.unit,
        n_a=len(values[0]),
        n_b=len(values[1]),
        median_a=float(np.median(values[0])),
        median_b=float(np.median(values[1])),
        effect=told[0] or 0.0,
        effect_low=told[1],
        effect_high=told[2],
        scale="relative" if relative else "absolute",
        p_value=p_value(strata, seed=seed) if testable else None,
        q_value=None,
        verdict="identical" if identical else "too_few_runs",
    )


def _strata(key: str, sides: list[list[ComparedRun]], *, relative: bool) -> list[Stratum]:
    """Return the runs by load point, where both sides have some; logarithms for ratios."""
    strata = []
    for point in sorted({str(run.facts.load_point) for side in sides for run in side}):
        levels = [
            (run.values[key], level)
            for level, side in enumerate(sides)
            for run in side
            if str(run.facts.load_point) == point
        ]
        values = np.array([value for value, _ in levels])
        stratum = Stratum(
            np.log(values) if relative else values, np.array([level for _, level in levels])
        )
        if len(np.unique(stratum.levels)) > 1:
            strata.append(stratum)
    return strata


def _judged(item: MetricComparison, q_value: float | None) -> MetricComparison:
    if q_value is None:
        return item
    verdict: Verdict = "not_separated"
    # Ranks may differ for sure while the median difference is zero, which has no direction.
    if q_value <= FALSE_DISCOVERY_RATE and item.effect != 0:
        rising = item.effect > 0
        verdict = "better" if rising == (DEFINITIONS[item.key].better == "higher") else "worse"
    return item.model_copy(update={"q_value": q_value, "verdict": verdict})


def _differences(a: list[ComparedRun], b: list[ComparedRun]) -> tuple[Factor, ...]:
    found = []
    for name in _FACTORS:
        sides = [tuple(sorted({str(getattr(r.facts, name)) for r in side})) for side in (a, b)]
        if sides[0] != sides[1]:
            found.append(Factor(field=name, a=sides[0], b=sides[1]))
    return tuple(found)


def _listed(side: Sequence[ComparedRun], name: str) -> str:
    return ", ".join(sorted({str(getattr(run.facts, name)) for run in side}))
