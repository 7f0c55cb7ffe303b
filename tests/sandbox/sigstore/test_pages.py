from __future__ import annotations

import base64
import hashlib
import html

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inferencebench_pipeline.sandbox.sigstore.names import DEFAULT_IDENTITY, Addresses
from tests.sandbox.sigstore.serving import Client

BANNER = "Sandbox on loopback: proves nothing to anyone else."


@pytest.mark.parametrize("version", [1, 2])
def test_an_entrys_page_shows_who_signed_what_and_the_proof(client: Client, version: int) -> None:
    signer = client.signer(version)
    signer.sign_artifact(b"first")
    bundle = signer.sign_artifact(b"second")
    answer = requests.get(f"{client.base_url}/log/v{version}/1", timeout=10)
    page = html.unescape(answer.text)
    proof = bundle.log_entry._inner.inclusion_proof
    assert answer.headers["content-type"].startswith("text/html")
    assert BANNER in page
    assert DEFAULT_IDENTITY in page
    assert hashlib.sha256(b"second").hexdigest() in page
    assert proof.root_hash.hex() in page
    assert all(one.hex() in page for one in proof.hashes)
    assert f"rekor-v{version}.inferencebench.sandbox" in page


def test_the_first_page_links_the_entries_of_both_logs(client: Client) -> None:
    assert "Nothing logged yet" in requests.get(client.base_url, timeout=10).text
    for version in (1, 2):
        client.signer(version).sign_artifact(b"x")
    page = requests.get(client.base_url, timeout=10).text
    assert '"/log/v1/0"' in page
    assert '"/log/v2/0"' in page


@pytest.mark.parametrize("path", ["/log/v2/0", "/log/v3/0", "/log/v1/-1", "/log/v1/x"])
def test_an_entry_that_does_not_exist_has_no_page(client: Client, path: str) -> None:
    assert requests.get(client.base_url + path, timeout=10).status_code == 404


def test_an_entry_by_a_bare_key_has_a_page_without_a_signer(client: Client) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signature = key.sign(b"x", ec.ECDSA(hashes.SHA256()))
    digest = {"algorithm": "sha256", "value": hashlib.sha256(b"x").hexdigest()}
    spec = {
        "data": {"hash": digest},
        "signature": {
            "content": base64.b64encode(signature).decode(),
            "publicKey": {"content": base64.b64encode(pem).decode()},
        },
    }
    answer = requests.post(
        f"{Addresses(client.base_url).rekor_v1}/api/v1/log/entries",
        json={"kind": "hashedrekord", "apiVersion": "0.0.1", "spec": spec},
        timeout=10,
    )
    assert answer.status_code == 201
    page = requests.get(f"{client.base_url}/log/v1/0", timeout=10)
    assert page.status_code == 200
    assert "Signed by" not in page.text


def test_a_page_may_load_nothing_and_run_nothing(client: Client) -> None:
    headers = requests.get(client.base_url, timeout=10).headers
    assert headers["content-security-policy"].startswith("default-src 'none'")
