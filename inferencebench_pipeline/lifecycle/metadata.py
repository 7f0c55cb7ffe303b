"""Dagster metadata for people: headline tables, plots, hashes and sizes."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import dagster as dg

from inferencebench_pipeline.measure.metrics import DEFINITIONS, Metric
from inferencebench_pipeline.measure.validity import ValidityFlag
from inferencebench_pipeline.trust.verdict import Verdict


def file_metadata(path: Path) -> dict[str, dg.MetadataValue]:
    """Return where a file is, how large it is and its SHA-256."""
    data = path.read_bytes()
    return {
        "path": dg.MetadataValue.path(path),
        "size_bytes": dg.MetadataValue.int(len(data)),
        "sha256": dg.MetadataValue.text(hashlib.sha256(data).hexdigest()),
    }


def headline_table(metrics: Mapping[str, Metric]) -> dg.MetadataValue:
    """Return the headline metrics as a table: value, unit, n, or the reason there is no value."""
    return table(
        {
            "metric": DEFINITIONS[key].label,
            "value": metric.null_reason or "–" if metric.value is None else f"{metric.value:,.3f}",
            "unit": metric.unit,
            "n": metric.n,
        }
        for key, metric in metrics.items()
        if key in DEFINITIONS and DEFINITIONS[key].headline
    )


def validity_table(flags: Iterable[ValidityFlag]) -> dg.MetadataValue:
    """Return validity flags as a table."""
    return table(
        {
            "flag": flag.name,
            "result": "ok" if flag.ok else flag.severity,
            "detail": flag.detail,
        }
        for flag in flags
    )


def verdict_table(verdict: Verdict) -> dg.MetadataValue:
    """Return every check a verdict rests on."""
    return table(
        {"check": check.name, "status": str(check.status), "detail": check.detail}
        for check in verdict.checks
    )


def table(rows: Iterable[Mapping[str, str | int]]) -> dg.MetadataValue:
    """Return rows as a Dagster table; an empty table when there are none."""
    # Dagster stores plain values only: an enum's text, not the enum.
    records = [
        dg.TableRecord({k: v if isinstance(v, int) else str(v) for k, v in row.items()})
        for row in rows
    ]
    schema = dg.TableSchema(columns=[dg.TableColumn("none")]) if not records else None
    return dg.MetadataValue.table(records=records, schema=schema)


def png(data: bytes, *, alt: str) -> dg.MetadataValue:
    """Return a PNG that the UI shows inline."""
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(data).decode()})")
