"""The index as tables: DuckDB joins inventory, verdicts and envelope facts into two files.

``runs.parquet`` has one row per published repository, ``metrics.parquet`` one per metric of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from inferencebench_pipeline.corpus.inventory import Inventory
from inferencebench_pipeline.corpus.verdicts import RepoVerdict
from inferencebench_pipeline.leaderboard.facts import EnvelopeFacts, MetricFact
from inferencebench_pipeline.runs import replaced_atomically

_VERDICT_TYPES: dict[str, pa.DataType] = {"ok": pa.bool_(), "log_index": pa.int64()}
_VERDICTS = pa.schema(
    [
        pa.field(name, _VERDICT_TYPES.get(name, pa.string()))
        for name in (
            "repo_id",
            "organisation",
            "envelope_sha256",
            "traces_sha256",
            "ok",
            "reason",
            "failure_class",
            "signer_method",
            "signer_identity",
            "signer_issuer",
            "log_index",
            "verifier_version",
            "policy_sha256",
            "trust_root_sha256",
            "verdict_sha256",
        )
    ]
)
_FACT_TYPES: dict[object, pa.DataType] = {
    "bool": pa.bool_(),
    "int | None": pa.int64(),
    "float | None": pa.float64(),
}
_FACTS = pa.schema(
    [pa.field(item.name, _FACT_TYPES.get(item.type, pa.string())) for item in fields(EnvelopeFacts)]
)
_DISPUTES = pa.schema([pa.field("repo_id", pa.string()), pa.field("finding", pa.string())])
_METRIC_TYPES: dict[str, pa.DataType] = {
    "position": pa.int32(),
    "value": pa.float64(),
    "n": pa.int64(),
    "low": pa.float64(),
    "high": pa.float64(),
}
_METRICS = pa.schema(
    [pa.field(item.name, _METRIC_TYPES.get(item.name, pa.string())) for item in fields(MetricFact)]
)

# A verdict counts only for the bytes, the repository and the namespace it was reached for. Of
# several verified publications of one run the first ranks; the others stay visible.
_RUNS = """
WITH judged AS (
    SELECT
        sha256(i.repo_id)[:16] AS row_id,
        i.repo_id, i.organisation, i.endpoint, i.revision, i.created_at, i.state AS repo_state,
        i.moved_to, i.envelope_sha256, i.traces_sha256,
        f.* EXCLUDE (envelope_sha256),
        v.* EXCLUDE (repo_id, organisation, envelope_sha256, traces_sha256),
        CASE
            WHEN i.state <> 'published' THEN i.state
            WHEN v.ok IS NULL THEN 'unverified'
            WHEN NOT v.ok THEN 'rejected'
            WHEN f.binds_traces AND i.traces_sha256 IS NULL THEN 'traces_missing'
            WHEN NOT f.valid THEN 'invalid'
            WHEN d.finding IS NOT NULL THEN 'disputed'
            ELSE 'verified'
        END AS judged_state,
        d.finding
    FROM inventory i
    LEFT JOIN facts f ON f.envelope_sha256 = i.envelope_sha256
    LEFT JOIN verdicts v
        ON v.repo_id = i.repo_id
        AND v.organisation = i.organisation
        AND v.envelope_sha256 = i.envelope_sha256
        AND v.traces_sha256 IS NOT DISTINCT FROM i.traces_sha256
    LEFT JOIN disputes d ON d.repo_id = i.repo_id
),
numbered AS (
    SELECT *,
        row_number() OVER same_run AS publication,
        first_value(repo_id) OVER same_run AS first_repo_id
    FROM judged
    WINDOW same_run AS (PARTITION BY judged_state, run_id ORDER BY created_at, repo_id)
)
SELECT
    * EXCLUDE (judged_state, publication, first_repo_id, finding),
    CASE
        WHEN judged_state = 'verified' AND publication > 1 THEN 'duplicate'
        ELSE judged_state
    END AS state,
    CASE
        WHEN judged_state = 'verified' AND publication > 1
            THEN 'this run was published first as ' || first_repo_id
        WHEN judged_state = 'verified' THEN NULL
        WHEN judged_state = 'invalid' THEN invalid_reason
        WHEN judged_state = 'disputed' THEN finding
        WHEN judged_state = 'moved' THEN 'the same envelope is now at ' || moved_to
        WHEN judged_state = 'vanished' THEN 'no longer listed on the Hub'
        WHEN judged_state = 'no_envelope' THEN 'the repository holds no envelope.json'
        WHEN judged_state = 'unreadable' THEN 'the Hub refused to serve its files'
        WHEN judged_state = 'traces_missing'
            THEN 'the traces its metrics come from are not published, so nobody can re-derive them'
        WHEN judged_state = 'unverified' THEN 'not verified yet'
        ELSE reason
    END AS state_reason,
    CASE
        WHEN ok AND signer_method = 'dev-key' THEN 'dev'
        WHEN ok THEN 'verified'
        WHEN NOT ok OR judged_state IN ('malformed', 'no_envelope') THEN 'failed'
    END AS tier
