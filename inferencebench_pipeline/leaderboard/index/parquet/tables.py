"""The index's tables: DuckDB joins inventory, verdicts and facts into one row per repository."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import duckdb
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from inferencebench_pipeline.leaderboard.column_ranges import fitted, line
from inferencebench_pipeline.leaderboard.database import session
from inferencebench_pipeline.leaderboard.index.parquet.columns import HEADLINE_FIELDS

FETCHED_ROWS: Final = 2048
"""Number of rows of a query that are in memory at a time."""
ROW_GROUP_ROWS: Final = 1024
"""Rows of a row group: the least that is read of a Parquet file that holds a wanted row."""
_TIME = pa.timestamp("us", tz="UTC")
_CELL_TYPES: dict[str, pa.DataType] = {
    "value": pa.float64(),
    "n": pa.int64(),
    "low": pa.float64(),
    "high": pa.float64(),
}
HEADLINE_TYPE: Final = pa.list_(
    pa.struct([pa.field(name, _CELL_TYPES.get(name, pa.string())) for name in HEADLINE_FIELDS])
)
FINDING_FIELDS: Final = ("source", "kind", "severity", "revision", "detail", "seen_at")
FINDINGS_SCHEMA: Final = pa.schema(
    [pa.field(name, pa.string()) for name in ("repo_id", *FINDING_FIELDS)]
)
_VERDICT_TYPES: dict[str, pa.DataType] = {"ok": pa.bool_(), "log_index": pa.int64()}
VERDICTS_SCHEMA: Final = pa.schema(
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
PRECEDENCE: Final = "precedence"
"""The source of a finding that a record repeats another, which decides what the row says."""
SUBJECT: Final = ("repo_id", "organisation", "envelope_sha256", "traces_sha256")
"""The subject of a verdict: these bytes, published in that repository."""
_INVENTORY_TYPES: dict[str, pa.DataType] = {"created_at": _TIME, "community": pa.bool_()}
INVENTORY_SCHEMA: Final = pa.schema(
    [
        pa.field(name, _INVENTORY_TYPES.get(name, pa.string()))
        for name in (
            "repo_id",
            "organisation",
            "endpoint",
            "revision",
            "created_at",
            "created_day",
            "state",
            "moved_to",
            "envelope_sha256",
            "traces_sha256",
            "content_hash",
            "run_id",
            "community",
        )
    ]
)
"""The inventory's columns that the index takes."""

