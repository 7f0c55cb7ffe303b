"""An organisation's own policy as a signed document: it counts for a reader who names its signer.

The signature is an in-toto statement whose subject is the policy's bytes, in a Sigstore bundle that
lies beside them. It proves who decided and not later than when. Nothing is believed of the document
about itself: the reader names where it lies and who must have signed it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from inferencebench_pipeline.trust.errors import PolicyError
from inferencebench_pipeline.trust.root.trust_root import TrustRoot
from inferencebench_pipeline.trust.verify.bundle import (
    BundleRejectedError,
    parse_bundle,
    require_subject,
    verify_statement,
)
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy, parse_policy
from inferencebench_pipeline.trust.verify.required_signer import RequiredSigner
from inferencebench_pipeline.untrusted import printable

POLICY_SUITE: Final = "inferencebench.identity-policy"
"""The suite that the signer of a policy must be allowed for, where a policy is asked at signing."""
_STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE: Final = "pkg:pypi/inferencebench-pipeline#identity-policy-v1"


@dataclass(frozen=True)
class PublishedPolicy:
    """A policy as it is published.

    Attributes:
        data: the bytes of the policy.
        bundle: the signature, as JSON of a Sigstore bundle.
        where: the place of the policy, for messages.
    """

    data: bytes
    bundle: bytes
    where: str


def policy_statement(data: bytes, *, name: str) -> bytes:
    """Return the statement that the signer of a policy signs.

    Args:
        data: the bytes of the policy, which must be one that can be used.
        name: the name of its file.

    Raises:
        PolicyError: it cannot be used as a policy.
    """
    digest = parse_policy(data, where=name).sha256
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {},
    }
    return json.dumps(statement, sort_keys=True).encode()


def verify_published_policy(
    published: PublishedPolicy, *, trust: TrustRoot, signer: RequiredSigner, now: datetime
) -> IdentityPolicy:
    """Return the policy in a published document that the required signer has signed.

    Args:
        published: the document and its signature.
        trust: whose certificates, logs and clocks count.
        signer: who must have signed it.
        now: the time that the signature's age is counted to, for the policy's name.

    Raises:
        PolicyError: the signature does not prove it, another has signed, or it is no policy.
    """
    digest = hashlib.sha256(published.data).hexdigest()
    try:
        payload, verified = verify_statement(parse_bundle(published.bundle), trust)
        require_subject(payload, published.data)
    except BundleRejectedError as error:
        raise PolicyError(
            f"the policy {published.where} (SHA-256 {digest}) is not proven by its signature: "
            f"{printable(error)}"
        ) from error
    # The bundle's verification has parsed it as a statement already, so that it is an object.
    kind = json.loads(payload).get("predicateType")
    if kind != _PREDICATE_TYPE:
        raise PolicyError(
            f"the signature on the policy {published.where} says {printable(kind)} of it, and not "
            f"{_PREDICATE_TYPE}: it was not signed as a policy"
        )
    if (refusal := signer.refusal(verified.signer)) is not None:
        raise PolicyError(f"the policy {published.where} does not count: it was {refusal}")
    signed = verified.times[0]
    origin = (
        f"{published.where}, signed by {printable(verified.signer.identity)} on "
        f"{signed.date().isoformat()} ({max((now - signed).days, 0)} days ago)"
    )
    return parse_policy(published.data, where=published.where, origin=origin)
