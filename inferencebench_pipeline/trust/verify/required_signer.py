"""``--require-issuer`` and ``--require-identity``: a check on the signer on top of the policy."""

from __future__ import annotations

from typing import Final

from inferencebench_pipeline.trust.verify.policy import IdentityPolicy, parse_policy
from inferencebench_pipeline.trust.verify.verdict import (
    Check,
    CheckStatus,
    FailureClass,
    Outcome,
    Verdict,
)
from inferencebench_pipeline.untrusted import write_yaml

CHECK: Final = "required_signer"
_KEYLESS: Final = "sigstore-cosign"


def require_signer(verdict: Verdict, *, issuer: str | None, identity: str | None) -> Verdict:
    """Return ``verdict`` with one more check: its signer is the one required.

    Only a keyless signature can satisfy it, so nobody gets past a requirement by signing with a
    key of their own. A verdict that is a rejection already stays the rejection it is. One that
    could not be reached, for want of the traces or of a newer release, needs the signer as well.

    Args:
        verdict: what verification under the policy found.
        issuer: exactly who must have vouched for the identity; any when None.
        identity: exactly whom the certificate must name; anybody when None.
    """
    if issuer is None and identity is None:
        return verdict
    asked = {"issuer": issuer or "any", "identity": identity or "any"}
    # A record whose traces are missing has a signer all the same, who must be the one required.
    if not verdict.signature_holds:
        skipped = Check(
            name=CHECK,
            status=CheckStatus.SKIPPED,
            detail="not reached: the record is rejected already",
            evidence=asked,
        )
        return verdict.model_copy(update={"checks": (*verdict.checks, skipped)})
    signer = verdict.signer
    met = (
        signer is not None
        and signer.method == _KEYLESS
        and issuer in (None, signer.issuer)
        and identity in (None, signer.identity)
    )
    if met:
        passed = Check(
            name=CHECK,
            status=CheckStatus.PASSED,
            detail="the signer is the one that was required",
            evidence=asked,
        )
        return verdict.model_copy(update={"checks": (*verdict.checks, passed)})
    who = "nobody" if signer is None else f"{signer.identity} ({signer.issuer}, {signer.method})"
    detail = (
        f"signed by {who}; required was a certificate for {asked['identity']} from "
        f"{asked['issuer']}"
    )
    failed = Check(name=CHECK, status=CheckStatus.FAILED, detail=detail, evidence=asked)
    return verdict.model_copy(
        update={
            "ok": False,
            "outcome": Outcome.REJECTED,
            "reason": f"{CHECK}: {detail}",
            "checks": (*verdict.checks, failed),
            "failure_class": FailureClass.IDENTITY_NOT_ALLOWED,
        }
    )


def policy_for(*, issuer: str, identity: str, organisation: str) -> IdentityPolicy:
    """Return a policy that allows one signer for one organisation, at any time.

    For a stranger who has no policy file and knows whom to expect.

    Raises:
        PolicyError: the organisation is not a name the Hub could have.
    """
    rule = {
        "organisation": organisation,
        "suites": ["*"],
        "issuer": issuer,
        "identity": identity,
        # The stranger knows no date. The ten minutes of the certificate bound the time all the
        # same.
        "valid_from": "1970-01-01T00:00:00Z",
    }
    text = write_yaml({"version": 1, "signers": [rule]})
    return parse_policy(text.encode(), where="of --require-issuer and --require-identity")
