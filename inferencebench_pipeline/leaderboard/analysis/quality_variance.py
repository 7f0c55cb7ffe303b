"""Variance in quality: community results of one model on one task, by how they were brought about.

Only results whose notes are in our vocabulary say that, so only they are compared: two numbers from
unknown set-ups differ for unknown reasons.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from inferencebench_pipeline.community_results import CommunityResult, RunConfiguration, parse_notes
from inferencebench_pipeline.leaderboard.analysis.variance import (
    Across,
    MetricSeries,
    Observation,
    Topic,
    variances_of,
)
from inferencebench_pipeline.leaderboard.document import Variance
from inferencebench_pipeline.leaderboard.envelope_source import comparison_group

_STANDING: Final = frozenset({"open", "merged"})
_Parts = tuple[str | None, ...]


@dataclass(frozen=True)
class _Facet:
    across: Across
    level: Callable[[RunConfiguration], str | None]
    others: Callable[[RunConfiguration], _Parts]


def _engine_name(configuration: RunConfiguration) -> str | None:
    return configuration.engine and configuration.engine.split("/")[0]


def _engine_version(configuration: RunConfiguration) -> str | None:
    engine = configuration.engine
    return engine.replace("/", " ", 1) if engine and "/" in engine else None


_FACETS: Final = (
    _Facet("provider", lambda run: run.provider, lambda run: (run.quantization,)),
    _Facet("engine", _engine_name, lambda run: (run.provider, run.quantization)),
    _Facet(
        "engine_version",
        _engine_version,
        lambda run: (run.provider, _engine_name(run), run.quantization),
    ),
    _Facet("quantization", lambda run: run.quantization, lambda run: (run.provider, run.engine)),
)


def quality_variances(results: Iterable[CommunityResult]) -> tuple[Variance, ...]:
    """Return the spreads in quality, each with its own p-value.

    Compared are results of the same model, task and revision of the task, with the same template,
    tools and judge, proposed or accepted; the same result in two places counts once. Every result
    is one run: a provider with a single one cannot be told from chance, however far it is off.
    """
    tasks: dict[tuple[str, str, str, str], dict[tuple[object, ...], CommunityResult]] = defaultdict(
        dict
    )
    for result in results:
        if result.state in _STANDING:
            entry = result.entry
            task = (result.model_id, *entry.key, entry.dataset.revision or "")
            source = entry.source.url if entry.source else result.url
            # One result may be proposed in several pull requests,
            # and would then count for each of them.
            tasks[task].setdefault((entry.value, entry.date, source, entry.notes), result)
    found: list[Variance] = []
    for (model_id, dataset_id, task_id, revision), distinct in sorted(tasks.items()):
        runs = [
            (result, configuration)
            for result in distinct.values()
            if (configuration := parse_notes(result.entry.notes or "").configuration)
        ]
        name = f"{dataset_id}/{task_id}"
        group_id = comparison_group("quality", dataset_id, task_id, revision)
        for facet in _FACETS:
            observations, values = [], []
            for result, configuration in runs:
                if level := facet.level(configuration):
                    when = result.entry.date or result.first_seen_at.isoformat()
                    alike = _alike(configuration, facet)
                    observations.append(Observation(result.url, when, level, alike))
                    values.append(float(result.entry.value))
            found += variances_of(
                Topic(group_id, "quality", model_id, None, facet.across),
                observations,
                [MetricSeries(name, f"{dataset_id}, {task_id}", None, np.array(values))],
            )
    return tuple(found)


def _alike(configuration: RunConfiguration, facet: _Facet) -> tuple[str, ...]:
    tools = None if configuration.tools is None else ", ".join(configuration.tools) or "no tools"
    parts = (configuration.template, tools, configuration.judge, *facet.others(configuration))
    return tuple(part or "not stated" for part in parts)
