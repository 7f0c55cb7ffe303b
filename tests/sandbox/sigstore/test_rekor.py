from __future__ import annotations

import base64
import hashlib
import json
import struct

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from sigstore import dsse
from sigstore._internal.rekor import _hashedrekord_from_parts
from sigstore._internal.rekor.client import RekorClient
from sigstore._internal.rekor.client_v2 import RekorV2Client
from sigstore.models import Bundle

from inferencebench_pipeline.sandbox.sigstore.names import Addresses
from tests.sandbox.sigstore.proofs import (
    consistency_holds,
    hash_leaf,
    hash_node,
    inclusion_holds,
    tree_hash,
)
from tests.sandbox.sigstore.serving import Client


def _get(url: str, **query: object) -> requests.Response:
    return requests.get(url, params=query, timeout=10)  # type: ignore[arg-type]


def _sign_many(client: Client, version: int, count: int) -> list[Bundle]:
    signer = client.signer(version)
    return [signer.sign_artifact(b"artifact %d" % number) for number in range(count)]


def _bodies(bundles: list[Bundle]) -> list[bytes]:
    return [bundle.log_entry._inner.canonicalized_body for bundle in bundles]


def _checkpoint(text: str) -> tuple[str, int, bytes]:
    origin, size, root = text.split("\n")[:3]
    return origin, int(size), base64.b64decode(root)


