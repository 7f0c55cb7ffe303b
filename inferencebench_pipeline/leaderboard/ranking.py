"""From the index's tables to its document: comparison groups, their columns, their order."""

from __future__ import annotations

import json
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from inferencebench_pipeline.corpus.verdicts import RepoVerdict
from inferencebench_pipeline.envelope.canonical import EnvelopeError
from inferencebench_pipeline.envelope.extension import PipelineExtension, pipeline_extension
from inferencebench_pipeline.envelope.models import Envelope
from inferencebench_pipeline.leaderboard.document import (
    Column,
    Group,
    Leaderboard,
    MetricCell,
    RunRow,
)
from inferencebench_pipeline.leaderboard.facts import FOREIGN_DEFINITIONS
from inferencebench_pipeline.leaderboard.history import find_changes
from inferencebench_pipeline.measure.metrics import DEFINITIONS, METRIC_DEFINITIONS_VERSION

Row = Mapping[str, Any]
"""One line of ``runs.parquet`` or ``metrics.parquet``."""

RANKED_BY = "output_tok_per_s"
"""The metric groups are ordered by, where they have it; else their first column."""
PUBLIC_ENDPOINT = "https://huggingface.co"
_FOREIGN_COLUMNS = 4
_BLANK: tuple[object, ...] = (None, "", [])
_MADE_HERE = frozenset(
    {
        "dataset_url",
        "verify_command",
        "created_at",
        "quantization",
        "metrics",
        "validity",
        "provenance",
        "verdict",
    }
)
_COPIED = tuple(name for name in RunRow.model_fields if name not in _MADE_HERE)
"""Fields of a row that are columns of ``runs.parquet``, unchanged."""


def build_document(
    runs: Iterable[Row],
    metrics: Iterable[Row],
    verdicts: Mapping[str, RepoVerdict],
    envelopes: Mapping[str, Envelope],
) -> Leaderboard:
    """Return the leaderboard of the index's tables.

    Args:
        runs: the lines of ``runs.parquet``, ordered by repository.
        metrics: the lines of ``metrics.parquet``, ordered by repository and position.
        verdicts: by ``repo_id``.
        envelopes: by the SHA-256 of their bytes.
    """
    cells = {
        repo_id: tuple(_cell(line) for line in lines)
        for repo_id, lines in groupby(metrics, key=lambda line: str(line["repo_id"]))
    }
    lines = list(runs)
    rows = tuple(
        _run_row(
            line,
            cells.get(line["repo_id"], ()),
            verdicts.get(line["repo_id"]),
            envelopes.get(line["envelope_sha256"]),
        )
        for line in lines
    )
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


def _run_row(
    line: Row, metrics: tuple[MetricCell, ...], found: RepoVerdict | None, envelope: Envelope | None
) -> RunRow:
    repo_id, revision = line["repo_id"], line["revision"]
    extension = _extension(envelope)
    parts = (line["quantization_format"], line["quantization_method"])
    return RunRow(
        **{name: line[name] for name in _COPIED},
        dataset_url=f"{line['endpoint']}/datasets/{quote(repo_id)}/tree/{quote(revision, safe='')}",
        verify_command=_verify_command(line["endpoint"], repo_id, revision),
        created_at=line["created_at"].isoformat(),
        quantization=" ".join(part for part in parts if part) or None,
        metrics=metrics,
        validity=extension.validity if extension else (),
        provenance=_provenance(envelope, extension) if envelope else {},
        verdict=found.verdict if found else None,
    )


def _verify_command(endpoint: str, repo_id: str, revision: str) -> str:
    target = shlex.quote(f"hf://datasets/{repo_id}/envelope.json@{revision}")
    command = f"inferencebench verify {target} --policy policy.yaml"
    if endpoint == PUBLIC_ENDPOINT:
        return command
    return f"HF_ENDPOINT={shlex.quote(endpoint)} {command}"


def _cell(line: Row) -> MetricCell:
    return MetricCell(**{name: line[name] for name in MetricCell.model_fields})


def _extension(envelope: Envelope | None) -> PipelineExtension | None:
    try:
        return pipeline_extension(envelope) if envelope else None
    except EnvelopeError:
        return None


def _provenance(
    envelope: Envelope, extension: PipelineExtension | None
) -> dict[str, dict[str, str]]:
    """Return where the numbers come from, in sections of names and values as the envelope has them.

    Fields that v1 does not know are left out, except this pipeline's own.
    """
    hardware = envelope.hardware_fingerprint
    sections: dict[str, dict[str, Any]] = {
        "Model": {
            **_declared(envelope.model),
            "file_sha256": extension.model_file_sha256 if extension else None,
        },
        "Engine": {
            **_declared(envelope.engine),
            **(extension.engine_config if extension else {}),
        },
        "Load": {
            f"{section}.{name}": value
            for section in ("load", "workload")
            for name, value in _mapping(envelope.driver_options.get(section)).items()
        },
        "Hardware": {
            **_declared(hardware),
            "gpus": [gpu.model for gpu in hardware.gpus] or None,
            "cpu": f"{hardware.cpu.model}, microcode {hardware.cpu.microcode}",
            "memory": f"{hardware.memory.channels} channels, {hardware.memory.speed_mts} MT/s",
            "bios": hardware.bios.version,
            "numa": None,
        },
        "Software": {
            **_declared(envelope.software_provenance),
            "pipeline_version": extension.pipeline_version if extension else None,
        },
        "Data": {
            **_declared(envelope.dataset),
            "seed": envelope.seed,
            "workload_hash": extension.workload_hash if extension else None,
            **envelope.distributions,
        },
        "Warnings": {f"{at}": text for at, text in enumerate(envelope.warnings, start=1)},
    }
    return {
        title: {_text(name): _text(value) for name, value in values.items() if value not in _BLANK}
        for title, values in sections.items()
        if any(value not in _BLANK for value in values.values())
    }


def _declared(part: BaseModel) -> dict[str, Any]:
    return {name: getattr(part, name) for name in type(part).model_fields}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """Return ``value`` as text that UTF-8 can hold; an extra field may hold half a surrogate."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return text.encode("utf-8", "backslashreplace").decode()
