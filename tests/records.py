"""Golden records: signed records of every version there ever was, which must verify for ever."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inferencebench_pipeline.trust.root.trust_root import load_trust
from inferencebench_pipeline.trust.verify.policy import load_policy
from inferencebench_pipeline.trust.verify.verdict import Verdict
from inferencebench_pipeline.trust.verify.verifier import verify_envelope
from tests.paths import REPOSITORY

GOLDEN: Final = REPOSITORY / "tests/data/records"


@dataclass(frozen=True)
class GoldenRecord:
    """One signed envelope, with the traces, the trust root and the policy beside it."""

    envelope: Path

    @property
    def name(self) -> str:
        return f"{self.envelope.parent.name}/{self.envelope.name}"

    @property
    def data(self) -> bytes:
        return self.envelope.read_bytes()

    @property
    def traces(self) -> bytes:
        return (self.envelope.parent / "traces.parquet").read_bytes()

    def verdict(self, data: bytes | None = None, traces: bytes | None = None) -> Verdict:
        """Return the verdict on the record, or on other bytes in the place of its own."""
        folder = self.envelope.parent
        return verify_envelope(
            self.data if data is None else data,
            trust=load_trust(folder / "trusted_root.json"),
            policy=load_policy(folder / "policy.yaml"),
            organisation="inferencebench-sandbox",
            traces=self.traces if traces is None else traces,
        )


def published_meanings(of: str) -> dict[str, Any]:
    """Return by its version what was published: the words of ``definitions``, or ``columns``."""
    found: dict[str, Any] = {}
    for path in sorted(GOLDEN.glob("*/meaning.json")):
        for version, meaning in json.loads(path.read_bytes())[of].items():
            assert found.setdefault(version, meaning) == meaning, f"{path} says another thing"
    return found


def golden_records() -> list[GoldenRecord]:
    return [GoldenRecord(path) for path in sorted(GOLDEN.glob("*/envelope*.json"))]
