"""Signed envelopes by the thousand: a sandbox's own services, called without HTTP.

Each envelope has its own log entry, inclusion proof and signed checkpoint, made by the code that
serves the sandbox, with its keys; only the network and the wait for the disk are left out. One
certificate serves for some minutes, as it does when a batch is signed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.sandbox.sigstore import der, oidc, rekor_v1, rekor_v2, tsa
from inferencebench_pipeline.sandbox.sigstore.checkpoint import (
    rekor_v1_note_key,
    rekor_v2_note_key,
)
from inferencebench_pipeline.sandbox.sigstore.ct import CertificateLog
from inferencebench_pipeline.sandbox.sigstore.fulcio import CertificateAuthority
from inferencebench_pipeline.sandbox.sigstore.keys import load_or_create_keys
from inferencebench_pipeline.sandbox.sigstore.log import TransparencyLog
from inferencebench_pipeline.sandbox.sigstore.names import (
    DEFAULT_IDENTITY,
    REKOR_V1_ORIGIN,
    REKOR_V2_ORIGIN,
)
from inferencebench_pipeline.sandbox.sigstore.trust_config import (
    keys_folder,
    write_policy,
    write_trust_config,
)
from inferencebench_pipeline.trust.root.trust_root import TrustRoot, load_trust
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy, load_policy
from inferencebench_pipeline.trust.verify.verdict import VerifiedSigner
from inferencebench_pipeline.trust.verify.verifier import verify_envelope
from tests.envelope.measured import measurement_of, traces_bytes

Method = Literal["v1", "v2", "dev-key"]
ORGANISATION = "example-org"
_RENEW_AFTER_S = 300.0
_SHA256 = der.oid("2.16.840.1.101.3.4.2.1")
_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_BASE_URL = "http://127.0.0.1:9"


class _MemoryLog(TransparencyLog):
    """A log nobody waits for: its file is written, but not forced to the disk."""

    def _store(self, line: bytes) -> None:
        os.pwrite(self._file, line, self._end)


@dataclass
class _Certified:
    key: ec.EllipticCurvePrivateKey
    pem: str
    der: bytes
    since: float = field(default_factory=time.monotonic)


class EnvelopeFactory:
    """Makes signed envelopes in a state folder of its own."""

    def __init__(self, state: Path) -> None:
        keys = load_or_create_keys(keys_folder(state))
        self.trust_config = write_trust_config(state, _BASE_URL)
        self.policy_path = write_policy(state, organisation=ORGANISATION)
        issuer = oidc.OidcIssuer(keys.oidc)
        logs = state / "logs"
        ct, v1, v2 = (_MemoryLog(logs / f"{name}.jsonl") for name in ("ct", "v1", "v2"))
        self._logs = (ct, v1, v2)
        self._authority = CertificateAuthority(keys.fulcio, issuer, CertificateLog(keys.ct, ct))
        self._issuer = issuer
        self._v1 = rekor_v1.RekorV1(rekor_v1_note_key(REKOR_V1_ORIGIN, keys.rekor_v1), v1)
        self._v2 = rekor_v2.RekorV2(rekor_v2_note_key(REKOR_V2_ORIGIN, keys.rekor_v2), v2)
        self._clock = tsa.TimestampAuthority(keys.tsa)
        self._dev_key = Ed25519PrivateKey.generate()
        self._certified: _Certified | None = None
        run_id = new_run_id()
        envelope = build_envelope(measurement_of(run_id, traces_bytes(run_id)))
        self._template: dict[str, Any] = json.loads(envelope.model_dump_json())
        # Without traces: an envelope that binds them is not complete without the file.
        self._template["distributions"] = {}
        self._template["signature"] = None

    def close(self) -> None:
        """Release the logs to another process."""
        for log in self._logs:
            log.close()

    @property
    def trust(self) -> TrustRoot:
        return load_trust(self.trust_config)

    @property
    def policy(self) -> IdentityPolicy:
        return load_policy(self.policy_path)

    @property
    def dev_key_pem(self) -> bytes:
        return self._dev_key.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )

    def envelopes(self, count: int, method: Method) -> Iterator[bytes]:
        """Yield ``count`` signed envelopes, each of a run of its own."""
        for number in range(count):
            document = {**self._template, "run_id": new_run_id(), "seed": number}
            # Numbers of its own, so that nothing which is remembered of one record fits the next.
            document["metrics"] = {
                name: value * (1 + number / 1e6) if isinstance(value, float) else value
                for name, value in self._template["metrics"].items()
            }
            body = {name: value for name, value in document.items() if name != "signature"}
            text = json.dumps(body, sort_keys=True, separators=(",", ":"))
            digest = hashlib.sha256(text.encode("ascii")).hexdigest()
            if (
                number == 0
                and content_hash(parse_envelope(json.dumps(document).encode())) != digest
            ):
                raise RuntimeError("the template is not in the writer's normal form")
            document["signature"] = self._signature(digest.encode(), method)
            yield json.dumps(document, indent=2).encode()

    def signer_of(self, data: bytes) -> VerifiedSigner | None:
        """Return who has signed an envelope, as the verifier finds."""
        return verify_envelope(
            data, trust=self.trust, policy=self.policy, organisation=ORGANISATION, traces=None
        ).signer

    def record(self, method: Method) -> tuple[bytes, bytes]:
        """Return one signed envelope that binds traces, and the traces."""
        run_id = new_run_id()
        traces = traces_bytes(run_id)
        envelope = build_envelope(measurement_of(run_id, traces))
        document: dict[str, Any] = json.loads(envelope.model_dump_json())
        document["signature"] = self._signature(content_hash(envelope).encode(), method)
        return json.dumps(document, indent=2).encode(), traces

    def signed_statement(self, statement: bytes) -> bytes:
        """Return the DSSE bundle of an in-toto statement, in the v2 log."""
        signer = self._signer()
        kind = "application/vnd.in-toto+json"
        pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(statement), statement)
        signature = signer.key.sign(pae, ec.ECDSA(hashes.SHA256()))
        bundle = {
            "mediaType": _BUNDLE,
            "verificationMaterial": self._v2_material(
                signer, hashlib.sha256(pae).digest(), signature
            ),
            "dsseEnvelope": {
                "payload": _base64(statement),
                "payloadType": kind,
                "signatures": [{"sig": _base64(signature)}],
            },
        }
        return json.dumps(bundle).encode()

    def _v2_material(self, signer: _Certified, digest: bytes, signature: bytes) -> dict[str, Any]:
        stamp = {"signedTimestamp": _base64(self._timestamp(signature))}
        return {
            "certificate": {"rawBytes": _base64(signer.der)},
            "timestampVerificationData": {"rfc3161Timestamps": [stamp]},
            "tlogEntries": [self._v2_entry(signer, digest, signature)],
        }

    def _signature(self, message: bytes, method: Method) -> dict[str, Any]:
        if method == "dev-key":
            return {
                "method": "dev-key",
                "certificate": self.dev_key_pem.decode().strip(),
                "bundle": _base64(self._dev_key.sign(message)),
                "rekor_log_index": -1,
            }
        signer = self._signer()
        signature = signer.key.sign(message, ec.ECDSA(hashes.SHA256()))
        digest = hashlib.sha256(message).digest()
        if method == "v1":
            entry = self._v1_entry(signer, digest, signature)
            material: dict[str, Any] = {
                "certificate": {"rawBytes": _base64(signer.der)},
                "tlogEntries": [entry],
            }
        else:
            material = self._v2_material(signer, digest, signature)
            (entry,) = material["tlogEntries"]
        bundle = {
            "mediaType": _BUNDLE,
            "verificationMaterial": material,
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": _base64(digest)},
                "signature": _base64(signature),
            },
        }
        return {
            "method": "sigstore-cosign",
            "certificate": signer.pem,
            "rekor_log_index": int(entry["logIndex"]),
            "bundle": _base64(json.dumps(bundle).encode()),
        }

    def _signer(self) -> _Certified:
        known = self._certified
        if known is None or time.monotonic() - known.since > _RENEW_AFTER_S:
            key = ec.generate_private_key(ec.SECP256R1())
            request = (
                x509.CertificateSigningRequestBuilder()
                .subject_name(x509.Name([]))
                .sign(key, hashes.SHA256())
                .public_bytes(Encoding.PEM)
            )
            token = self._issuer.issue(oidc.identity_named(DEFAULT_IDENTITY))
            pem = self._authority.issue(token, request)[0]
            certificate = x509.load_pem_x509_certificate(pem.encode())
            known = _Certified(key, pem, certificate.public_bytes(Encoding.DER))
            self._certified = known
        return known

    def _v1_entry(self, signer: _Certified, digest: bytes, signature: bytes) -> dict[str, Any]:
        proposal = {
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": {"hash": {"algorithm": "sha256", "value": digest.hex()}},
                "signature": {
                    "content": _base64(signature),
                    "publicKey": {"content": _base64(signer.pem.encode())},
                },
            },
        }
        uuid, answer = self._v1.add(json.dumps(proposal).encode())
        entry: Any = answer[uuid]
        proof = entry["verification"]["inclusionProof"]
        return {
            "logIndex": str(entry["logIndex"]),
            "logId": {"keyId": _base64(bytes.fromhex(entry["logID"]))},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
            "integratedTime": str(entry["integratedTime"]),
            "inclusionPromise": {
                "signedEntryTimestamp": entry["verification"]["signedEntryTimestamp"]
            },
            "inclusionProof": {
                "logIndex": str(proof["logIndex"]),
                "rootHash": _base64(bytes.fromhex(proof["rootHash"])),
                "treeSize": str(proof["treeSize"]),
                "hashes": [_base64(bytes.fromhex(one)) for one in proof["hashes"]],
                "checkpoint": {"envelope": proof["checkpoint"]},
            },
            "canonicalizedBody": entry["body"],
        }

    def _v2_entry(self, signer: _Certified, digest: bytes, signature: bytes) -> dict[str, Any]:
        request = {
            "hashedRekordRequestV002": {
                "digest": _base64(digest),
                "signature": {
                    "content": _base64(signature),
                    "verifier": {
                        "x509Certificate": {"rawBytes": _base64(signer.der)},
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    },
                },
            }
        }
        return dict(self._v2.add(rekor_v2.CreateEntryRequest.model_validate(request)))

    def _timestamp(self, signature: bytes) -> bytes:
        imprint = der.tlv(
            der.SEQUENCE,
            der.tlv(der.SEQUENCE, _SHA256),
            der.tlv(der.OCTET_STRING, hashlib.sha256(signature).digest()),
        )
        return self._clock.answer(tsa.TimestampRequest(imprint, b"", wants_certificate=True))


def _require_normal_form(document: dict[str, Any], digest: str) -> None:
    if content_hash(parse_envelope(json.dumps(document).encode())) != digest:
        raise RuntimeError("the template is not in the writer's normal form")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
