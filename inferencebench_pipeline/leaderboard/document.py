"""The models of ``leaderboard.json``, of a row of the index, and of a run's page."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from inferencebench_pipeline.documents import DescribedAs, DocumentPart
from inferencebench_pipeline.leaderboard.facts import MetricKey, MetricLabel, MetricUnit
from inferencebench_pipeline.leaderboard.run_columns import RowId, Shown, StatedRow
from inferencebench_pipeline.measure import ValidityFlag
from inferencebench_pipeline.trust import Verdict

FORMAT: Final = "inferencebench-pipeline-leaderboard/3"
"""Changes whenever a field changes its meaning or goes away; added fields do not change it."""


class MetricCell(DocumentPart):
    """One metric of one run. What an envelope does not state is null, and left out of the JSON."""

    key: MetricKey
    value: float | None = None
    """The number, in ``unit``; null where the envelope states none or one that is not finite."""
    text: str | None = None
    """The words that a foreign envelope states instead of a number."""
    unit: MetricUnit = None
    n: int | None = None
    """Samples that the value rests on."""
    low: float | None = None
    """Lower end of the envelope's 95 % interval."""
    high: float | None = None
    """Upper end of the envelope's 95 % interval."""
    null_reason: str | None = None
    """The reason why there is no number."""
    definitions: str | None = None
    """Version of the metric definitions; null in a row, which states it for all its metrics."""


class Column(DocumentPart):
    """A metric that a group's table shows, and what it means where a definition is stated."""

    key: str
    """The metric's key, or that of what is computed from metrics for a plot."""
    label: MetricLabel
    unit: MetricUnit = None
    definition: str | None = None
    """The meaning of the metric in a sentence; null where nobody states it."""
    better: Literal["lower", "higher"] | None = None
    """The direction that is better; null where nobody knows it."""


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
    """The id of the dataset repository on the Hub."""
    revision: str
    """The commit of the repository that the row is about, in hex."""
    dataset_url: str
    """The address of the repository at that commit."""
    created_at: str
    """The instant at which the Hub made the repository, ISO 8601."""
    tier: Annotated[Tier | None, Shown("tier", "Tier")] = None
    """Null while nobody has verified it."""
    state: Annotated[str, Shown("state", "State")]
    """``verified`` ranks. Everything else is shown and does not: ``duplicate``, ``invalid``,
    ``traces_missing``, ``disputed``, ``rejected``, ``newer``, ``unverified``, ``malformed``,
    ``no_envelope``, ``unreadable``, ``vanished``, ``moved``."""
    state_reason: Annotated[str | None, Shown("reason")] = None
    """The reason for a state other than ``verified``, in a sentence."""
    traces_sha256: str | None = None
    """SHA-256 of ``traces.parquet`` in the repository, in hex; null where it is not there."""
    verdict_sha256: str | None = None
    """Digest of the stored verdict: a run's page shows the same as long as its row is the same."""
    signer_identity: str | None = None
    """The signer: the subject of the certificate, or the fingerprint of the pinned key; null
    when no signature verifies."""
    log_index: int | None = None
    """The index of the signature's entry in the transparency log; null where it is in none."""


class RunRow(StatedRow, PublishedRow):
    """One published run: the repository it is in, what its envelope states, and its metrics."""

    organisation: Annotated[str, Shown("organisation", "Organisation")]
    """The namespace on the Hub that the repository is in."""
    metrics: tuple[MetricCell, ...] = ()
    """Those that tables, fronts and histories use; :class:`RunDetails` has all."""


class RunDetails(DocumentPart):
    """Everything that a run's page shows."""

    run: RunRow
    """The row of the run."""
    metrics: tuple[MetricCell, ...]
    """Every metric, in the envelope's order."""
    validity: tuple[ValidityFlag, ...] = ()
    """The validity checks of the measurement, as the envelope states them."""
    provenance: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Sections of names and values, as the envelope states them."""
    verdict: Verdict | None = None
    """The stored verdict on the record; null while nobody has verified it."""


def six_digits(value: float) -> float:
    """Return six significant digits: more than a plot shows, and a third of the bytes."""
    return float(f"{value:.6g}")


class FrontPoint(DocumentPart):
    """One run in a front's plot, with its 95 % intervals where they are known."""

    row_id: RowId
    """The ``row_id`` of the run."""
    x: float
    """The value on the horizontal axis, in the unit of ``Front.x``."""
    y: float
    """The value on the vertical axis, in the unit of ``Front.y``."""
    x_low: float | None = None
    """Lower end of the 95 % interval of ``x``; null where it is not known."""
    x_high: float | None = None
    """Upper end of the 95 % interval of ``x``; null where it is not known."""
    y_low: float | None = None
    """Lower end of the 95 % interval of ``y``; null where it is not known."""
    y_high: float | None = None
    """Upper end of the 95 % interval of ``y``; null where it is not known."""
    on_front: bool = False
    """True when, by the values, no other run is as good on both axes and better on one."""
    dominated_for_sure: bool = False
    """Another run is better whatever the true values within all intervals; never without them."""