class TestV1:
    @pytest.fixture
    def url(self, client: Client) -> str:
        return f"{Addresses(client.base_url).rekor_v1}/api/v1"

    def test_every_two_states_of_the_log_are_proven_consistent(
        self, client: Client, url: str
    ) -> None:
        bodies = _bodies(_sign_many(client, 1, 9))
        for last in range(1, 10):
            for first in range(1, last + 1):
                proof = _get(f"{url}/log/proof", firstSize=first, lastSize=last).json()
                path = [bytes.fromhex(one) for one in proof["hashes"]]
                roots = tree_hash(bodies[:first]), tree_hash(bodies[:last])
                assert bytes.fromhex(proof["rootHash"]) == roots[1]
                assert consistency_holds(first, last, path, *roots)

    def test_an_entry_is_found_by_index_uuid_and_hash(self, client: Client, url: str) -> None:
        _sign_many(client, 1, 3)
        digest = hashlib.sha256(b"artifact 1").hexdigest()
        (uuid,) = requests.post(
            f"{url}/index/retrieve", json={"hash": f"sha256:{digest}"}, timeout=10
        ).json()
        by_index = _get(f"{url}/log/entries", logIndex=1).json()
        by_uuid = _get(f"{url}/log/entries/{uuid}").json()
        by_leaf = _get(f"{url}/log/entries/{uuid[-64:]}").json()
        assert list(by_index) == list(by_uuid) == list(by_leaf) == [uuid]
        entry = by_uuid[uuid]
        assert (
            json.loads(base64.b64decode(entry["body"]))["spec"]["data"]["hash"]["value"] == digest
        )
        assert entry["logIndex"] == 1

    def test_the_real_client_recognises_what_it_logged_before_a_crash(
        self, client: Client, url: str
    ) -> None:
        bundle = client.signer(1).sign_artifact(b"logged, then lost")
        rekor = RekorClient(Addresses(client.base_url).rekor_v1)
        proposal = _hashedrekord_from_parts(
            bundle.signing_certificate,
            bundle.signature,
            _hashed(b"logged, then lost"),
        )
        found = rekor.log.entries.retrieve.post(proposal)
        assert found is not None
        inner = found._inner
        assert inner.canonicalized_body == bundle.log_entry._inner.canonicalized_body
        root = client.trust_config.trusted_root
        found._verify(root.rekor_keyring("verify"))  # type: ignore[arg-type]

    def test_a_dsse_entry_is_found_by_its_payload(self, client: Client, url: str) -> None:
        digest = hashlib.sha256(b"x").hexdigest()
        statement = (
            dsse.StatementBuilder()
            .subjects([dsse.Subject(name="x", digest={"sha256": digest})])
            .predicate_type("https://example.org/p")
            .predicate({})
            .build()
        )
        client.signer(1).sign_dsse(statement)
        wanted = hashlib.sha256(statement._contents).hexdigest()
        answer = requests.post(f"{url}/index/retrieve", json={"hash": wanted}, timeout=10)
        assert len(answer.json()) == 1

    def test_sending_an_entry_again_names_the_first_and_logs_nothing(
        self, client: Client, url: str
    ) -> None:
        bundle = client.signer(1).sign_artifact(b"once")
        body = json.loads(bundle.log_entry._inner.canonicalized_body)
        answer = requests.post(f"{url}/log/entries", json=body, timeout=10)
        assert answer.status_code == 409
        found = _get(f"{Addresses(client.base_url).rekor_v1}{answer.headers['Location']}").json()
        assert next(iter(found)) in answer.json()["message"]
        assert _get(f"{url}/log").json()["treeSize"] == 1

    def test_a_signature_by_another_key_is_refused(self, client: Client, url: str) -> None:
        bundle = client.signer(1).sign_artifact(b"x")
        body = json.loads(bundle.log_entry._inner.canonicalized_body)
        other = ec.generate_private_key(ec.SECP256R1()).sign(b"x", ec.ECDSA(hashes.SHA256()))
        body["spec"]["signature"]["content"] = base64.b64encode(other).decode()
        answer = requests.post(f"{url}/log/entries", json=body, timeout=10)
        assert answer.status_code == 400
        assert "signature does not verify" in answer.json()["message"]

    def test_a_dsse_envelope_changed_after_signing_is_refused(
        self, client: Client, url: str
    ) -> None:
        certificate = client.signer(1).sign_artifact(b"x").signing_certificate
        envelope = {
            "payload": base64.b64encode(b"{}").decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": base64.b64encode(b"0" * 70).decode(), "keyid": ""}],
        }
        pem = base64.b64encode(certificate.public_bytes(Encoding.PEM)).decode()
        content = {"envelope": json.dumps(envelope), "verifiers": [pem]}
        body = {"kind": "dsse", "apiVersion": "0.0.1", "spec": {"proposedContent": content}}
        answer = requests.post(f"{url}/log/entries", json=body, timeout=10)
        assert answer.status_code == 400
        assert "signature does not verify" in answer.json()["message"]

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ({"kind": "intoto"}, "unsupported entry kind 'intoto'"),
            ({"kind": "hashedrekord", "apiVersion": "0.0.1"}, "spec: Field required"),
            ({"kind": "hashedrekord", "apiVersion": "9"}, "apiVersion: Input should be '0.0.1'"),
            ([], "body: Input should be an object"),
        ],
    )
    def test_a_malformed_entry_is_told_which_field_is_wrong(
        self, url: str, body: object, reason: str
    ) -> None:
        answer = requests.post(f"{url}/log/entries", json=body, timeout=10)
        assert answer.status_code == answer.json()["code"] == 400
        assert reason in answer.json()["message"]

    @pytest.mark.parametrize(
        ("path", "status"),
        [
            ("/log/entries?logIndex=0", 404),
            ("/log/entries?logIndex=-1", 400),
            ("/log/entries", 400),
            ("/log/entries/" + "0" * 64, 404),
            ("/log/entries/" + "0" * 80, 400),
            ("/log/entries/zz", 400),
            ("/log/proof?firstSize=1&lastSize=5", 400),
            ("/log/proof?firstSize=0&lastSize=0", 400),
            ("/log/proof?lastSize=x", 400),
        ],
    )
    def test_what_is_not_in_the_log_is_not_made_up(self, url: str, path: str, status: int) -> None:
        answer = _get(url + path)
        assert (answer.status_code, answer.json()["code"]) == (status, status)

    def test_the_tree_head_is_a_checkpoint_under_the_published_key(
        self, client: Client, url: str
    ) -> None:
        _sign_many(client, 1, 2)
        info = _get(f"{url}/log").json()
        origin, size, root = _checkpoint(info["signedTreeHead"])
        assert origin == f"rekor-v1.inferencebench.sandbox - {info['treeID']}"
        assert (size, root.hex()) == (info["treeSize"], info["rootHash"]) == (2, root.hex())
        assert "BEGIN PUBLIC KEY" in _get(f"{url}/log/publicKey").text


