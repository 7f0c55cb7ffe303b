"""``corpus/records.parquet``: the inventory with what verification found, one row per repository.

For whoever asks "what is published, by whom, and does it hold": DuckDB, a notebook, the viewer.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from inferencebench_pipeline.corpus.inventory import SCHEMA, RepoState, inventory_path
from inferencebench_pipeline.corpus.verdicts import verdicts_path, verified_days
from inferencebench_pipeline.runs import replaced_atomically

_LINES = """
CREATE TEMP TABLE judged AS
SELECT repo_id, judged.*, list_sort(list_distinct([f.kind for f in findings])) AS findings
FROM read_json($files, format = 'newline_delimited', columns = {
    repo_id: 'VARCHAR',
    judged: 'STRUCT(organisation VARCHAR, envelope_sha256 VARCHAR, traces_sha256 VARCHAR,
        verified_at TIMESTAMPTZ, verdict STRUCT(outcome VARCHAR, failure_class VARCHAR,
        signer STRUCT(method VARCHAR, identity VARCHAR, issuer VARCHAR),
        log STRUCT(index BIGINT), policy_sha256 VARCHAR, trust_root_sha256 VARCHAR,
        verifier_version VARCHAR))',
    findings: 'STRUCT(kind VARCHAR)[]'
})
"""

# A verdict counts only for the bytes and the namespace that it was reached for.
_RECORDS = """
SELECT i.organisation, i.repo_id, i.revision, i.created_at, i.state, i.run_id, i.suite_id,
    i.model_id, i.envelope_sha256, i.traces_sha256,
    verdict.signer.identity AS signer, verdict.signer.issuer AS issuer,
    CASE WHEN verdict.outcome IS DISTINCT FROM 'verified' THEN NULL
        WHEN verdict.signer.method = 'dev-key' THEN 'dev'
        WHEN i.community THEN 'community'
        ELSE 'verified'
    END AS tier,
    verdict.outcome AS outcome, verdict.failure_class AS failure_class,
    verdict.log.index AS log_index, verified_at, verdict.policy_sha256 AS policy_sha256,
    verdict.trust_root_sha256 AS trust_root_sha256, verdict.verifier_version AS verifier_version,
    coalesce(findings, []) AS findings
FROM inventory i
LEFT JOIN judged j ON j.repo_id = i.repo_id
    AND j.organisation = i.organisation
    AND j.envelope_sha256 = i.envelope_sha256
    AND j.traces_sha256 IS NOT DISTINCT FROM i.traces_sha256
ORDER BY i.repo_id
"""


# What the last pass of verification did not see: another state, other bytes, or nothing at all.
_UNVERIFIED = """
SELECT i.created_day,
    list_sort(list(i.repo_id || '@' || coalesce(i.envelope_sha256, '-') || ' ' || i.state))
FROM inventory i LEFT JOIN records r ON r.repo_id = i.repo_id
WHERE r.state IS DISTINCT FROM i.state OR i.state = $published AND (
    r.outcome IS NULL OR r.envelope_sha256 IS DISTINCT FROM i.envelope_sha256
    OR r.traces_sha256 IS DISTINCT FROM i.traces_sha256)
GROUP BY i.created_day
ORDER BY i.created_day
"""


def unverified_days(store_root: Path) -> dict[str, tuple[str, ...]]:
    """Return the days with records that were not verified as they are now, oldest first.

    Returns:
        By day, what is there now of each such record: repository, envelope and state.
    """
    if not inventory_path(store_root).exists():
        return {}
    with duckdb.connect(":memory:") as connection:
        connection.register("inventory", pq.read_table(inventory_path(store_root), schema=SCHEMA))
        connection.execute(
            "CREATE TABLE records (repo_id VARCHAR, state VARCHAR, envelope_sha256 VARCHAR, "
            "traces_sha256 VARCHAR, outcome VARCHAR)"
        )
        if records_path(store_root).exists():
            connection.execute(
                "INSERT INTO records "
                "SELECT repo_id, state, envelope_sha256, traces_sha256, outcome "
                "FROM read_parquet($records)",
                {"records": str(records_path(store_root))},
            )
        rows = connection.execute(_UNVERIFIED, {"published": RepoState.PUBLISHED.value}).fetchall()
    return {day: tuple(records) for day, records in rows}


def records_path(store_root: Path) -> Path:
    """Return where the table lies."""
    return store_root / "corpus" / "records.parquet"


def write_records(store_root: Path) -> Path | None:
    """Write the table anew from the inventory and the stored verdicts; None while either lacks.

    The ``tier`` is ``verified`` for a keyless signature that holds, ``dev`` for a pinned key, and
    ``community`` for one that holds outside our namespace.
    """
    files = [str(verdicts_path(store_root, day)) for day in verified_days(store_root)]
    if not files or not inventory_path(store_root).exists():
        return None
    path = records_path(store_root)
    with duckdb.connect(":memory:") as connection:
        connection.execute(_LINES, {"files": files})
        connection.register("inventory", pq.read_table(inventory_path(store_root), schema=SCHEMA))
        connection.execute(f"CREATE TABLE records AS {_RECORDS}")  # a constant
        with replaced_atomically(path) as temporary:
            connection.table("records").write_parquet(str(temporary), compression="zstd")
    return path
