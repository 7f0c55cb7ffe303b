"""Fitness of a run for its signature: everything that the UI's blocking checks ask, too.

The disk between the stages is not trusted: a file that has changed since it was written is found
here at the latest, and named.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from inferencebench_pipeline.envelope import (
    Envelope,
    ReadEnvelope,
    build_envelope,
    check_no_placeholders,
    differences,
    measurement_of,
    said_of,
    validity_errors,
)
from inferencebench_pipeline.measure import Capture, open_traces
from inferencebench_pipeline.measure import said_of as flags_said
from inferencebench_pipeline.runs import RunDirectory, RunFile
from inferencebench_pipeline.trust.errors import SigningRefusedError
from inferencebench_pipeline.trust.verify.rederive import metric_disagreements
from inferencebench_pipeline.trust.verify.statements import statements_of
from inferencebench_pipeline.trust.verify.times import time_contradiction


def require_fit(run: RunDirectory, unsigned: Envelope, traces: bytes) -> None:
    """Require that nothing speaks against signing: what the blocking checks of the UI ask, too.

    Raises:
        CaptureError: a file of the capture has changed since it was measured.
        DamagedRunFileError: a file has changed since it was written.
        SigningRefusedError: says what speaks against it.
    """
    capture = Capture(run)
    completion = None
    # A link that leads nowhere, or a note without its file, is a damaged capture and not none.
    if os.path.lexists(capture.path) or run.was_written(RunFile.CAPTURE_COMPLETE):
        completion = capture.require_completion()
    opened = open_traces(traces)
    problems = metric_disagreements(unsigned, opened)
    if problems:
        raise SigningRefusedError(
            f"run {run.run_id} is not signed, its metrics do not follow from its traces: "
            f"{'; '.join(problems)}; materialise the traces and the envelope again"
        )
    if problem := time_contradiction(unsigned.timestamp, datetime.now(UTC)):
        raise SigningRefusedError(f"run {run.run_id} is not signed: {problem}")
    if contradictions := statements_of(unsigned, opened).contradictions():
        raise SigningRefusedError(
            f"run {run.run_id} is not signed, its traces say otherwise of it than its envelope: "
            f"{'; '.join(contradictions)}; materialise the traces and the envelope again"
        )
    if errors := validity_errors(ReadEnvelope(unsigned), traces):
        raise SigningRefusedError(
            f"run {run.run_id} is not signed, its measurement is not valid: "
            f"{flags_said(errors)}; measure again under a new run id"
        )
    if placeholders := check_no_placeholders(unsigned):
        raise SigningRefusedError(
            f"run {run.run_id} is not signed, it holds placeholders: {'; '.join(placeholders)}; "
            "measure again with what they stand for"
        )
    _require_derived(run, unsigned, bound=completion is not None and bool(completion.files))


def _require_derived(run: RunDirectory, unsigned: Envelope, *, bound: bool) -> None:
    """Require that the unsigned envelope is what the measurement gives, and both as written."""
    if bound:
        for name in (RunFile.TRACES, RunFile.MEASUREMENT, RunFile.UNSIGNED_ENVELOPE):
            if not run.was_written(name):
                raise SigningRefusedError(
                    f"nothing says any more what {run.file(name)} was written as; "
                    f"`inferencebench run --run-id {run.run_id}` writes it again, or materialise "
                    "the traces and the envelope"
                )
    measurement = measurement_of(run)
    telemetry = None if measurement.telemetry is None else measurement.telemetry.file_sha256
    if telemetry is not None:
        run.require_as_written(RunFile.TELEMETRY)
    differing = differences(build_envelope(measurement), unsigned)
    if differing:
        raise SigningRefusedError(
            f"{run.file(RunFile.UNSIGNED_ENVELOPE)} is not what {RunFile.MEASUREMENT.value} gives: "
            f"{said_of(differing)}; materialise the envelope again"
        )
