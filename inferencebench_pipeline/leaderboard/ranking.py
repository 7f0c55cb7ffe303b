"""From the index's tables to its document: comparison groups, their columns, their order."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, islice
from typing import Any
from urllib.parse import quote

from inferencebench_pipeline.leaderboard.document import (
    Column,
    Group,
    Leaderboard,
    MetricCell,
    RunRow,
)
from inferencebench_pipeline.leaderboard.facts import FOREIGN_DEFINITIONS
from inferencebench_pipeline.leaderboard.fronts import fronts_of
from inferencebench_pipeline.leaderboard.history import find_changes
from inferencebench_pipeline.measure.metrics import DEFINITIONS, METRIC_DEFINITIONS_VERSION

Row = Mapping[str, Any]
"""One line of ``runs.parquet`` or ``metrics.parquet``."""

RANKED_BY = "output_tok_per_s"
"""The metric groups are ordered by, where they have it; else their first column."""
PUBLIC_ENDPOINT = "https://huggingface.co"
_FOREIGN_COLUMNS = 4
_FOREIGN_CELLS = 24
"""Numbers of an envelope without definitions that a row holds."""
_MADE_HERE = frozenset({"dataset_url", "verify_command", "created_at", "quantization", "metrics"})
_CELL_FIELDS = tuple(name for name in MetricCell.model_fields if name != "definitions")
SHOWN_METRICS = frozenset(
    {
        *(key for key, item in DEFINITIONS.items() if item.headline),
        "tpot_p95_ms",
        "itl_p50_ms",
        "itl_p95_ms",
        "e2e_p95_ms",
        "total_tok_per_s",
        "request_per_s",
        "goodput_request_per_s",
        "slo_attainment",
        "joules_per_output_token",
    }
)
"""Keys of the metrics that a row holds: those of tables, fronts and histories."""
_COPIED = tuple(name for name in RunRow.model_fields if name not in _MADE_HERE)
"""Fields of a row that are columns of ``runs.parquet``, unchanged."""


def build_document(runs: Iterable[Row], metrics: Iterable[Row]) -> Leaderboard:
    """Return the leaderboard of the index's tables.

    Args:
        runs: the lines of ``runs.parquet``, ordered by repository.
        metrics: the lines of ``metrics.parquet``, ordered by repository and position.
    """
    cells = {
        repo_id: shown_cells(list(lines))
        for repo_id, lines in groupby(metrics, key=lambda line: str(line["repo_id"]))
    }
    lines = list(runs)
    rows = tuple(run_row(line, cells.get(line["repo_id"], ())) for line in lines)
    ranked: dict[str, list[tuple[Row, RunRow]]] = {}
    for line, row in zip(lines, rows, strict=True):
        if row.state == "verified" and row.group_id is not None:
            ranked.setdefault(row.group_id, []).append((line, row))
    groups = sorted(
        (_group(group_id, members) for group_id, members in ranked.items()),
        key=lambda group: (
            group.metric_definitions == FOREIGN_DEFINITIONS,
            group.suite_id,
            group.dataset_id,
            group.group_id,
        ),
    )
    return Leaderboard(
        states=dict(sorted(Counter(row.state for row in rows).items())),
        groups=tuple(groups),
        changes=find_changes(groups, rows),
        runs=rows,
    )


def _group(group_id: str, members: list[tuple[Row, RunRow]]) -> Group:
    line, first = members[0]
    columns = _columns(line["metric_definitions"], [row for _, row in members])
    ranking = [column for column in columns if column.better]
    by = next((column for column in ranking if column.key == RANKED_BY), next(iter(ranking), None))
    ordered = sorted((row for _, row in members), key=lambda row: _rank(row, by))
    return Group(
        group_id=group_id,
        suite_id=line["suite_id"],
        suite_version=line["suite_version"],
        dataset_id=line["dataset_id"],
        workload=line["workload"],
        slo=first.slo,
        metric_definitions=line["metric_definitions"],
        columns=columns,
        ranked_by=by.key if by else None,
        rows=tuple(row.row_id for row in ordered),
        fronts=fronts_of(ordered),
    )


def _columns(definitions: str, rows: list[RunRow]) -> tuple[Column, ...]:
    """Return what a group's table shows: the headline metrics, where their meaning is known.

    Of envelopes that state no definitions, the first few numbers are shown under their own keys,
    and nobody claims to know which direction is better.
    """
    present = dict.fromkeys(cell.key for row in rows for cell in row.metrics if cell.text is None)
    if definitions == METRIC_DEFINITIONS_VERSION:
        known = [
            Column(
                key=item.key,
                label=item.label,
                unit=item.unit,
                definition=item.definition,
                better=item.better,
            )
            for item in DEFINITIONS.values()
            if item.headline and item.key in present
        ]
        if known:
            return tuple(known)
    return tuple(
        Column(key=key, label=key, unit=None, definition=None, better=None)
        for key in list(present)[:_FOREIGN_COLUMNS]
    )


def _rank(row: RunRow, by: Column | None) -> tuple[float, str]:
    """Return the sort key: the better value first, missing values last, ties by repository."""
    value = next((cell.value for cell in row.metrics if by and cell.key == by.key), None)
    if value is None or by is None:
        return (math.inf, row.repo_id)
    return (-value if by.better == "higher" else value, row.repo_id)


def run_row(line: Row, metrics: tuple[MetricCell, ...]) -> RunRow:
    """Return the row of one line of ``runs.parquet`` with its metrics."""
    repo_id, revision = line["repo_id"], line["revision"]
    parts = (line["quantization_format"], line["quantization_method"])
    return RunRow(
        **{name: line[name] for name in _COPIED},
        dataset_url=f"{line['endpoint']}/datasets/{quote(repo_id)}/tree/{quote(revision, safe='')}",
        verify_command=_verify_command(line["endpoint"], repo_id, revision),
        created_at=line["created_at"].isoformat(),
        quantization=" ".join(part for part in parts if part) or None,
        metrics=metrics,
    )


def shown_cells(lines: Sequence[Row]) -> tuple[MetricCell, ...]:
    """Return the metrics of one run that a row holds: what tables, fronts and histories use."""
    if any(line["definitions"] == FOREIGN_DEFINITIONS for line in lines):
        numbers = (line for line in lines if line["text"] is None)
        return tuple(_cell(line) for line in islice(numbers, _FOREIGN_CELLS))
    return tuple(_cell(line) for line in lines if line["key"] in SHOWN_METRICS)


def _verify_command(endpoint: str, repo_id: str, revision: str) -> str:
    target = shlex.quote(f"hf://datasets/{repo_id}/envelope.json@{revision}")
    command = f"inferencebench verify {target} --policy policy.yaml"
    if endpoint == PUBLIC_ENDPOINT:
        return command
    return f"HF_ENDPOINT={shlex.quote(endpoint)} {command}"


def _cell(line: Row) -> MetricCell:
    return MetricCell(**{name: line[name] for name in _CELL_FIELDS})
