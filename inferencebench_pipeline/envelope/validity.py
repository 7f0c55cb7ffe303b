"""Reasons against signing or publishing an envelope, the same for shell, step and check."""

from __future__ import annotations

from pathlib import Path

from inferencebench_pipeline.envelope.reading import ReadEnvelope
from inferencebench_pipeline.measure import ValidityFlag, check_traces, errors_of, open_traces


def validity_errors(read: ReadEnvelope, traces: Path | bytes | None) -> list[ValidityFlag]:
    """Return the flags of severity error: those the traces give, and those the envelope states.

    Raises:
        EnvelopeError: the envelope's extension cannot be read.
        TracesError: the traces cannot be read.
    """
    stated = () if read.extension is None else read.extension.validity
    found = () if traces is None else check_traces(open_traces(traces))
    # By name, so that what both sides say is told once, in the words of the traces.
    return list({flag.name: flag for flag in errors_of((*stated, *found))}.values())