# A verdict counts only for the bytes, the repository and the namespace it was reached for. Whatever
# decides what a row says is in its ``row_key``: two rows with the same key are the same row.
# Nulls count as a dash in it, because concat_ws leaves them out and would let two rows be one.
_RUNS = """
WITH judged AS (
    SELECT
        i.created_day, sha256(i.repo_id)[:16] AS row_id,
        i.repo_id, i.organisation, i.endpoint, i.revision, i.created_at, i.state AS repo_state,
        i.moved_to, i.envelope_sha256, i.traces_sha256, i.community,
        f.invalid_reason, u.unfit,
        v.* EXCLUDE (repo_id, organisation, envelope_sha256, traces_sha256),
        CASE
            WHEN i.state <> 'published' THEN i.state
            WHEN v.ok IS NULL THEN 'unverified'
            WHEN v.failure_class = 'traces_missing' THEN 'traces_missing'
            WHEN v.failure_class = 'newer_than_verifier' THEN 'newer'
            WHEN NOT v.ok THEN 'rejected'
            WHEN f.repo_id IS NULL THEN 'unreadable'
            -- Verdicts of verifier 3, until the next pass, say ok of such a record.
            WHEN f.binds_traces AND i.traces_sha256 IS NULL THEN 'traces_missing'
            WHEN NOT f.valid THEN 'invalid'
            WHEN d.finding IS NOT NULL THEN 'disputed'
            WHEN p.repeats IS NOT NULL THEN 'duplicate'
            ELSE 'verified'
        END AS state,
        d.finding, p.repeats, n.findings
    FROM inventory i
    LEFT JOIN facts f USING (repo_id)
    LEFT JOIN unfit u ON u.repo_id = i.repo_id
    LEFT JOIN verdicts v
        ON v.repo_id = i.repo_id
        AND v.organisation = i.organisation
        AND v.envelope_sha256 = i.envelope_sha256
        AND v.traces_sha256 IS NOT DISTINCT FROM i.traces_sha256
    LEFT JOIN (
        SELECT repo_id, kind || ': ' || detail AS finding FROM findings
        WHERE severity = 'error'
        QUALIFY row_number() OVER (PARTITION BY repo_id ORDER BY position) = 1
    ) d ON d.repo_id = i.repo_id
    LEFT JOIN (
        SELECT repo_id, detail AS repeats FROM findings WHERE source = '{precedence}'
    ) p ON p.repo_id = i.repo_id
    LEFT JOIN (
        SELECT repo_id, list({{{cells}}} ORDER BY position) AS findings FROM findings
        GROUP BY repo_id
    ) n ON n.repo_id = i.repo_id
)
SELECT
    * EXCLUDE (finding, repeats, findings, community, invalid_reason, unfit),
    CASE state
        WHEN 'verified' THEN NULL
        WHEN 'invalid' THEN invalid_reason
        WHEN 'disputed' THEN finding
        WHEN 'duplicate' THEN repeats
        WHEN 'moved' THEN 'the same envelope is now at ' || moved_to
        WHEN 'vanished' THEN 'no longer listed on the Hub'
        WHEN 'no_envelope' THEN 'the repository holds no envelope.json'
        WHEN 'traces_missing'
            THEN 'the traces its metrics come from are not published, so nobody can re-derive them'
        WHEN 'unverified' THEN 'not verified yet'
        WHEN 'unreadable' THEN CASE repo_state
            WHEN 'published' THEN coalesce(
                'its envelope cannot be shown: ' || unfit,
                'its envelope is damaged in our store; crawl again')
            ELSE 'the Hub refused to serve its files'
        END
        ELSE concat(reason, '; it cannot be shown either: ' || unfit)
    END AS state_reason,
    CASE
        WHEN ok AND signer_method = 'dev-key' THEN 'dev'
        WHEN ok AND community THEN 'community'
        WHEN ok THEN 'verified'
        WHEN state = 'newer' THEN NULL
        WHEN NOT ok OR state IN ('malformed', 'no_envelope') THEN 'failed'
    END AS tier,
    sha256(concat_ws('\n', repo_id, organisation, endpoint, revision, created_at,
        coalesce(envelope_sha256, '-'), coalesce(traces_sha256, '-'),
        coalesce(verdict_sha256, '-'),
        CASE WHEN community THEN 'community' END))[:16] AS row_key,
    findings
FROM judged
ORDER BY created_day, repo_id
"""
_DECIDING: Final = ["repo_id", "binds_traces", "valid", "invalid_reason"]
_FINDING_CELLS = ", ".join(f"'{name}': {name}" for name in FINDING_FIELDS)


def run_rows(
    *, inventory: pa.Table, facts: pa.Table, unfit: pa.Table, headlines: pa.Table,
    verdicts: pa.Table, findings: pa.Table,
) -> pa.Table:  # fmt: skip
    """Return one row per repository of ``inventory``: what it is, says, and was found to be.

    Of several findings of severity ``error`` about one repository, the first is the reason.
    """
    with session() as connection:
        connection.register("inventory", inventory)
        connection.register("facts", facts.select(_DECIDING))
        connection.register("unfit", unfit)
        connection.register("verdicts", verdicts)
        # SQL tables have no order, so the order of the findings becomes a column.
        positions = pa.array(range(len(findings)), pa.int64())
        connection.register("findings", findings.append_column("position", positions))
        query = _RUNS.format(cells=_FINDING_CELLS, precedence=PRECEDENCE)
        judged: pa.Table = connection.sql(query).to_arrow_table()
    # What decides nothing is only looked up: forty columns more would take a join twice as long.
    stated = _of(judged["repo_id"], facts).drop(["repo_id", "envelope_sha256"])
    shown = _of(judged["repo_id"], headlines).select(["headline"])
    names = judged.schema.names
    first, last = names.index("ok"), names.index("findings")
    parts = (
        judged.select(names[:first]), stated, judged.select(names[first:last]), shown,
        judged.select(names[last:]),
    )  # fmt: skip
    return pa.table({name: part[name] for part in parts for name in part.schema.names})


