"""The content of a run's page, read on demand from its envelope and the stored verdict."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from inferencebench_pipeline.corpus import (
    BlobError,
    BlobStore,
    DayVerdicts,
    RepoVerdict,
)
from inferencebench_pipeline.envelope import (
    Envelope,
    EnvelopeError,
    PipelineExtension,
    parse_envelope,
    pipeline_extension,
)
from inferencebench_pipeline.leaderboard.column_ranges import UnfitError, line
from inferencebench_pipeline.leaderboard.document import MetricCell, RunDetails, RunRow
from inferencebench_pipeline.leaderboard.facts import METRIC_FIELDS, stated_facts
from inferencebench_pipeline.leaderboard.index.build import load_rows
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.measure import ValidityFlag
from inferencebench_pipeline.untrusted import printable

_MOST_FLAGS = 200
_MOST_CHARACTERS = 10_000
"""Longest text of one value on a run's page."""
_BLANK: tuple[object, ...] = (None, "", [])


def run_details(store: LeaderboardStore, repo_ids: Collection[str]) -> Iterator[RunDetails]:
    """Yield what the pages of these repositories show, day by day; unknown ones are left out.

    Raises:
        LeaderboardError, InventoryError, VerdictsError: what is stored cannot be read.
    """
    rows = {row.repo_id: row for row in load_rows(store, repo_ids)}
    blobs = store.corpus.blobs()
    for day, names in _days(rows.values()).items():
        verdicts = {item.repo_id: item for item in DayVerdicts.load(store.corpus, day).entries}
        for repo_id in names:
            yield _details(rows[repo_id], verdicts.get(repo_id), blobs)


def _days(rows: Iterable[RunRow]) -> dict[str, list[str]]:
    """Return the repositories by the day they were created on, both in order."""
    days: dict[str, list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.created_at, row.repo_id)):
        days[row.created_at[:10]].append(row.repo_id)
    return days


def _details(row: RunRow, found: RepoVerdict | None, blobs: BlobStore) -> RunDetails:
    envelope = _envelope(row, blobs)
    extension = _extension(envelope)
    # The verdict may be newer or older than the row, and then about other bytes.
    judged = found is not None and _subject(found) == _subject(row)
    return RunDetails(
        run=row,
        metrics=tuple(_cells(envelope)) if envelope else (),
        validity=tuple(_flags(extension)) if extension else (),
        provenance=_provenance(envelope, extension) if envelope else {},
        verdict=found.verdict if found and judged else None,
    )


def _envelope(row: RunRow, blobs: BlobStore) -> Envelope | None:
    """Return the row's envelope, or None when there is none that can be read."""
    if row.envelope_sha256 is None:
        return None
    try:
        return parse_envelope(blobs.get(row.envelope_sha256))
    except (BlobError, EnvelopeError):
        return None


def _extension(envelope: Envelope | None) -> PipelineExtension | None:
    try:
        return pipeline_extension(envelope) if envelope else None
    except EnvelopeError:
        return None


def _cells(envelope: Envelope) -> Iterable[MetricCell]:
    try:
        _, metrics = stated_facts(envelope, "")
    except UnfitError:
        return
    for metric in metrics:
        cell = dict(zip(METRIC_FIELDS, metric, strict=True))
        yield MetricCell(**{name: cell[name] for name in MetricCell.model_fields})


def _flags(extension: PipelineExtension) -> Iterator[ValidityFlag]:
    for flag in extension.validity[:_MOST_FLAGS]:
        yield flag.model_copy(update={"name": line(flag.name), "detail": line(flag.detail)})


def _subject(item: RunRow | RepoVerdict) -> tuple[str, str, str | None, str | None]:
    return (item.repo_id, item.organisation, item.envelope_sha256, item.traces_sha256)


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
    """Return ``value`` as text that a page can show; an extra field may hold anything."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return printable(text, _MOST_CHARACTERS)
