"""The signer of a log's entry of any kind; nothing in an entry makes the reader fail."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.sandbox.sigstore.names import DEFAULT_IDENTITY
from inferencebench_pipeline.trust.verify.entry_signer import SignedEntry, signed_entry
from tests.envelope.measured import measurement_of, traces_bytes
from tests.trust.conftest import World


@pytest.fixture(scope="module")
def certificate(running_world: World) -> bytes:
    """The DER of a certificate that names an identity."""
    run_id = new_run_id()
    envelope = build_envelope(measurement_of(run_id, traces_bytes(run_id)))
    block = running_world.signer().sign(envelope).signature
    assert block is not None
    bundle = json.loads(base64.b64decode(block.bundle))
    return base64.b64decode(bundle["verificationMaterial"]["certificate"]["rawBytes"])


def text_of(certificate: bytes) -> str:
    return base64.b64encode(certificate).decode()


def pem_of(certificate: bytes) -> str:
    lines = ["-----BEGIN CERTIFICATE-----", text_of(certificate), "-----END CERTIFICATE-----", ""]
    return base64.b64encode("\n".join(lines).encode()).decode()


def read(document: Any) -> SignedEntry | None:
    return signed_entry(7, json.dumps(document).encode())


DIGEST = "ab" * 32
DIGEST_TEXT = base64.b64encode(bytes.fromhex(DIGEST)).decode()
SPECS = {
    "hashedrekord of v1": ({"data": {"hash": {"value": DIGEST}}}, DIGEST),
    "dsse of v1": ({"payloadHash": {"value": DIGEST}}, DIGEST),
    "hashedrekord of v2": ({"hashedRekordV002": {"data": {"digest": DIGEST_TEXT}}}, DIGEST),
    "a digest that is no base64": ({"hashedRekordV002": {"data": {"digest": "é"}}}, None),
    "another kind": ({"artifact": "anything"}, None),
    "no object": (["anything"], None),
}


@pytest.mark.parametrize("spec", SPECS, ids=lambda name: name.replace(" ", "-"))
@pytest.mark.parametrize("written", [text_of, pem_of], ids=["der", "pem"])
def test_the_signer_and_the_digest_are_found_in_every_kind(
    certificate: bytes, spec: str, written: Any
) -> None:
    content, digest = SPECS[spec]
    document = {"kind": "any", "apiVersion": "0.0.9", "spec": content, "in": [written(certificate)]}

    found = read(document)

    assert found is not None
    assert (found.index, found.kind, found.sha256) == (7, "any/0.0.9", digest)
    assert [signer.identity for signer in found.signers] == [DEFAULT_IDENTITY]


def nested(text: str, levels: int) -> Any:
    return text if levels == 0 else {"in": nested(text, levels - 1)}


def test_a_certificate_is_looked_for_at_a_bounded_depth(certificate: bytes) -> None:
    text = text_of(certificate)

    assert read(nested(text, 16)) is not None
    assert read(nested(text, 17)) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"no": "certificate"}',
        b"MII and no JSON",
        b'["MII"]',
        b'{"short": "MII", "number": 1}',
        json.dumps({"damaged": "MII" + "A" * 80}).encode(),
        json.dumps({"no base64": "MII" + "!" * 80}).encode(),
        json.dumps({"in the middle": "it is MII" + "A" * 80}).encode(),
        json.dumps({"pem": pem_of(b"no certificate" * 8)}).encode(),
    ],
)
def test_what_names_nobody_is_passed_over(body: bytes) -> None:
    assert signed_entry(1, body) is None


def test_a_list_with_a_certificate_is_no_entry(certificate: bytes) -> None:
    assert read([text_of(certificate)]) is None
