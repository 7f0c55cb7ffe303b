"""Certificates: whom they name, and every claim about a build by the number Fulcio gives it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from inferencebench_pipeline.trust.verify.certificates import (
    WORKFLOW_CLAIMS,
    NameKind,
    certificate_identity,
)
from inferencebench_pipeline.trust.verify.policy import parse_policy

# Fulcio's docs/oid-info.md, by the names of its headings in snake case.
CLAIMS = {
    "1.3.6.1.4.1.57264.1.9": "build_signer_uri",
    "1.3.6.1.4.1.57264.1.10": "build_signer_digest",
    "1.3.6.1.4.1.57264.1.11": "runner_environment",
    "1.3.6.1.4.1.57264.1.12": "source_repository_uri",
    "1.3.6.1.4.1.57264.1.13": "source_repository_digest",
    "1.3.6.1.4.1.57264.1.14": "source_repository_ref",
    "1.3.6.1.4.1.57264.1.15": "source_repository_identifier",
    "1.3.6.1.4.1.57264.1.16": "source_repository_owner_uri",
    "1.3.6.1.4.1.57264.1.17": "source_repository_owner_identifier",
    "1.3.6.1.4.1.57264.1.18": "build_config_uri",
    "1.3.6.1.4.1.57264.1.19": "build_config_digest",
    "1.3.6.1.4.1.57264.1.20": "build_trigger",
    "1.3.6.1.4.1.57264.1.21": "run_invocation_uri",
    "1.3.6.1.4.1.57264.1.22": "source_repository_visibility",
}
ISSUER_V1, ISSUER_V2 = "1.3.6.1.4.1.57264.1.1", "1.3.6.1.4.1.57264.1.8"
USERNAME = "1.3.6.1.4.1.57264.1.7"
ISSUER = "https://issuer.example"
SOMEBODY = x509.RFC822Name("somebody@example.org")


def utf8_string(text: str) -> bytes:
    """DER, written by hand: tag 12, a short length, the bytes."""
    assert len(text) < 128
    return b"\x0c" + bytes([len(text)]) + text.encode()


def certificate(
    *names: x509.GeneralName, extensions: list[tuple[str, bytes]] | None = None
) -> x509.Certificate:
    """A certificate that nobody vouches for, with these names and extensions."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(minutes=5))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    if extensions is None:
        extensions = [(ISSUER_V2, utf8_string(ISSUER))]
    for oid, value in extensions:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(unknown, critical=False)
    return builder.sign(key, hashes.SHA256())


def test_the_table_of_claims_is_fulcios() -> None:
    assert {oid.dotted_string: name for oid, name in WORKFLOW_CLAIMS.items()} == CLAIMS


@pytest.mark.parametrize(("oid", "name"), CLAIMS.items())
def test_each_claim_is_read_from_its_own_extension_and_compared_by_policies(
    oid: str, name: str
) -> None:
    said = {number: f"value of {number[-2:]}" for number in CLAIMS}
    extensions = [(number, utf8_string(value)) for number, value in said.items()]
    found = certificate_identity(
        certificate(SOMEBODY, extensions=[(ISSUER_V2, utf8_string(ISSUER)), *extensions])
    )
    assert found.workflow[name] == said[oid]
    assert len(found.workflow) == len(CLAIMS)
    for value in CLAIMS:
        policy = f"""
        version: 1
        signers:
        - organisation: acme
          suites: ["*"]
          issuer: {ISSUER}
          identity: somebody@example.org
          valid_from: 2020-01-01T00:00:00Z
          workflow: {{{name}: "{said[value]}"}}
        """
        rule = parse_policy(policy.encode(), where="the test").signers[0]
        assert rule.names(found) == (value == oid)


@pytest.mark.parametrize(
    "extensions",
    [
        [(ISSUER_V1, ISSUER.encode())],
        [(ISSUER_V2, utf8_string(ISSUER))],
        [(ISSUER_V1, ISSUER.encode()), (ISSUER_V2, utf8_string(ISSUER))],
    ],
)
def test_the_issuer_is_read_from_either_extension(extensions: list[tuple[str, bytes]]) -> None:
    assert certificate_identity(certificate(SOMEBODY, extensions=extensions)).issuer == ISSUER


