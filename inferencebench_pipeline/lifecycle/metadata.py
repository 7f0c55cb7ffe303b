"""Dagster metadata for people: tables of metrics and checks, plots, hashes and sizes."""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import dagster as dg

from inferencebench_pipeline.measure import (
    DEFINITIONS,
    EngineAudit,
    Metric,
    TelemetryReport,
    ValidityFlag,
)
from inferencebench_pipeline.trust import Verdict
from inferencebench_pipeline.untrusted import printable

# The details of checks and findings may quote a stranger's text, which can be of any length.
_CELL_CHARACTERS = 2000


def file_metadata(path: Path) -> dict[str, dg.MetadataValue]:
    """Return the path of a file, its size in bytes and its SHA-256."""
    data = path.read_bytes()
    return {
        "path": dg.MetadataValue.path(path),
        "size_bytes": dg.MetadataValue.int(len(data)),
        "sha256": dg.MetadataValue.text(hashlib.sha256(data).hexdigest()),
    }


def headline_table(metrics: Mapping[str, Metric]) -> dg.MetadataValue:
    """Return the headline metrics as a table, with the reason in place of a missing value."""
    return table(
        {
            "metric": DEFINITIONS[key].label,
            "value": metric.null_reason or "–" if metric.value is None else f"{metric.value:,.3f}",
            "unit": metric.unit,
            "n": metric.n,
        }
        for key, metric in metrics.items()
        if key in DEFINITIONS and "summary" in DEFINITIONS[key].shown_on
    )


def headline_numbers(metrics: Mapping[str, Metric]) -> dict[str, dg.MetadataValue]:
    """Return the headline metrics as numbers, which the UI plots over all runs."""
    return {
        key: dg.MetadataValue.float(float(metric.value))
        for key, metric in metrics.items()
        if key in DEFINITIONS
        and "summary" in DEFINITIONS[key].shown_on
        and metric.value is not None
    }


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


def audit_table(audit: EngineAudit) -> dg.MetadataValue:
    """Return the engine's own numbers beside ours, or the reason why there are none."""
    if not audit.lines:
        return table([{"engine": audit.family or "unknown", "reason": audit.null_reason or ""}])
    return table(
        {
            "quantity": line.name,
            "engine says": f"{line.engine:,.3f}",
            "ours": "–" if line.ours is None else f"{line.ours:,.3f}",
            "difference": "–" if line.difference is None else f"{line.difference:+,.3f}",
            "unit": line.unit,
            "note": line.note,
        }
        for line in audit.lines
    )


def energy_text(telemetry: TelemetryReport) -> dg.MetadataValue:
    """Return the energy of the measured windows in joules, or the reason why it is missing."""
    joules = telemetry.energy_joules
    if joules is None:
        return dg.MetadataValue.text(f"not measured: {telemetry.energy_null_reason}")
    return dg.MetadataValue.text(f"{joules:,.1f} J ({telemetry.energy[0].source})")


def verdict_table(verdict: Verdict) -> dg.MetadataValue:
    """Return the checks that a verdict rests on, as a table."""
    return table(
        {"check": check.name, "status": str(check.status), "detail": check.detail}
        for check in verdict.checks
    )


def table(rows: Iterable[Mapping[str, str | int]]) -> dg.MetadataValue:
    """Return rows as a Dagster table of printable texts, or the text "none" without any row."""
    # Dagster stores plain values only: an enum's text, not the enum.
    records = [
        dg.TableRecord(
            {k: v if isinstance(v, int) else printable(v, _CELL_CHARACTERS) for k, v in row.items()}
        )
        for row in rows
    ]
    return dg.MetadataValue.table(records=records) if records else dg.MetadataValue.text("none")


def png(data: bytes, *, alt: str) -> dg.MetadataValue:
    """Return a PNG that the UI shows inline."""
    # Inline, because the UI does not serve files of the run directory.
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(data).decode()})")
