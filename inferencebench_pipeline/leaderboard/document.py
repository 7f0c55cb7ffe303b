"""The models of ``leaderboard.json``, of a row of the index, and of a run's page."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.leaderboard.run_columns import RowId, Shown, StatedRow
from inferencebench_pipeline.measure import ValidityFlag
from inferencebench_pipeline.trust import Verdict

FORMAT: Final = "inferencebench-pipeline-leaderboard/3"
"""Changes whenever a field changes its meaning or goes away; added fields do not change it."""


class MetricCell(DocumentPart):
    """One metric of one run. What an envelope does not state is null, and left out of the JSON."""

    key: str
    value: float | None = None
    text: str | None = None
    """The words that a foreign envelope states instead of a number."""
    unit: str | None = None
    n: int | None = None
    """Samples that the value rests on."""
    low: float | None = None
    """Lower end of the envelope's 95 % interval."""
    high: float | None = None
    null_reason: str | None = None
    definitions: str | None = None
    """Version of the metric definitions; null in a row, which states it for all its metrics."""


class Column(DocumentPart):
    """A metric that a group's table shows, and what it means where a definition is stated."""

    key: str
    label: str
    unit: str | None = None
    definition: str | None = None
    better: Literal["lower", "higher"] | None = None


Tier = Literal["verified", "merged", "community", "dev", "withheld", "failed"]
"""The trust that a result deserves.

``verified``: a keyless signature by an identity that the policy names, in a transparency log, and
every check passed; ``dev``: the same with a bare key that the policy names; ``community``: passed,
but published outside our namespace, or proposed and not yet accepted; ``merged``: accepted by the
model's author; ``withheld``: taken away by them; ``failed``: verification rejected it, or there is
nothing that can be verified.
"""


class PublishedRow(DocumentPart):
    """A published repository: where it lies, and what verification found."""

    row_id: RowId
    """Names the run's page; derived from the repository, safe as a file name."""
    repo_id: str
    revision: str
    dataset_url: str
    created_at: str
    tier: Annotated[Tier | None, Shown("tier", "Tier")] = None
    """Null while nobody has verified it."""
    state: Annotated[str, Shown("state", "State")]
    """``verified`` ranks. Everything else is shown and does not: ``duplicate``, ``invalid``,
    ``traces_missing``, ``disputed``, ``rejected``, ``newer``, ``unverified``, ``malformed``,
    ``no_envelope``, ``unreadable``, ``vanished``, ``moved``."""
    state_reason: Annotated[str | None, Shown("reason")] = None
    traces_sha256: str | None = None
    verdict_sha256: str | None = None
    """Digest of the stored verdict: a run's page shows the same as long as its row is the same."""
    signer_identity: str | None = None
    log_index: int | None = None


class RunRow(StatedRow, PublishedRow):
    """One published run: the repository it is in, what its envelope states, and its metrics."""

    organisation: Annotated[str, Shown("organisation", "Organisation")]
    metrics: tuple[MetricCell, ...] = ()
    """Those that tables, fronts and histories use; :class:`RunDetails` has all."""


class RunDetails(DocumentPart):
    """Everything that a run's page shows."""

    run: RunRow
    metrics: tuple[MetricCell, ...]
    """Every metric, in the envelope's order."""
    validity: tuple[ValidityFlag, ...] = ()
    provenance: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Sections of names and values, as the envelope states them."""
    verdict: Verdict | None = None


def six_digits(value: float) -> float:
    """Return six significant digits: more than a plot shows, and a third of the bytes."""
    return float(f"{value:.6g}")


class FrontPoint(DocumentPart):
    """One run in a front's plot, with its 95 % intervals where they are known."""

    row_id: RowId
    x: float
    y: float
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None
    on_front: bool = False
    """True when, by the values, no other run is as good on both axes and better on one."""
    dominated_for_sure: bool = False
    """Another run is better whatever the true values within all intervals; never without them."""


class Front(DocumentPart):
    """A Pareto front: what can be had of one metric for what is given of another."""

    name: str
    title: str
    x: Column
    y: Column
    points: tuple[FrontPoint, ...]
    note: str | None = None
    """The note that must be read with it, such as the source and the day of prices."""


class Group(DocumentPart):
    """Runs that answer the same question."""

    group_id: RowId
    suite_id: str
    suite_version: str
    dataset_id: str
    workload: str
    slo: str | None = None
    metric_definitions: str
    """The newest version that one of its runs names, which says what the columns mean. A number
    that means another thing in an earlier version takes no part."""
    columns: tuple[Column, ...]
    ranked_by: str | None = None
    """Key of the metric the rows are ordered by; None when no better direction is known."""
    rows: tuple[RowId, ...]
    """``row_id`` of each ranked run."""
    ranks: tuple[int | None, ...] = ()
    """The rank of each of ``rows``: one more than the number of runs that are better for sure,
    which is when their 95 % intervals do not overlap. Equal ranks are ties. Null without an
    interval: such a run stands where its value puts it, but nobody can say that it is better than
    another."""
    fronts: tuple[Front, ...] = ()


