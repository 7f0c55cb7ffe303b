"""The checks on a traces file: it is the one that was signed, and it gives the stated metrics.

These are the only checks that read columns and compute on them, which takes libraries that a
verdict on an envelope alone does without.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from inferencebench_pipeline.envelope import Envelope, traces_binding
from inferencebench_pipeline.measure import open_traces
from inferencebench_pipeline.trust.verify.checklist import Checklist
from inferencebench_pipeline.trust.verify.rederive import metric_disagreements
from inferencebench_pipeline.trust.verify.verdict import FailureClass

MAX_TRACES_BYTES: Final = 1 << 30
"""Largest traces file read; a run of a million requests leaves a tenth of it."""


def check_traces_file(checklist: Checklist, envelope: Envelope, traces: Path | bytes) -> int:
    """Return how many metrics follow from the traces, once every check of them has passed.

    Args:
        checklist: takes the result of each check.
        envelope: what binds the file and states the metrics.
        traces: the file or its bytes.

    Raises:
        RejectedError: a check failed.
    """
    mismatch = FailureClass.TRACES_MISMATCH
    with checklist.check("traces_hash", mismatch) as check:
        # Read once and hashed before anything parses it: only the signed bytes get any further.
        content = _bounded(traces) if isinstance(traces, Path) else traces
        binding = traces_binding(envelope)
        if binding is None:
            raise ValueError("the envelope binds no traces file, so these traces prove nothing")
        actual = hashlib.sha256(content).hexdigest()
        if actual != binding.sha256:
            raise ValueError(
                f"the traces' SHA-256 is {actual}, the envelope binds {binding.sha256}"
            )
        check.note("the traces are the file that the envelope binds", sha256=actual)
    with checklist.check("traces_readable", mismatch) as check:
        opened = open_traces(content)
        if opened.schema_version != binding.schema_version:
            raise ValueError(
                f"the traces are in schema {opened.schema_version}, the envelope binds "
                f"{binding.schema_version}"
            )
        rows = opened.num_rows
        if rows != binding.rows:
            raise ValueError(f"the traces have {rows} rows, the envelope binds {binding.rows}")
        check.note("the traces are whole and in the stated schema", rows=rows)
    with checklist.check("metrics_rederive", FailureClass.METRICS_DO_NOT_REDERIVE) as check:
        differing = metric_disagreements(envelope, content)
        if differing:
            raise ValueError("; ".join(differing))
        count = len(envelope.metrics)
        check.note("every metric follows from the traces", metrics=count)
    return count


def _bounded(path: Path) -> bytes:
    with path.open("rb") as handle:
        content = handle.read(MAX_TRACES_BYTES + 1)
    if len(content) > MAX_TRACES_BYTES:
        raise ValueError(f"{path} is larger than {MAX_TRACES_BYTES} bytes, more than is read")
    return content