@pytest.mark.parametrize(
    "extensions",
    [
        [],
        [(ISSUER_V1, b"https://other.example"), (ISSUER_V2, utf8_string(ISSUER))],
        [(ISSUER_V1, ISSUER.encode()), (ISSUER_V2, utf8_string("https://other.example"))],
    ],
)
def test_no_issuer_and_two_that_differ_are_refused(extensions: list[tuple[str, bytes]]) -> None:
    with pytest.raises(ValueError, match="must name one issuer"):
        certificate_identity(certificate(SOMEBODY, extensions=extensions))


@pytest.mark.parametrize(
    ("name", "identity", "kind"),
    [
        (SOMEBODY, "somebody@example.org", NameKind.EMAIL),
        (x509.UniformResourceIdentifier("https://a.example"), "https://a.example", NameKind.URI),
        (
            x509.OtherName(x509.ObjectIdentifier(USERNAME), utf8_string("alice!example.org")),
            "alice!example.org",
            NameKind.USER_NAME,
        ),
    ],
)
def test_an_address_a_uri_and_a_user_name_are_identities(
    name: x509.GeneralName, identity: str, kind: NameKind
) -> None:
    found = certificate_identity(certificate(name))
    assert (found.identity, found.kind) == (identity, kind)
    assert NameKind.of_text(identity) is kind


URI = "https://github.com/acme/bench/.github/workflows/publish.yml@refs/heads/main"
NAMES_OF_THE_URI = {
    NameKind.URI: x509.UniformResourceIdentifier(URI),
    NameKind.EMAIL: x509.RFC822Name(URI),
    NameKind.USER_NAME: x509.OtherName(x509.ObjectIdentifier(USERNAME), utf8_string(URI)),
}
RULES = {
    "identity": f"identity: {URI}",
    "workflow": "workflow: {build_trigger: push, source_repository_uri: 'https://a.example'}",
}
CLAIMED = [
    (ISSUER_V2, utf8_string(ISSUER)),
    ("1.3.6.1.4.1.57264.1.12", utf8_string("https://a.example")),
    ("1.3.6.1.4.1.57264.1.20", utf8_string("push")),
]


@pytest.mark.parametrize("kind", NameKind)
@pytest.mark.parametrize("rule", RULES)
def test_the_text_of_an_identity_as_another_kind_of_name_is_somebody_else(
    kind: NameKind, rule: str
) -> None:
    """Only an authority that misissues makes such a certificate, and stock takes it."""
    policy = parse_policy(
        f"""
        version: 1
        signers:
        - organisation: acme
          suites: ["*"]
          issuer: {ISSUER}
          valid_from: 2020-01-01T00:00:00Z
          {RULES[rule]}
        """.encode(),
        where="the test",
    )
    signer = certificate_identity(certificate(NAMES_OF_THE_URI[kind], extensions=CLAIMED))
    refusal = policy.signer_refusal(
        organisation="acme", suite_id="s", signer=signer, signed_at=[datetime.now(UTC)]
    )
    # The monitor of the logs wants to hear of all of them.
    assert policy.signers[0].names(signer)
    assert (refusal is None) == (kind is NameKind.URI), refusal
    if refusal is not None:
        assert f"as a{'n' * (kind is NameKind.EMAIL)} {kind.value}" in refusal
        assert "allows it as a URI only" in refusal


@pytest.mark.parametrize(
    "names",
    [
        [SOMEBODY, x509.RFC822Name("other@example.org")],
        [SOMEBODY, x509.UniformResourceIdentifier("https://example.org")],
        [SOMEBODY, x509.DNSName("example.org")],
        [x509.DNSName("example.org")],
        [x509.OtherName(x509.ObjectIdentifier(ISSUER_V1), utf8_string("alice"))],
    ],
)
def test_two_names_and_names_of_another_kind_are_refused(names: list[x509.GeneralName]) -> None:
    with pytest.raises(ValueError, match="must name one identity"):
        certificate_identity(certificate(*names))


def test_a_name_of_another_kind_is_named_for_what_it_is() -> None:
    with pytest.raises(ValueError, match=r"by an e-mail address, a URI or a user name.*DNS"):
        certificate_identity(certificate(x509.DNSName("example.org")))


def test_a_certificate_without_names_is_refused() -> None:
    with pytest.raises(x509.ExtensionNotFound):
        certificate_identity(certificate())