class Front(DocumentPart):
    """A Pareto front: what can be had of one metric for what is given of another."""

    name: str
    """The name of the plot, such as ``cost_interactivity``."""
    title: str
    """The title of the plot."""
    x: Column
    """The metric of the horizontal axis."""
    y: Column
    """The metric of the vertical axis."""
    points: tuple[FrontPoint, ...]
    """The runs that have both metrics."""
    note: str | None = None
    """The note that must be read with it, such as the source and the day of prices."""


class Group(DocumentPart):
    """Runs that answer the same question."""

    group_id: Annotated[RowId, DescribedAs(StatedRow, "group_id")]
    suite_id: Annotated[str, DescribedAs(StatedRow, "suite_id")]
    suite_version: Annotated[str, DescribedAs(StatedRow, "suite_version")]
    dataset_id: Annotated[str, DescribedAs(StatedRow, "dataset_id")]
    workload: Annotated[str, DescribedAs(StatedRow, "workload")]
    slo: Annotated[str | None, DescribedAs(StatedRow, "slo")] = None
    metric_definitions: str
    """The newest version that one of its runs names, which says what the columns mean. A number
    that means another thing in an earlier version takes no part."""
    columns: tuple[Column, ...]
    """The metrics that the table of the group shows, in their order."""
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
    """The Pareto fronts of the group's runs."""


class Change(DocumentPart):
    """A metric of a repeated benchmark that moved to another level and stayed there."""

    group_id: Annotated[RowId, DescribedAs(StatedRow, "group_id")]
    key: MetricKey
    label: MetricLabel
    unit: MetricUnit = None
    verdict: Literal["better", "worse"]
    """The direction of the change, by the direction that the metric's definition calls better."""
    model_id: Annotated[str | None, DescribedAs(StatedRow, "model_id")] = None
    engine_name: Annotated[str | None, DescribedAs(StatedRow, "engine_name")] = None
    hardware: Annotated[str | None, DescribedAs(StatedRow, "hardware")] = None
    load_point: Annotated[str | None, DescribedAs(StatedRow, "load_point")] = None
    since_row_id: RowId
    """The first run of the new level."""
    since: str | None = None
    """The instant of that run's measurement, ISO 8601."""
    engine_version_before: str | None = None
    """The engine's version in the last run of the old level."""
    engine_version_after: str | None = None
    """The engine's version in the first run of the new level."""
    model_revision_before: str | None = None
    """The model's revision in the last run of the old level."""
    model_revision_after: str | None = None
    """The model's revision in the first run of the new level."""
    before: float
    """Median of the old level's runs."""
    after: float
    """Median of the new level's runs."""
    relative: float | None = None
    """``(after - before) / |before|``; null where the old level is zero."""
    relative_low: float | None = None
    """Lower end of the 95 % bootstrap interval of ``relative``."""
    relative_high: float | None = None
    """Upper end of the 95 % bootstrap interval of ``relative``."""
    n_before: int
    """Runs of the old level within the window."""
    n_after: int
    """Runs of the new level within the window."""
    q_value: float
    """p-value of the change, adjusted for all histories and metrics that were tested."""


class VarianceLevel(DocumentPart):
    """The runs of one provider, engine, engine version or quantisation."""

    name: str
    """The provider, engine, engine version or quantisation."""
    row_ids: tuple[RowId, ...] = ()
    """The ``row_id`` of each of its runs."""
    urls: tuple[str, ...] = ()
    """Addresses of results of the community that have no row here."""

    @property
    def n(self) -> int:
        """Return how many runs there are."""
        return len(self.row_ids) + len(self.urls)


class MetricSpread(DocumentPart):
    """The spread of one metric between levels; each list has a place for each of them."""

    key: str
    """The metric's key; of quality, the dataset and the task with a slash between them."""
    label: MetricLabel
    unit: MetricUnit = None
    medians: tuple[float, ...]
    """The median of each level; of several kinds of hardware, as if on ``Variance.alike``."""
    lows: tuple[float | None, ...]
    """Lower end of each median's 95 % interval; null with fewer than six runs."""
    highs: tuple[float | None, ...]
    """Upper end of each median's 95 % interval; null with fewer than six runs."""
    spread: float | None = None
    """``(largest median - smallest) / smallest``; null where that is zero."""
    p_value: float | None = None
    """Null with too few runs to say."""


