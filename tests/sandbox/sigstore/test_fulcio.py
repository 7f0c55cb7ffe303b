from __future__ import annotations

import base64
import logging
import time

import jwt
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from sigstore.sign import SigningContext

from inferencebench_pipeline.sandbox.sigstore.keys import load_or_create_keys
from inferencebench_pipeline.sandbox.sigstore.names import AUDIENCE, DEFAULT_IDENTITY, ISSUER
from inferencebench_pipeline.sandbox.sigstore.oidc import OidcIssuer, identity_named
from tests.sandbox.sigstore.serving import Client

SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _csr(key: SigningKey | None = None) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def _ask(client: Client, token: str | None, csr: bytes | None = None) -> requests.Response:
    pem = _csr().public_bytes(Encoding.PEM) if csr is None else csr
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return requests.post(
        f"{client.base_url}/api/v2/signingCert",
        json={"certificateSigningRequest": base64.b64encode(pem).decode()},
        headers=headers,
        timeout=10,
    )


def _issuer(client: Client) -> OidcIssuer:
    return OidcIssuer(load_or_create_keys(client.state / "sigstore/keys").oidc)


def _refusal(answer: requests.Response) -> str:
    body = answer.json()
    assert set(body) == {"code", "message", "details"}
    return f"{answer.status_code} {body['code']} {body['message']}"


def test_the_chain_leads_to_the_trusted_root_and_lasts_ten_minutes(client: Client) -> None:
    answer = _ask(client, client.token())
    chain = answer.json()["signedCertificateEmbeddedSct"]["chain"]["certificates"]
    leaf, intermediate, root = (x509.load_pem_x509_certificate(pem.encode()) for pem in chain)
    leaf.verify_directly_issued_by(intermediate)
    intermediate.verify_directly_issued_by(root)
    assert [intermediate, root] == client.trust_config.trusted_root.get_fulcio_certs()
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() == 600


def test_the_trust_bundle_is_the_trusted_chain(client: Client) -> None:
    bundle = SigningContext.from_trust_config(client.trust_config)._fulcio.trust_bundle.get()
    assert bundle.trust_bundle == [client.trust_config.trusted_root.get_fulcio_certs()]


def test_an_expired_token_is_refused(client: Client) -> None:
    stale = _issuer(client).issue(identity_named(DEFAULT_IDENTITY), issued_at=time.time() - 601)
    assert _refusal(_ask(client, stale)).startswith(
        "400 3 There was an error processing the identity token: the token has expired"
    )


def test_a_token_signed_by_anyone_else_is_refused(client: Client) -> None:
    foreign = OidcIssuer(ec.generate_private_key(ec.SECP256R1()))
    answer = _ask(client, foreign.issue(identity_named(DEFAULT_IDENTITY)))
    assert "not signed by this issuer" in _refusal(answer)


def test_a_token_for_another_audience_is_refused(client: Client) -> None:
    assert "audience is not 'sigstore'" in _refusal(_ask(client, client.token(audience="pypi")))


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_token_under_a_weaker_algorithm_is_refused(client: Client, algorithm: str) -> None:
    now = int(time.time())
    claims = {"iss": ISSUER, "sub": DEFAULT_IDENTITY, "aud": AUDIENCE, "iat": now, "exp": now + 60}
    key = "" if algorithm == "none" else "a secret of at least thirty-two bytes"
    answer = _ask(client, jwt.encode(claims, key, algorithm))
    assert "malformed" in _refusal(answer)


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"iss": "https://elsewhere.example"}, "issuer is not"),
        ({"sub": "not an identity"}, "must be an ASCII e-mail address"),
        ({"sub": "pipeline\u00e9@example.org"}, "must be an ASCII e-mail address"),
        ({"exp": None}, "malformed, or lacks a claim"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(
    client: Client, claims: dict[str, object], reason: str
) -> None:
    key = load_or_create_keys(client.state / "sigstore/keys").oidc
    now = int(time.time())
    good = {"iss": ISSUER, "sub": DEFAULT_IDENTITY, "aud": AUDIENCE, "iat": now, "exp": now + 60}
    wrong = {name: value for name, value in {**good, **claims}.items() if value is not None}
    assert reason in _refusal(_ask(client, jwt.encode(wrong, key, "ES256")))


def test_no_token_is_refused(client: Client) -> None:
    assert _refusal(_ask(client, None)).startswith("401 16 ")


def test_a_csr_not_signed_by_its_own_key_is_refused(client: Client) -> None:
    honest, other = _csr(), _csr()
    forged = honest.public_bytes(Encoding.DER).replace(_point(honest), _point(other))
    pem = x509.load_der_x509_csr(forged).public_bytes(Encoding.PEM)
    answer = _ask(client, client.token(), pem)
    assert _refusal(answer) == ("400 3 The signature supplied in the request could not be verified")


def _point(csr: x509.CertificateSigningRequest) -> bytes:
    key = csr.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    numbers = key.public_numbers()
    return b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")


@pytest.mark.parametrize("csr", [b"", b"garbage", b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n"])
def test_a_csr_that_is_none_is_refused(client: Client, csr: bytes) -> None:
    assert "could not be parsed" in _refusal(_ask(client, client.token(), csr))


def test_a_key_of_another_kind_is_refused(client: Client) -> None:
    for key in (
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
    ):
        pem = _csr(key).public_bytes(Encoding.PEM)
        assert "not an ECDSA P-256 key" in _refusal(_ask(client, client.token(), pem))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "400 3 request body is not JSON"),
        (b"[" * 50_000, "400 3 request body is not JSON"),
        (b"{}", "certificateSigningRequest: Field required"),
        (b'{"certificateSigningRequest": "***"}', "certificateSigningRequest is not base64"),
        (b'{"certificateSigningRequest": 7}', "certificateSigningRequest: Input should be"),
        (b" " * 70_000, "413 8 request body is longer than 65536 bytes"),
    ],
)
def test_a_malformed_request_is_told_which_field_is_wrong(
    client: Client, body: bytes, reason: str
) -> None:
    answer = requests.post(
        f"{client.base_url}/api/v2/signingCert",
        data=body,
        headers={"Authorization": f"Bearer {client.token()}"},
        timeout=10,
    )
    assert reason in _refusal(answer)


def test_no_refusal_and_no_server_log_repeats_the_token(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = client.token(audience="pypi")
    signature = token.rsplit(".", 1)[1]
    for answer in (_ask(client, token), _ask(client, token + "x"), _ask(client, "x" + token)):
        assert answer.status_code == 400
        assert signature[:16] not in answer.text
    assert signature[:16] not in caplog.text