class Change(DocumentPart):
    """A metric of a repeated benchmark that moved to another level and stayed there."""

    group_id: RowId
    key: str
    label: str
    unit: str | None = None
    verdict: Literal["better", "worse"]
    model_id: str | None = None
    engine_name: str | None = None
    hardware: str | None = None
    load_point: str | None = None
    since_row_id: RowId
    """The first run of the new level."""
    since: str | None = None
    engine_version_before: str | None = None
    engine_version_after: str | None = None
    model_revision_before: str | None = None
    model_revision_after: str | None = None
    before: float
    """Median of the old level's runs."""
    after: float
    relative: float | None = None
    """``(after - before) / |before|``; null where the old level is zero."""
    relative_low: float | None = None
    relative_high: float | None = None
    """95 % bootstrap interval of ``relative``."""
    n_before: int
    """Runs of the old level within the window."""
    n_after: int
    q_value: float
    """p-value of the change, adjusted for all histories and metrics that were tested."""


class VarianceLevel(DocumentPart):
    """The runs of one provider, engine, engine version or quantisation."""

    name: str
    row_ids: tuple[RowId, ...] = ()
    urls: tuple[str, ...] = ()
    """Addresses of results of the community that have no row here."""

    @property
    def n(self) -> int:
        """Return how many runs there are."""
        return len(self.row_ids) + len(self.urls)


class MetricSpread(DocumentPart):
    """The spread of one metric between levels; each list has a place for each of them."""

    key: str
    label: str
    unit: str | None = None
    medians: tuple[float, ...]
    """The median of each level; of several kinds of hardware, as if on ``Variance.alike``."""
    lows: tuple[float | None, ...]
    highs: tuple[float | None, ...]
    """95 % interval of the median; null with fewer than six runs."""
    spread: float | None = None
    """``(largest median - smallest) / smallest``; null where that is zero."""
    p_value: float | None = None
    """Null with too few runs to say."""


class Variance(DocumentPart):
    """The spread of one model revision on one workload, with the tests of its metrics."""

    group_id: RowId
    """The comparison group; of quality, a name for the task that has no group."""
    kind: Literal["speed", "quality"] = "speed"
    model_id: str
    model_revision: str | None = None
    """Null for quality: a result stands in the model's repository, at no revision of it."""
    alike: tuple[str, ...] = ()
    """The values that the runs share beside model and workload, such as the commonest hardware."""
    strata: int = 1
    """Number of kinds of runs, alike in all else, that were compared each within itself."""
    across: Literal["provider", "engine", "engine_version", "quantization"]
    levels: tuple[VarianceLevel, ...]
    metrics: tuple[MetricSpread, ...]
    q_values: tuple[float | None, ...] = ()
    """The ``p_value`` of each of ``metrics``, adjusted for all spreads that were tested."""
    more_than_noise: tuple[bool | None, ...] = ()
    """The answer for each of ``metrics``; null where there are too few runs to say."""


class FindingRow(DocumentPart):
    """Something wrong, or worth knowing, about a published repository."""

    repo_id: str
    row_id: RowId | None = None
    """Null when the repository is not in the index."""
    kind: str
    severity: Literal["error", "warn", "info"]
    revision: str | None = None
    detail: str
    seen_at: str


class EvaluationRow(DocumentPart):
    """A quality result in a pull request of a model: merged, or proposed and open."""

    tier: Tier | None = None
    """Null where it was withdrawn by whoever proposed it, or can no longer be seen."""
    state: str
    model_id: str
    dataset_id: str
    task_id: str
    value: float
    url: str
    """The address of the pull request."""
    proposed_by: str | None = None
    ours: bool
    first_seen_at: str


class WithheldRow(EvaluationRow):
    """A quality result that was made to disappear, and where anybody can see that it was."""

    withheld_at: str
    withheld_by: str | None = None
    withheld_url: str


class TakedownRow(DocumentPart):
    """A model, or an organisation, whose cards we link nothing from, because we were asked to."""

    target: str
    reason: str
    requested_by: str
    requested_at: str
    carried_out_at: str | None = None
    outcome: tuple[str, ...]


class Summary(DocumentPart):
    """The content of ``leaderboard.json``: everything but the rows, which are in the tables.

    It holds no clock reading: the same corpus gives the same bytes.
    """

    format: Literal["inferencebench-pipeline-leaderboard/3"] = FORMAT
    states: dict[str, int]
    """Number of runs in each state."""
    groups: tuple[Group, ...]
    changes: tuple[Change, ...] = ()
    """The metrics of repeated benchmarks that became better or worse, most certain first."""
    variances: tuple[Variance, ...] = ()
    findings: tuple[FindingRow, ...] = ()
    """Errors and warnings; the table of findings has the others too."""
    evaluations: tuple[EvaluationRow, ...] = ()
    """Quality results of the community that are not withheld."""
    withheld: tuple[WithheldRow, ...] = ()
    takedowns: tuple[TakedownRow, ...] = ()


class Leaderboard(Summary):
    """The whole index: the summary, and the rows from the table of runs."""

    runs: tuple[RunRow, ...]
    """Every published repository, ranked or not, ordered by ``repo_id``."""