class Variance(DocumentPart):
    """The spread of one model revision on one workload, with the tests of its metrics."""

    group_id: RowId
    """The comparison group; of quality, a name for the task that has no group."""
    kind: Literal["speed", "quality"] = "speed"
    """``speed`` of ranked runs, or ``quality`` as the community reports it."""
    model_id: str
    """The id of the model that every run is of."""
    model_revision: str | None = None
    """Null for quality: a result stands in the model's repository, at no revision of it."""
    alike: tuple[str, ...] = ()
    """The values that the runs share beside model and workload, such as the commonest hardware."""
    strata: int = 1
    """Number of kinds of runs, alike in all else, that were compared each within itself."""
    across: Literal["provider", "engine", "engine_version", "quantization"]
    """The property in which the levels differ."""
    levels: tuple[VarianceLevel, ...]
    """The levels that were compared."""
    metrics: tuple[MetricSpread, ...]
    """The spread of each metric that was tested."""
    q_values: tuple[float | None, ...] = ()
    """The ``p_value`` of each of ``metrics``, adjusted for all spreads that were tested."""
    more_than_noise: tuple[bool | None, ...] = ()
    """The answer for each of ``metrics``; null where there are too few runs to say."""


class FindingRow(DocumentPart):
    """Something wrong, or worth knowing, about a published repository."""

    repo_id: str
    """The id of the dataset repository on the Hub."""
    row_id: RowId | None = None
    """Null when the repository is not in the index."""
    kind: str
    """The kind of the finding."""
    severity: Literal["error", "warn", "info"]
    """The severity of the finding; an ``error`` takes the record out of the ranking."""
    revision: str | None = None
    """The commit that the finding is about, in hex; null where it is about none."""
    detail: str
    """The finding in one sentence."""
    seen_at: str
    """The instant at which it was first noticed, ISO 8601."""


class EvaluationRow(DocumentPart):
    """A quality result in a pull request of a model: merged, or proposed and open."""

    tier: Tier | None = None
    """Null where it was withdrawn by whoever proposed it, or can no longer be seen."""
    state: str
    """The state of the result: ``open``, ``merged``, ``withheld``, ``withdrawn`` or ``gone``."""
    model_id: str
    """The id of the model on the Hub."""
    dataset_id: str
    """The id of the benchmark's dataset on the Hub."""
    task_id: str
    """The task of the benchmark."""
    value: float
    """The value of the result, in the unit of the task."""
    url: str
    """The address of the pull request."""
    proposed_by: str | None = None
    """The account that opened the pull request; null until it was looked up."""
    ours: bool
    """True when we proposed the result."""
    first_seen_at: str
    """The instant at which the result was first seen, ISO 8601."""


class WithheldRow(EvaluationRow):
    """A quality result that was made to disappear, and where anybody can see that it was."""

    withheld_at: str
    """The instant at which it was made to disappear for the last time, ISO 8601."""
    withheld_by: str | None = None
    """The account that did it; null where the Hub does not say."""
    withheld_url: str
    """The address at which anybody can see it."""


class TakedownRow(DocumentPart):
    """A model, or an organisation, whose cards we link nothing from, because we were asked to."""

    target: str
    """A model id, or an organisation: then every model of it."""
    reason: str
    """The reason for the request, which is shown publicly."""
    requested_by: str
    """The name that the person wants to be shown publicly."""
    requested_at: str
    """The instant of the request, ISO 8601."""
    carried_out_at: str | None = None
    """The instant at which the last of our links was gone; null while one is left."""
    outcome: tuple[str, ...]
    """One sentence for each model that was looked at."""


class Summary(DocumentPart):
    """The content of ``leaderboard.json``: everything but the rows, which are in the tables.

    It holds no clock reading: the same corpus gives the same bytes.
    """

    format: Literal["inferencebench-pipeline-leaderboard/3"] = FORMAT
    """The name and the version of this form of document."""
    states: dict[str, int]
    """Number of runs in each state."""
    groups: tuple[Group, ...]
    """The comparison groups; those that say what their metrics mean come first."""
    changes: tuple[Change, ...] = ()
    """The metrics of repeated benchmarks that became better or worse, most certain first."""
    variances: tuple[Variance, ...] = ()
    """The spreads of models that were run on several providers, engines or quantisations."""
    findings: tuple[FindingRow, ...] = ()
    """Errors and warnings; the table of findings has the others too."""
    evaluations: tuple[EvaluationRow, ...] = ()
    """Quality results of the community that are not withheld."""
    withheld: tuple[WithheldRow, ...] = ()
    """Quality results that were made to disappear."""
    takedowns: tuple[TakedownRow, ...] = ()
    """The requests to link nothing from a model's card."""


class Leaderboard(Summary):
    """The whole index: the summary, and the rows from the table of runs."""

    runs: tuple[RunRow, ...]
    """Every published repository, ranked or not, ordered by ``repo_id``."""