class TestV2:
    @pytest.fixture
    def url(self, client: Client) -> str:
        return Addresses(client.base_url).rekor_v2

    def test_the_whole_log_can_be_rebuilt_from_its_tiles(self, client: Client, url: str) -> None:
        bodies = _bodies(_sign_many(client, 2, 7))
        origin, size, root = _checkpoint(_get(f"{url}/checkpoint").text)
        assert (origin, size) == ("rekor-v2.inferencebench.sandbox", 7)
        bundle = _get(f"{url}/tile/entries/000.p/7").content
        entries = []
        while bundle:
            (length,) = struct.unpack(">H", bundle[:2])
            entries.append(bundle[2 : 2 + length])
            bundle = bundle[2 + length :]
        assert entries == bodies
        leaves = _get(f"{url}/api/v2/tile/0/000.p/7").content
        assert leaves == b"".join(hash_leaf(body) for body in bodies)
        assert tree_hash(entries) == root

    def test_a_checkpoint_is_signed_by_the_key_in_the_trusted_root(
        self, client: Client, url: str
    ) -> None:
        _sign_many(client, 2, 1)
        text, signature = _get(f"{url}/checkpoint").text.split("\n\n")
        _dash, name, encoded = signature.split()
        log = client.trust_config.trusted_root._inner.tlogs[1]
        raw = base64.b64decode(encoded)
        key = load_der_public_key(log.public_key.raw_bytes)
        key.verify(raw[4:], text.encode() + b"\n")  # type: ignore[union-attr, call-arg]
        expected = hashlib.sha256(name.encode() + b"\n\x01" + key.public_bytes_raw())  # type: ignore[union-attr]
        assert raw[:4] == log.log_id.key_id[:4] == expected.digest()[:4]
        assert name in log.base_url

    def test_each_proof_leads_to_the_checkpoint_beside_it(self, client: Client) -> None:
        for bundle in _sign_many(client, 2, 6):
            inner = bundle.log_entry._inner
            proof = inner.inclusion_proof
            _, size, root = _checkpoint(proof.checkpoint.envelope)
            assert (size, root) == (proof.tree_size, proof.root_hash)
            digest = hash_leaf(inner.canonicalized_body)
            assert inclusion_holds(digest, inner.log_index, size, proof.hashes, root)

    @pytest.mark.parametrize(
        "path",
        [
            "/tile/0/000",
            "/tile/0/000.p/3",
            "/tile/0/000.p/0",
            "/tile/0/000.p/256",
            "/tile/1/000.p/1",
            "/tile/9/000",
            "/tile/0/0",
            "/tile/entries/001.p/1",
            "/tile/0/x000/000.p/1/..",
        ],
    )
    def test_a_tile_that_does_not_exist_is_not_found(
        self, client: Client, url: str, path: str
    ) -> None:
        _sign_many(client, 2, 2)
        assert _get(url + path).status_code == 404

    def test_sending_an_entry_again_is_a_conflict(self, client: Client, url: str) -> None:
        bundle = client.signer(2).sign_artifact(b"once")
        request = RekorV2Client(url)._build_hashed_rekord_request(
            _hashed(b"once"), bundle.signature, bundle.signing_certificate
        )
        answer = requests.post(f"{url}/api/v2/log/entries", json=request, timeout=10)
        assert answer.status_code == 409
        assert answer.json()["code"] == 6
        assert "index 0" in answer.json()["message"]

    def test_a_signature_by_another_key_is_refused(self, client: Client, url: str) -> None:
        bundle = client.signer(2).sign_artifact(b"x")
        digest = hashlib.sha256(b"x").digest()
        forged = ec.generate_private_key(ec.SECP256R1()).sign(
            digest, ec.ECDSA(Prehashed(hashes.SHA256()))
        )
        request = RekorV2Client(url)._build_hashed_rekord_request(
            _hashed(b"x"), forged, bundle.signing_certificate
        )
        answer = requests.post(f"{url}/api/v2/log/entries", json=request, timeout=10)
        assert (answer.status_code, answer.json()["code"]) == (400, 3)
        assert "signature does not verify" in answer.json()["message"]
        assert _checkpoint(_get(f"{url}/checkpoint").text)[1] == 1


def test_an_empty_log_has_the_hash_of_nothing(client: Client) -> None:
    _, size, root = _checkpoint(_get(f"{Addresses(client.base_url).rekor_v2}/checkpoint").text)
    assert (size, root) == (0, hashlib.sha256(b"").digest())


def test_a_two_leaf_tree_is_the_node_over_both(client: Client) -> None:
    bodies = _bodies(_sign_many(client, 2, 2))
    _, _, root = _checkpoint(_get(f"{Addresses(client.base_url).rekor_v2}/checkpoint").text)
    assert root == hash_node(hash_leaf(bodies[0]), hash_leaf(bodies[1]))


def _hashed(data: bytes):  # type: ignore[no-untyped-def]
    from sigstore._utils import sha256_digest

    return sha256_digest(data)
