"""Genuine records to tamper with, and what must come of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inferencebench_pipeline.trust.verify.verdict import FailureClass, Verdict


@dataclass(frozen=True)
class Signed:
    """A genuine record, to be tampered with."""

    data: bytes
    traces: bytes

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.data)


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


def assert_rejected(verdict: Verdict, check: str, failure: FailureClass) -> None:
    assert not verdict.ok
    assert verdict.outcome == "rejected"
    assert verdict.failure_class == failure, verdict.reason
    failed = [item for item in verdict.checks if item.status == "failed"]
    assert [item.name for item in failed] == [check]
    assert verdict.reason == f"{check}: {failed[0].detail}"
    after = verdict.checks[verdict.checks.index(failed[0]) + 1 :]
    assert all(item.status == "skipped" for item in after)


def with_bundle(signed: Signed, change: Callable[[dict[str, Any]], None]) -> bytes:
    document = signed.document
    bundle = json.loads(base64.b64decode(document["signature"]["bundle"]))
    change(bundle)
    document["signature"]["bundle"] = base64.b64encode(encode(bundle)).decode()
    return encode(document)
