"""Facts of many envelopes by the column, most of them read without building an envelope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from inferencebench_pipeline.envelope import EnvelopeError, parse_envelope
from inferencebench_pipeline.leaderboard.column_ranges import (
    UnfitError,
    fitted_facts,
    fitted_metrics,
)
from inferencebench_pipeline.leaderboard.envelope_source import (
    FOREIGN_DEFINITIONS,
    EnvelopeSource,
)
from inferencebench_pipeline.leaderboard.facts import (
    METRIC_FIELDS,
    MetricFact,
    column_values,
    metric_values,
)
from inferencebench_pipeline.leaderboard.index.parquet.fast_facts import read_fast
from inferencebench_pipeline.leaderboard.run_columns import FACTS_SCHEMA
from inferencebench_pipeline.measure import DEFINITIONS

# The future import leaves the annotations of a dataclass as texts.
_TYPES: dict[object, pa.DataType] = {
    "str": pa.string(),
    "str | None": pa.string(),
    "int": pa.int32(),
    "int | None": pa.int64(),
    "float | None": pa.float64(),
}
METRICS_SCHEMA: Final = pa.schema(
    [
        pa.field("repo_id", pa.string()),
        *(pa.field(item.name, _TYPES[item.type]) for item in fields(MetricFact)),
    ]
)
UNFIT_SCHEMA: Final = pa.schema([("repo_id", pa.string()), ("unfit", pa.string())])
FOREIGN_CELLS: Final = 24
"""Numbers of an envelope without definitions that a row of the index holds itself."""
SHOWN_METRICS: Final = frozenset(key for key, item in DEFINITIONS.items() if "row" in item.shown_on)
"""Keys of the metrics that a row holds itself: those of tables, fronts and histories."""
HEADLINE_FIELDS: Final = ("key", "value", "text", "unit", "n", "low", "high", "null_reason")


@dataclass
class FactColumns:
    """The facts of the envelopes of repositories, a list for each column."""

    facts: dict[str, list[Any]] = field(
        default_factory=lambda: {name: [] for name in FACTS_SCHEMA.names}
    )
    metrics: dict[str, list[Any]] = field(
        default_factory=lambda: {item.name: [] for item in fields(MetricFact)}
    )
    counts: list[int] = field(default_factory=list)
    """Number of metrics of each envelope."""
    unfit: dict[str, str] = field(default_factory=dict)
    """Repositories whose envelope states what no column holds, and what that is."""

    def add(self, repo_id: str, data: bytes, sha256: str, content_hash: str | None) -> None:
        """Take the facts of a repository's envelope; of bytes that are none, nothing.

        Whatever is in it, the other repositories' columns stay whole.

        Args:
            repo_id: where it is published.
            data: the bytes of ``envelope.json``.
            sha256: of those bytes.
            content_hash: as the crawl computed it from them; None when they are malformed.
        """
        try:
            taken = (content_hash and read_fast(data, sha256, content_hash)) or _parsed(
                data, sha256
            )
            if taken is None:
                return
            # Both are fitted before anything is appended, so that no column is longer than another.
            facts, metrics = fitted_facts(taken[0]), fitted_metrics(METRIC_FIELDS, taken[1])
        except UnfitError as error:
            self.unfit[repo_id] = str(error)
            return
        facts["repo_id"] = repo_id
        for name, column in self.facts.items():
            column.append(facts[name])
        for column, values in zip(self.metrics.values(), zip(*metrics, strict=True), strict=True):
            column.extend(values)
        self.counts.append(len(metrics))

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """Return the facts, one row per repository, and the metrics, one row per metric."""
        facts = pa.Table.from_pydict(self.facts, schema=FACTS_SCHEMA)
        return facts, metrics_table(self.facts["repo_id"], self.counts, self.metrics)

    def unfit_table(self) -> pa.Table:
        """Return the repositories whose envelope does not fit, with the reason."""
        return pa.Table.from_pydict(
            {"repo_id": list(self.unfit), "unfit": list(self.unfit.values())}, schema=UNFIT_SCHEMA
        )


def metrics_table(
    repo_ids: Sequence[str], counts: Sequence[int], columns: Mapping[str, Sequence[Any]]
) -> pa.Table:
    """Return metrics in their long form, each with the repository that it is of.

    Args:
        repo_ids: the repositories, in the order of the metrics.
        counts: how many of the metrics are of each.
        columns: the metrics' columns, all repositories after one another.
    """
    of = np.repeat(np.arange(len(counts)), np.asarray(counts, dtype=np.int64))
    content: dict[str, Any] = {"repo_id": pa.array(repo_ids, pa.string()).take(of), **columns}
    return pa.Table.from_pydict(content, schema=METRICS_SCHEMA)


def headlines(metrics: pa.Table) -> pa.Table:
    """Return, by ``repo_id``, the list of the metrics that a row of the index holds itself.

    Args:
        metrics: in the long form, those of a repository after one another.
    """
    foreign = _numpy(pc.is_in(metrics["definitions"], pa.array([FOREIGN_DEFINITIONS])))
    known = _numpy(pc.is_in(metrics["key"], pa.array(sorted(SHOWN_METRICS))))
    first = (_numpy(metrics["position"]) < FOREIGN_CELLS) & _numpy(pc.is_null(metrics["text"]))
    kept = metrics.filter(pa.array(np.where(foreign, first, known), pa.bool_())).combine_chunks()
    repo_ids = _numpy(kept["repo_id"])
    # Cut to the length, because an empty table has no first row.
    starts = np.flatnonzero(np.r_[True, repo_ids[1:] != repo_ids[:-1]][: len(kept)])
    columns: list[Any] = [
        # The empty array gives the type where a column has no chunks.
        pa.concat_arrays([pa.array([], kept.schema.field(name).type), *kept[name].chunks])
        for name in HEADLINE_FIELDS
    ]
    offsets = pa.array([*starts.tolist(), len(kept)], pa.int32())
    return pa.table(
        {
            "repo_id": pa.array(repo_ids[starts].tolist(), pa.string()),
            "headline": pa.ListArray.from_arrays(
                offsets, pa.StructArray.from_arrays(columns, list(HEADLINE_FIELDS))
            ),
        }
    )


def _numpy(column: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401 - the stubs of compute are wrong
    found: np.ndarray[Any, Any] = column.to_numpy(zero_copy_only=False)
    return found


def _parsed(data: bytes, sha256: str) -> tuple[dict[str, Any], list[tuple[Any, ...]]] | None:
    try:
        envelope = parse_envelope(data)
    except EnvelopeError:
        return None
    source = EnvelopeSource.of(envelope, sha256)
    return column_values(source), list(metric_values(source))
