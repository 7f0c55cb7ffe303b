"""Verification: envelope bytes, and the traces when they are at hand, to a verdict.

A pure function of its arguments. Nothing is fetched, and no input makes it raise: whatever goes
wrong is a rejection that says at which check.
"""

from __future__ import annotations

from pathlib import Path

from inferencebench_pipeline.trust.verify.verifier import EnvelopeVerifier
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy
from inferencebench_pipeline.trust.root.trust_root import TrustRoot
from inferencebench_pipeline.trust.verify.verdict import Verdict


def verify_envelope(
    data: bytes,
    *,
    trust: TrustRoot,
    policy: IdentityPolicy,
    organisation: str | None,
    traces: Path | bytes | None,
) -> Verdict:
    """Return the verdict on the envelope in ``data``.

    Args:
        data: the exact bytes of ``envelope.json``.
        trust: whose certificates, logs and clocks count.
        policy: who may sign for whom.
        organisation: the Hub namespace the record is published under; the signer must be allowed
            for it. None for a record that is not published: any organisation of the policy will do.
        traces: the traces file; without it the metrics cannot be re-derived and those checks are
            skipped, which the verdict states.

    Example:
        >>> verdict = verify_envelope(data, trust=load_trust(config), policy=load_policy(policy),
        ...                           organisation="acme", traces=None)  # doctest: +SKIP
        >>> verdict.ok, verdict.reason  # doctest: +SKIP
    """
    return EnvelopeVerifier(trust, policy).verify(data, organisation=organisation, traces=traces)
