from __future__ import annotations

import hashlib

import pytest
from cryptography import x509
from sigstore import dsse
from sigstore.errors import VerificationError
from sigstore.models import Bundle
from sigstore.sign import Signer
from sigstore.verify import Verifier
from sigstore.verify.policy import AllOf, Identity, OIDCIssuer, OIDCIssuerV2

from inferencebench_pipeline.sandbox.sigstore.names import DEFAULT_IDENTITY, ISSUER
from tests.sandbox.sigstore.serving import Client, bundle_json

ARTIFACT = b"the exact bytes of an envelope"


def _kind(bundle: Bundle) -> tuple[str, str]:
    entry = bundle_json(bundle)["verificationMaterial"]["tlogEntries"][0]  # type: ignore[index]
    return entry["kindVersion"]["kind"], entry["kindVersion"]["version"]


def _statement() -> dsse.Statement:
    digest = hashlib.sha256(ARTIFACT).hexdigest()
    return (
        dsse.StatementBuilder()
        .subjects([dsse.Subject(name="envelope.json", digest={"sha256": digest})])
        .predicate_type("https://example.org/measurement/v1")
        .predicate({"ttft_p50_ms": 12.5})
        .build()
    )


@pytest.mark.parametrize(
    ("log_version", "kind"),
    [(None, "0.0.2"), (1, "0.0.1"), (2, "0.0.2")],
    ids=["default", "v1", "v2"],
)
def test_an_unmodified_client_signs_and_verifies(
    client: Client, log_version: int | None, kind: str
) -> None:
    bundle = client.signer(log_version).sign_artifact(ARTIFACT)
    assert _kind(bundle) == ("hashedrekord", kind)
    client.verify(ARTIFACT, bundle)


@pytest.mark.parametrize(
    ("log_version", "kind"), [(1, ("dsse", "0.0.1")), (2, ("hashedrekord", "0.0.2"))]
)
def test_a_dsse_statement_signs_and_verifies(
    client: Client, log_version: int, kind: tuple[str, str]
) -> None:
    bundle = client.signer(log_version).sign_dsse(_statement())
    assert _kind(bundle) == kind
    verifier = Verifier(trusted_root=client.trust_config.trusted_root)
    reread = Bundle.from_json(bundle.to_json())
    payload_type, payload = verifier.verify_dsse(reread, Identity(identity=DEFAULT_IDENTITY))
    assert payload_type == "application/vnd.in-toto+json"
    assert hashlib.sha256(ARTIFACT).hexdigest().encode() in payload


@pytest.mark.parametrize("log_version", [1, 2])
def test_every_bundle_carries_a_timestamp_that_verifies_on_its_own(
    client: Client, log_version: int
) -> None:
    bundle = client.signer(log_version).sign_artifact(ARTIFACT)
    verifier = Verifier(trusted_root=client.trust_config.trusted_root)
    assert len(verifier._verify_timestamp_authority(bundle)) == 1


@pytest.mark.parametrize("log_version", [1, 2])
def test_another_identity_is_rejected(client: Client, log_version: int) -> None:
    bundle = client.signer(log_version).sign_artifact(ARTIFACT)
    with pytest.raises(VerificationError, match="SANs do not match"):
        client.verify(ARTIFACT, bundle, identity="mallory@inferencebench.sandbox")


@pytest.mark.parametrize("log_version", [1, 2])
def test_a_changed_artifact_is_rejected(client: Client, log_version: int) -> None:
    bundle = client.signer(log_version).sign_artifact(ARTIFACT)
    with pytest.raises(VerificationError):
        client.verify(ARTIFACT + b" ", bundle)


def test_both_issuer_extensions_name_the_issuer(client: Client) -> None:
    bundle = client.signer().sign_artifact(ARTIFACT)
    policy = AllOf([OIDCIssuer(ISSUER), OIDCIssuerV2(ISSUER)])
    policy.verify(bundle.signing_certificate)


@pytest.mark.parametrize(
    ("subject", "kind"),
    [
        ("someone@example.org", x509.RFC822Name),
        ("https://example.org/workflows/bench@refs/tags/v1", x509.UniformResourceIdentifier),
    ],
)
def test_the_certificate_carries_the_tokens_identity(
    client: Client, subject: str, kind: type[x509.GeneralName]
) -> None:
    signer: Signer = client.signer(token=client.token(subject=subject))
    bundle = signer.sign_artifact(ARTIFACT)
    client.verify(ARTIFACT, bundle, identity=subject)
    names = bundle.signing_certificate.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [type(name) for name in names.value] == [kind]
    assert names.critical
