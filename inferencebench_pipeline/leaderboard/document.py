"""The shape of ``leaderboard.json``, which the page and anyone else may read."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from inferencebench_pipeline.measure.traces import ValidityFlag
from inferencebench_pipeline.trust.verdict import Verdict

FORMAT: Final = "inferencebench-pipeline-leaderboard/1"
"""Changes whenever a field changes its meaning or goes away; added fields do not change it."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class MetricCell(_Part):
    """One metric of one run. ``text`` holds what a foreign envelope states in words."""

    key: str
    value: float | None
    text: str | None
    unit: str | None
    n: int | None
    null_reason: str | None


class Column(_Part):
    """A metric that a group's table shows, and what it means where a definition is stated."""

    key: str
    label: str
    unit: str | None
    definition: str | None
    better: Literal["lower", "higher"] | None


class RunRow(_Part):
    """One published repository: what it claims, where it lies, what verification found."""

    row_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """Names the run's page; derived from the repository, safe as a file name."""
    repo_id: str
    organisation: str
    revision: str
    dataset_url: str
    verify_command: str
    """What a reader pastes into a shell to verify this very commit."""
    created_at: str
    state: str
    """``verified`` ranks. Everything else is shown and does not: ``duplicate``, ``invalid``,
    ``traces_missing``, ``disputed``, ``rejected``, ``unverified``, ``malformed``,
    ``no_envelope``, ``unreadable``, ``vanished``, ``moved``."""
    state_reason: str | None
    tier: Literal["verified", "dev"] | None
    """``verified``: keyless, in a transparency log; ``dev``: a bare key that the policy names."""
    group_id: str | None
    run_id: str | None
    envelope_sha256: str | None
    traces_sha256: str | None
    content_hash: str | None
    timestamp: str | None
    suite_id: str | None
    suite_version: str | None
    model_id: str | None
    model_revision: str | None
    model_provider: str | None
    quantization: str | None
    engine_name: str | None
    engine_version: str | None
    hardware_class: str | None
    hardware: str | None
    fingerprint_sha256: str | None
    dataset_id: str | None
    load_point: str | None
    slo: str | None
    workload: str | None
    metric_definitions: str | None
    metrics: tuple[MetricCell, ...]
    validity: tuple[ValidityFlag, ...]
    provenance: dict[str, dict[str, str]]
    """Sections of names and values, as the envelope states them."""
    verdict: Verdict | None


class Group(_Part):
    """Runs that answer the same question."""

    group_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    suite_id: str
    suite_version: str
    dataset_id: str
    workload: str
    slo: str | None
    metric_definitions: str
    columns: tuple[Column, ...]
    ranked_by: str | None
    """Key of the metric the rows are ordered by; None when no better direction is known."""
    rows: tuple[str, ...]
    """``row_id`` of each ranked run."""


class Change(_Part):
    """A metric of a repeated benchmark that moved to another level and stayed there."""

    group_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    key: str
    label: str
    unit: str | None
    verdict: Literal["better", "worse"]
    model_id: str | None
    engine_name: str | None
    hardware: str | None
    load_point: str | None
    since_row_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """The first run of the new level."""
    since: str | None
    engine_version_before: str | None
    engine_version_after: str | None
    model_revision_before: str | None
    model_revision_after: str | None
    before: float
    """Median of the old level's runs."""
    after: float
    relative: float | None
    """``(after - before) / |before|``; null where the old level is zero."""
    relative_low: float | None
    relative_high: float | None
    """95 % bootstrap interval of ``relative``."""
    n_before: int
    """Runs of the old level within the window."""
    n_after: int
    q_value: float
    """p-value of the change, adjusted for all histories and metrics that were tested."""


class Leaderboard(_Part):
    """The whole index. It holds no clock reading: the same corpus gives the same bytes."""

    format: Literal["inferencebench-pipeline-leaderboard/1"] = FORMAT
    states: dict[str, int]
    """How many runs are in each state."""
    groups: tuple[Group, ...]
    changes: tuple[Change, ...] = ()
    """Where a repeated benchmark became better or worse, most certain first."""
    runs: tuple[RunRow, ...]
    """Every published repository, ranked or not, ordered by ``repo_id``."""