def _of(repo_ids: pa.ChunkedArray[Any], table: pa.Table) -> pa.Table:
    """Return a line for each repository: the table's, or nulls where it has none."""
    return table.take(pc.index_in(repo_ids, table["repo_id"].combine_chunks()))


def verdict_row(line: bytes, document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a stored verdict.

    Raises:
        KeyError, TypeError, UnfitError: it is not what verification writes.
    """
    judged = document["judged"]
    verdict, signer, log = (
        judged["verdict"],
        judged["verdict"]["signer"] or {},
        judged["verdict"]["log"] or {},
    )
    row = {name: judged[name] for name in SUBJECT} | {
        name: _cell(name, verdict[name])
        for name in (
            "ok",
            "reason",
            "failure_class",
            "verifier_version",
            "policy_sha256",
            "trust_root_sha256",
        )
    }
    return row | {
        "signer_method": _cell("signer_method", signer.get("method")),
        "signer_identity": _cell("signer_identity", signer.get("identity")),
        "signer_issuer": _cell("signer_issuer", signer.get("issuer")),
        "log_index": _cell("log_index", log.get("index")),
        "verdict_sha256": hashlib.sha256(line).hexdigest(),
    }


def finding_rows(document: Mapping[str, Any], source: str) -> Iterable[dict[str, Any]]:
    """Yield the columns of a verdict line's findings."""
    for item in document["findings"]:
        names = ("repo_id", *FINDING_FIELDS[1:])
        yield {"source": source, **{name: _cell(name, item[name]) for name in names}}


def _cell(name: str, value: object) -> object:
    """Return a stored value as its column holds it; a text that does not fit is cut."""
    return line(value) if isinstance(value, str) else fitted(name, value)


def parse_line(line: bytes) -> dict[str, Any]:
    """Return a verdict line as plain data.

    Raises:
        orjson.JSONDecodeError: it is not JSON.
    """
    document: dict[str, Any] = orjson.loads(line)
    return document


def read_batches(
    connection: duckdb.DuckDBPyConnection, query: str, values: Mapping[str, Any]
) -> pa.RecordBatchReader:
    """Return a query's rows, to be read a few thousand at a time."""
    reader: Any = connection.sql(query, params=dict(values)).to_arrow_reader(FETCHED_ROWS)
    found: pa.RecordBatchReader = reader
    return found


def parquet_bytes(
    table: pa.Table,
    *,
    compression: Literal["zstd", "lz4"] = "zstd",
    group_rows: int | None = None,
) -> bytes:
    """Return a table as a Parquet file; the same rows give the same bytes.

    Args:
        table: what to write.
        compression: small (zstd) or quickly read (lz4).
        group_rows: rows of a row group, of which a reader takes all or none.
    """
    buffer = io.BytesIO()
    # Numbers hardly repeat: looking for those that do takes a third of the time, and more bytes.
    # Arrow's schema would be stored as well, and there what is in a list has one name in a table
    # that was queried and another in one that was read.
    texts: Any = [field.name for field in table.schema if pa.types.is_string(field.type)]
    pq.write_table(
        table.combine_chunks(), buffer, compression=compression, row_group_size=group_rows,
        use_dictionary=texts, store_schema=False,
    )  # fmt: skip
    return buffer.getvalue()


def empty(schema: pa.Schema) -> pa.Table:
    """Return a table of no rows."""
    return pa.Table.from_pylist([], schema=schema)
