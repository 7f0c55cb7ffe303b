"""The client of Sigstore's conformance suite: its command line, over this project's verifier.

The suite calls ``verify-bundle`` with the arguments of its ``docs/cli_protocol.md`` and reads the
exit code. The identity is compared as the policy of a reader is: exactly, with the issuer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

from sigstore.hashes import Hashed
from sigstore_models.common.v1 import HashAlgorithm

from inferencebench_pipeline.trust.root.store import KeptRoots
from inferencebench_pipeline.trust.root.trust_root import load_trust
from inferencebench_pipeline.trust.verify.bundle import (
    BundleRejectedError,
    BundleVerifier,
    VerifiedBundle,
    parse_bundle,
)

_SHA256 = "sha256:"


def main() -> int:
    """Return 0 when the bundle proves the artifact for the signer that was asked for, else 1."""
    arguments = _parser().parse_args()
    with tempfile.TemporaryDirectory() as empty:
        # A folder that keeps nothing stands for the root that is shipped with this package.
        shipped = KeptRoots(Path(empty)).current()
    trust = load_trust(arguments.trusted_root) if arguments.trusted_root else shipped
    try:
        proven = _proven(arguments, BundleVerifier(trust))
    except BundleRejectedError as error:
        sys.stderr.write(f"{error.check}: {error}\n")
        return 1
    signer = (proven.signer.identity, proven.signer.issuer)
    if signer != (arguments.certificate_identity, arguments.certificate_oidc_issuer):
        sys.stderr.write(f"signed by {signer[0]} ({signer[1]})\n")
        return 1
    return 0


def _proven(arguments: argparse.Namespace, verifier: BundleVerifier) -> VerifiedBundle:
    bundle = parse_bundle(arguments.bundle.read_bytes())
    digest = _digest_of(arguments.artifact)
    if bundle._inner.message_signature is None:
        statement, proven = verifier.verify_statement(bundle)
        named = {item["digest"].get("sha256") for item in json.loads(statement)["subject"]}
        if digest not in named:
            raise BundleRejectedError("subject", f"the statement has no subject {digest}")
        return proven
    if arguments.artifact.startswith(_SHA256):
        # The product signs documents that it holds, and therefore never verifies a bare digest. The
        # suite does, and the check below is stock sigstore's own.
        hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(digest))
        return verifier.verify(hashed, bundle)  # type: ignore[arg-type]
    return verifier.verify(Path(arguments.artifact).read_bytes(), bundle)


def _digest_of(artifact: str) -> str:
    if artifact.startswith(_SHA256) and not Path(artifact).exists():
        return artifact.removeprefix(_SHA256)
    return hashlib.sha256(Path(artifact).read_bytes()).hexdigest()


def _parser() -> argparse.ArgumentParser:
    commands = argparse.ArgumentParser(prog="conformance_client")
    verify = commands.add_subparsers(required=True).add_parser("verify-bundle")
    verify.add_argument("--bundle", type=Path, required=True)
    verify.add_argument("--certificate-identity", required=True)
    verify.add_argument("--certificate-oidc-issuer", required=True)
    verify.add_argument("--trusted-root", type=Path)
    verify.add_argument("artifact")
    return commands


if __name__ == "__main__":
    sys.exit(main())
