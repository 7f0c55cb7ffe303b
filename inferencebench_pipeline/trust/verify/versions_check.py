"""The check that this verifier knows the versions that a record names.

It comes after the signature: what nobody signed is rejected, and never called new.
"""

from __future__ import annotations

from collections.abc import Iterator

from inferencebench_pipeline.envelope import ENVELOPE_VERSION, Envelope, stated_versions
from inferencebench_pipeline.measure import (
    METRIC_DEFINITIONS_VERSION,
    TRACES_SCHEMA_VERSION,
    is_later_version,
)
from inferencebench_pipeline.trust.verify.checklist import Checklist
from inferencebench_pipeline.trust.verify.verdict import FailureClass


def check_versions(checklist: Checklist, envelope: Envelope) -> None:
    """Check that no version in a signed envelope is later than the newest one known here.

    A text that is no version at all is no later one; the checks on the metrics reject it.

    Raises:
        RejectedError: a version is later; the record cannot be judged.
    """
    stated = stated_versions(envelope)
    with checklist.check("versions_known", FailureClass.NEWER_THAN_VERIFIER) as check:
        later = list(
            _later(
                ("envelope", stated.envelope.removeprefix("v"), ENVELOPE_VERSION.removeprefix("v")),
                ("metric definitions", stated.metric_definitions, METRIC_DEFINITIONS_VERSION),
                ("traces schema", stated.traces_schema, TRACES_SCHEMA_VERSION),
            )
        )
        if later:
            raise ValueError(
                f"the record is of {' and '.join(later)}; a newer release can judge it"
            )
        check.note(
            "this verifier knows every version that the record names",
            envelope=stated.envelope,
            metric_definitions=stated.metric_definitions or "not stated",
            traces_schema=stated.traces_schema or "no traces bound",
        )


def _later(*versions: tuple[str, str | None, str]) -> Iterator[str]:
    for name, version, newest in versions:
        if version is not None and is_later_version(version, newest):
            yield f"{name} {version}, this verifier knows them up to {newest}"
