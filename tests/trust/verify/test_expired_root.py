"""A root of a certificate authority whose time is over, which stock takes at any time.

CVE-2026-24122 is the same mistake about an authority in between.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from inferencebench_pipeline.trust.root.trust_root import TrustRoot, parse_trust
from inferencebench_pipeline.trust.verify.verdict import FailureClass
from tests.trust.conftest import World
from tests.trust.records import Signed, assert_rejected

HOUR = timedelta(hours=1)


def again(
    certificate: x509.Certificate,
    by: ec.EllipticCurvePrivateKey,
    key: CertificatePublicKeyTypes,
    until: datetime,
) -> str:
    """The certificate issued once more, for the same name: by another key, until another time."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(certificate.issuer)
        .public_key(key)
        .serial_number(certificate.serial_number)
        .not_valid_before(until - 100 * HOUR)
        .not_valid_after(until)
    )
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.AuthorityKeyIdentifier):
            value = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
        elif isinstance(value, x509.SubjectKeyIdentifier):
            value = x509.SubjectKeyIdentifier.from_public_key(key)
        builder = builder.add_extension(value, extension.critical)
    der = builder.sign(by, hashes.SHA256()).public_bytes(Encoding.DER)
    return base64.b64encode(der).decode()


def with_chain(world: World, *, between_until: datetime, root_until: datetime) -> TrustRoot:
    """The trust root of the sandbox, with the chain of its authority below another root."""
    document = json.loads(world.trust_config.read_bytes())["trustedRoot"]
    (authority,) = document["certificateAuthorities"]
    between, root = (
        x509.load_der_x509_certificate(base64.b64decode(item["rawBytes"]))
        for item in authority["certChain"]["certificates"]
    )
    key = ec.generate_private_key(ec.SECP256R1())
    authority["certChain"]["certificates"] = [
        {"rawBytes": again(between, key, between.public_key(), between_until)},
        {"rawBytes": again(root, key, key.public_key(), root_until)},
    ]
    return parse_trust(json.dumps(document).encode(), where="the test")


@pytest.mark.parametrize("expired", ["nothing", "between", "root"])
def test_a_chain_is_valid_as_a_whole(running_world: World, signed: Signed, expired: str) -> None:
    now = datetime.now(UTC)
    trust = with_chain(
        running_world,
        between_until=now - HOUR if expired == "between" else now + HOUR,
        root_until=now - HOUR if expired == "root" else now + HOUR,
    )
    verdict = running_world.verify(signed.data, signed.traces, trust=trust)
    if expired == "nothing":
        assert verdict.ok, verdict.reason
        return
    # Stock refuses what is in between itself.
    check = "key_windows" if expired == "root" else "bundle_verifies"
    assert_rejected(verdict, check, FailureClass.SIGNATURE_INVALID)
    if expired == "root":
        assert "or the root above it, was not valid at" in verdict.reason
