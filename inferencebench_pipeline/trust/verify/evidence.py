"""The evidence of each check on a bundle, as values that a reader of the verdict can compare."""

from __future__ import annotations

from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import Certificate

from inferencebench_pipeline.trust.verify.bundle import VerifiedBundle
from inferencebench_pipeline.trust.verify.memoised import REMEMBERED


def bundle_evidence(verified: VerifiedBundle) -> dict[str, dict[str, str]]:
    """Return the values behind the checks of a bundle that passed them, by check."""
    times = ", ".join(moment.isoformat() for moment in verified.times)
    return {
        "bundle_verifies": {
            **_of_certificate(verified.certificate),
            "entry": f"{verified.entry_kind} {verified.entry_version}",
        },
        "log_known": {"log": verified.log_url, "log_id": verified.log_id},
        "checkpoint_size": {
            "tree_size": str(verified.checkpoint.size),
            "root_hash": verified.checkpoint.root_hash,
        },
        "log_index_proven": {"log_index": str(verified.log_index)},
        "key_windows": {"times": times},
        "certificate_identity": {
            "identity": verified.signer.identity,
            "issuer": verified.signer.issuer,
            **verified.signer.workflow,
        },
    }


@lru_cache(REMEMBERED)
def _of_certificate(certificate: Certificate) -> dict[str, str]:
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return {
        "certificate_sha256": certificate.fingerprint(SHA256()).hex(),
        "certificate_valid": f"{starts.isoformat()} to {ends.isoformat()}",
    }
