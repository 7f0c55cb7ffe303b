"""The checks on a traces file: it is the one that was signed, and it gives the stated metrics.

These are the only checks that read columns and compute on them, which takes libraries that a
verdict on an envelope alone does without.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from inferencebench_pipeline.envelope import Envelope, TracesBinding, traces_binding
from inferencebench_pipeline.measure import (
    MOST_FILE_BYTES,
    ContentDigest,
    Traces,
    open_traces,
)
from inferencebench_pipeline.trust.verify.checklist import Checklist
from inferencebench_pipeline.trust.verify.rederive import metric_disagreements
from inferencebench_pipeline.trust.verify.statements import statements_of
from inferencebench_pipeline.trust.verify.verdict import FailureClass

_MOST_IN_MEMORY: Final = 2**25
"""The file that is kept in memory while it is verified; a larger one is copied to the disk."""
_PIECE: Final = 2**20


class CheckedTraces(NamedTuple):
    """The result of the checks of a traces file, once all of them have passed."""

    metrics: int
    """The number of metrics that follow from the traces."""
    content_sha256: str | None
    """The digest of what the file holds, however it is encoded; None when it was not asked for."""


def check_traces_file(
    checklist: Checklist, envelope: Envelope, traces: Path | bytes, *, with_content: bool
) -> CheckedTraces:
    """Return what the checks of a traces file find, once every one of them has passed.

    Args:
        checklist: takes the result of each check.
        envelope: what binds the file and states the metrics.
        traces: the file or its bytes.
        with_content: whether the digest of its content is wanted, for which the chunks are not
            read once more.

    Raises:
        RejectedError: a check failed.
    """
    with contextlib.ExitStack() as kept:
        content = _bound(checklist, envelope, traces, kept)
        opened = _readable(checklist, envelope, content)
        _check_agreement(checklist, envelope, opened)
        if not with_content:
            return CheckedTraces(_check_metrics(checklist, envelope, opened), None)
        digest = ContentDigest(opened.rows)
        metrics = _check_metrics(checklist, envelope, opened.observed(digest.take))
        return CheckedTraces(metrics, digest.hexdigest())


def _bound(
    checklist: Checklist, envelope: Envelope, traces: Path | bytes, kept: contextlib.ExitStack
) -> Path | bytes:
    """Return the bytes that the envelope binds, which stay as they are until ``kept`` is closed."""
    with checklist.check("traces_hash", FailureClass.TRACES_MISMATCH) as check:
        binding = _binding(envelope)
        actual, content = kept.enter_context(sealed(traces))
        if actual != binding.sha256:
            raise ValueError(
                f"the traces' SHA-256 is {actual}, the envelope binds {binding.sha256}"
            )
        check.note("the traces are the file that the envelope binds", sha256=actual)
    return content


def _readable(checklist: Checklist, envelope: Envelope, content: Path | bytes) -> Traces:
    with checklist.check("traces_readable", FailureClass.TRACES_MISMATCH) as check:
        binding = _binding(envelope)
        opened = open_traces(content, named="the traces")
        if opened.schema_version != binding.schema_version:
            raise ValueError(
                f"the traces are in schema {opened.schema_version}, the envelope binds "
                f"{binding.schema_version}"
            )
        rows = opened.num_rows
        if rows != binding.rows:
            raise ValueError(f"the traces have {rows} rows, the envelope binds {binding.rows}")
        check.note("the traces are whole and in the stated schema", rows=rows)
    return opened


def _binding(envelope: Envelope) -> TracesBinding:
    binding = traces_binding(envelope)
    if binding is None:
        raise ValueError("the envelope binds no traces file, so these traces prove nothing")
    return binding


def _check_agreement(checklist: Checklist, envelope: Envelope, opened: Traces) -> None:
    with checklist.check("traces_agree", FailureClass.TRACES_CONTRADICT) as check:
        statements = statements_of(envelope, opened)
        contradictions = statements.contradictions()
        if contradictions:
            raise ValueError("; ".join(contradictions))
        check.note(
            "the traces say the same of their run as the envelope",
            compared=", ".join(each.field for each in statements.stated),
            **{f"not compared: {field}": why for field, why in statements.skipped.items()},
        )


def _check_metrics(checklist: Checklist, envelope: Envelope, opened: Traces) -> int:
    with checklist.check("metrics_rederive", FailureClass.METRICS_DO_NOT_REDERIVE) as check:
        differing = metric_disagreements(envelope, opened)
        if differing:
            raise ValueError("; ".join(differing))
        count = len(envelope.metrics)
        check.note("every metric follows from the traces", metrics=count)
    return count


@contextlib.contextmanager
def sealed(traces: Path | bytes) -> Iterator[tuple[str, Path | bytes]]:
    """Give the digest of the traces, and bytes that nobody can change once it is taken.

    Only the signed bytes get any further, whoever writes to the path meanwhile. A large file is
    copied to one without a name: in memory it would be a third of what verifying it takes.

    Raises:
        OSError: the file cannot be read, or there is no room for the copy.
        ValueError: it is larger than any run leaves.
    """
    if isinstance(traces, bytes):
        yield hashlib.sha256(traces).hexdigest(), traces
        return
    with traces.open("rb") as source:
        content = source.read(_MOST_IN_MEMORY)
        digest = hashlib.sha256(content)
        if len(content) < _MOST_IN_MEMORY:
            yield digest.hexdigest(), content
            return
        with tempfile.TemporaryFile() as copy:
            while content:
                copy.write(content)
                if copy.tell() > MOST_FILE_BYTES:
                    raise ValueError(
                        f"{traces} is larger than {MOST_FILE_BYTES} bytes, more than is read"
                    )
                content = source.read(_PIECE)
                digest.update(content)
            copy.flush()
            yield digest.hexdigest(), Path(f"/dev/fd/{copy.fileno()}")
