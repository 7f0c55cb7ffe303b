"""Picklable factory for the envelope verifier; each worker process opens its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from inferencebench_pipeline.corpus.verdicts import Rules
from inferencebench_pipeline.trust import (
    EnvelopeVerifier,
    IdentityPolicy,
    ProveFor,
    Proven,
    TrustRoot,
)


class Judge(Protocol):
    """Reaches verdicts under rules that are known beforehand. It is pickled to other processes."""

    @property
    def rules(self) -> Rules:
        """The rules of every verdict, besides the bytes and the namespace."""

    def open(self) -> ProveFor:
        """Return the verifier; asked once in each process."""


@dataclass(frozen=True)
class PolicyJudge:
    """The verifier under one trust root and one policy, both already read."""

    trust: TrustRoot
    policy: IdentityPolicy

    @property
    def rules(self) -> Rules:
        """The digests of the policy and of the trust root."""
        return Rules(self.policy.sha256, self.trust.sha256)

    def open(self) -> ProveFor:
        """Return a verifier of anybody's envelopes."""
        verifier = EnvelopeVerifier(self.trust, self.policy)

        def prove(envelope: bytes, traces: Path | bytes | None, organisation: str) -> Proven:
            return verifier.prove(envelope, organisation=organisation, traces=traces)

        return prove