FROM numbered
ORDER BY repo_id
"""

_METRICS_OF_RUNS = """
SELECT r.row_id, r.repo_id, r.run_id, m.* EXCLUDE (envelope_sha256)
FROM runs r JOIN metric_facts m USING (envelope_sha256)
ORDER BY r.repo_id, m.position
"""


class IndexTables:
    """The two tables, built in memory and written side by side."""

    def __init__(
        self,
        inventory: Inventory,
        verdicts: Iterable[RepoVerdict],
        facts: Iterable[EnvelopeFacts],
        metrics: Iterable[MetricFact],
        disputes: Mapping[str, str] | None = None,
    ) -> None:
        """Join the inventory with what was verified and what the envelopes say.

        ``disputes`` says of repositories what stands against them although they verify.
        """
        self._connection = duckdb.connect(":memory:")
        self._connection.execute("SET threads = 1")
        self._connection.register("inventory", inventory.table())
        self._connection.register("verdicts", _table(map(_verdict_row, verdicts), _VERDICTS))
        self._connection.register(
            "disputes",
            _table(
                ({"repo_id": name, "finding": text} for name, text in (disputes or {}).items()),
                _DISPUTES,
            ),
        )
        self._connection.register("facts", _table(map(vars, facts), _FACTS))
        self._connection.register("metric_facts", _table(map(vars, metrics), _METRICS))
        self._connection.execute(f"CREATE TABLE runs AS {_RUNS}")
        self._connection.execute(f"CREATE TABLE metrics AS {_METRICS_OF_RUNS}")

    def runs(self) -> list[dict[str, Any]]:
        """Return every run, ordered by repository."""
        return self._rows("FROM runs ORDER BY repo_id")

    def metrics(self) -> list[dict[str, Any]]:
        """Return every metric, ordered by repository and by position in its envelope."""
        return self._rows("FROM metrics ORDER BY repo_id, position")

    def write(self, folder: Path) -> None:
        """Write ``runs.parquet`` and ``metrics.parquet``, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, order in (("runs", "repo_id"), ("metrics", "repo_id, position")):
            with replaced_atomically(folder / f"{name}.parquet") as temporary:
                relation = self._connection.sql(f"FROM {name} ORDER BY {order}")
                relation.write_parquet(str(temporary), compression="zstd")

    def _rows(self, query: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._connection.sql(query).to_arrow_table().to_pylist()
        return rows


def _table(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema)


def _verdict_row(item: RepoVerdict) -> dict[str, Any]:
    verdict = item.verdict
    return {
        "repo_id": item.repo_id,
        "organisation": item.organisation,
        "envelope_sha256": item.envelope_sha256,
        "traces_sha256": item.traces_sha256,
        "ok": verdict.ok,
        "reason": verdict.reason,
        "failure_class": verdict.failure_class,
        "signer_method": verdict.signer.method if verdict.signer else None,
        "signer_identity": verdict.signer.identity if verdict.signer else None,
        "signer_issuer": verdict.signer.issuer if verdict.signer else None,
        "log_index": verdict.log.index if verdict.log else None,
        "verifier_version": verdict.verifier_version,
        "policy_sha256": verdict.policy_sha256,
        "trust_root_sha256": verdict.trust_root_sha256,
        "verdict_sha256": hashlib.sha256(item.model_dump_json().encode()).hexdigest(),
    }
