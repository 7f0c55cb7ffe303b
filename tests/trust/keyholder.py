"""Somebody who holds every key of the sandbox's Sigstore, and can lie with each of them.

A part that nobody asks for is an honest one: a record without any lie in it verifies. Logs are kept
in files of their own, so that the services of the sandbox notice nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import rfc8785
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from inferencebench_pipeline.envelope import build_envelope, content_hash
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.sandbox.sigstore import der
from inferencebench_pipeline.sandbox.sigstore.checkpoint import rekor_v1_note_key, rekor_v2_note_key
from inferencebench_pipeline.sandbox.sigstore.ct import CertificateLog
from inferencebench_pipeline.sandbox.sigstore.keys import Authority, load_or_create_keys
from inferencebench_pipeline.sandbox.sigstore.log import TransparencyLog
from inferencebench_pipeline.sandbox.sigstore.names import (
    DEFAULT_IDENTITY,
    ISSUER,
    REKOR_V1_ORIGIN,
    REKOR_V2_ORIGIN,
)
from inferencebench_pipeline.sandbox.sigstore.rekor_v1 import RekorV1
from inferencebench_pipeline.sandbox.sigstore.rekor_v2 import RekorV2
from inferencebench_pipeline.sandbox.sigstore.tsa import TimestampAuthority, TimestampRequest
from inferencebench_pipeline.trust.verify.bundle import INTOTO_PAYLOAD_TYPE
from tests.envelope.measured import measurement_of, traces_bytes
from tests.trust.records import Signed, encode

Document = dict[str, Any]
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Extensions = Sequence[tuple[str, bytes]]
MINUTE: Final = timedelta(minutes=1)
BUNDLE_V3: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLE_V1: Final = "application/vnd.dev.sigstore.bundle+json;version=0.1"
_FULCIO: Final = "1.3.6.1.4.1.57264.1."
_SCTS: Final = "1.3.6.1.4.1.11129.2.4.2"
_OTHER_USAGES: Final = (
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)
_KEY_DETAILS: Final = {
    "secp256r1": "PKIX_ECDSA_P256_SHA_256",
    "secp384r1": "PKIX_ECDSA_P384_SHA_384",
    "secp521r1": "PKIX_ECDSA_P521_SHA_512",
}
_HASHES: Final = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def issuer_v1(issuer: str) -> tuple[str, bytes]:
    """Fulcio's first extension: the issuer as raw bytes."""
    return f"{_FULCIO}1", issuer.encode()


def claim(number: int, text: str) -> tuple[str, bytes]:
    """One of Fulcio's later extensions, a DER UTF8String; number 8 is the issuer."""
    return f"{_FULCIO}{number}", der.tlv(der.UTF8_STRING, text.encode())


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pae(payload: bytes, kind: str = INTOTO_PAYLOAD_TYPE) -> bytes:
    """DSSE's pre-authentication encoding, which is what its signatures are over."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


@dataclass(frozen=True)
class Person:
    """A key, and a certificate that says whose it is."""

    key: Key
    certificate: x509.Certificate

    def sign(self, message: bytes) -> bytes:
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(message)
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(message, PKCS1v15(), hashes.SHA256())
        return self.key.sign(message, ec.ECDSA(_HASHES[self.key.curve.name]))

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def dsse(payload: bytes, *signatures: bytes, kind: str = INTOTO_PAYLOAD_TYPE) -> Document:
    """The content of a bundle that carries ``payload``."""
    signed = [{"sig": b64(signature)} for signature in signatures]
    return {
        "dsseEnvelope": {"payload": b64(payload), "payloadType": kind, "signatures": signed},
    }


def message_signature(message: bytes, signature: bytes) -> Document:
    """The content of a bundle that signs bytes which it does not carry."""
    digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(message).digest())}
    return {"messageSignature": {"messageDigest": digest, "signature": b64(signature)}}


class Keyholder:
    """Makes certificates, timestamps, log entries and records, true ones or others."""

    def __init__(self, keys: Path, folder: Path, version: int, payload: bytes = b"{}") -> None:
        """Take the keys in a folder; what is logged goes into files of another one.

        Args:
            keys: the folder of the sandbox's keys.
            folder: a folder for the logs.
            version: of Rekor, 1 or 2.
            payload: a statement to be signed.
        """
        self.version = version
        self.payload = payload
        self.keys = load_or_create_keys(keys)
        self._log = TransparencyLog(folder / f"rekor-v{version}.jsonl")
        self._ct = CertificateLog(self.keys.ct, TransparencyLog(folder / f"ct-{version}.jsonl"))
        run_id = new_run_id()
        self.traces = traces_bytes(run_id)
        self.envelope = build_envelope(measurement_of(run_id, self.traces))
        self.message = content_hash(self.envelope).encode()

    # Certificates

    def person(
        self,
        *names: x509.GeneralName,
        extensions: Extensions | None = None,
        key: Key | None = None,
        starts: datetime | None = None,
        logged: bool = True,
    ) -> Person:
        """Return somebody with a certificate of ten minutes, true or misissued."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        starts = starts or datetime.now(UTC) - MINUTE
        authority = self.keys.fulcio
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(authority.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(starts)
            .not_valid_after(starts + 10 * MINUTE)
            .add_extension(
                x509.KeyUsage(digital_signature=True, **dict.fromkeys(_OTHER_USAGES, False)),
                critical=True,
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
                critical=False,
            )
            .add_extension(
                x509.SubjectAlternativeName(names or [x509.RFC822Name(DEFAULT_IDENTITY)]), True
            )
        )
        for oid, value in [claim(8, ISSUER)] if extensions is None else extensions:
            builder = builder.add_extension(_unknown(oid, value), critical=False)
        if logged:
            before = builder.sign(authority.key, hashes.SHA256())
            promise = self._ct.add_precertificate(
                authority.key.public_key(), before.tbs_certificate_bytes
            )
            value = der.tlv(der.OCTET_STRING, promise)
            builder = builder.add_extension(_unknown(_SCTS, value), critical=False)
        return Person(key, builder.sign(authority.key, hashes.SHA256()))

    # Timestamps

    def stamp(
        self, signature: bytes, *, at: datetime | None = None, key: Any = None, carried: bool = True
    ) -> bytes:
        """Return a timestamp by the trusted authority's certificate, made with this key."""
        trusted = self.keys.tsa
        authority = TimestampAuthority(Authority(key or trusted.key, trusted.chain))
        algorithm = der.tlv(der.SEQUENCE, der.oid("2.16.840.1.101.3.4.2.1"))
        digest = der.tlv(der.OCTET_STRING, hashlib.sha256(signature).digest())
        request = TimestampRequest(der.tlv(der.SEQUENCE, algorithm, digest), b"", carried)
        return authority.answer(request, at=at)

    # Log entries

    def body(
        self,
        message: bytes,
        signature: bytes,
        person: Person,
        **changes: Any,
    ) -> bytes:
        """Return the leaf of a signature over ``message``."""
        digest = hashlib.sha256(message).digest()
        if self.version == 1:
            spec = {
                "data": {"hash": {"algorithm": "sha256", "value": digest.hex()}},
                "signature": {
                    "content": b64(signature),
                    "publicKey": {"content": b64(person.pem)},
                },
            }
            return _leaf("hashedrekord", "0.0.1", spec | changes)
        curve = getattr(getattr(person.key, "curve", None), "name", "")
        verifier = {
            "keyDetails": _KEY_DETAILS.get(curve, "PKIX_ECDSA_P256_SHA_256"),
            "x509Certificate": {"rawBytes": b64(person.der)},
        }
        content = {
            "data": {"algorithm": "SHA2_256", "digest": b64(digest)},
            "signature": {"content": b64(signature), "verifier": verifier},
        }
        return _leaf("hashedrekord", "0.0.2", {"hashedRekordV002": content | changes})

    def dsse_body(self, content: Document, *signers: Person) -> bytes:
        """Return the leaf of a bundle's DSSE envelope, whose signatures these people made."""
        envelope = content["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"])
        signatures = [base64.b64decode(item["sig"]) for item in envelope["signatures"]]
        if self.version == 2:
            return self.body(pae(payload, envelope["payloadType"]), signatures[0], signers[0])
        spec = {
            "envelopeHash": _sha256(encode(envelope)),
            "payloadHash": _sha256(payload),
            "signatures": [
                {"signature": b64(signature), "verifier": b64(person.pem)}
                for signature, person in zip(signatures, signers, strict=True)
            ],
        }
        return _leaf("dsse", "0.0.1", spec)

    def entry(self, body: bytes, *, at: datetime | None = None, kind: str = "") -> Document:
        """Return what a bundle says of a leaf that the log takes in now, or took in then."""
        logged = self._log.append(body)
        proof = self._log.inclusion(logged.index)
        document: Document = {
            "logIndex": str(logged.index),
            "logId": {"keyId": b64(self._note_key.log_id)},
            "kindVersion": {"kind": kind or "hashedrekord", "version": f"0.0.{self.version}"},
            "inclusionProof": {
                "logIndex": str(proof.index),
                "rootHash": b64(proof.root),
                "treeSize": str(proof.tree_size),
                "hashes": [b64(one) for one in proof.hashes],
                "checkpoint": {"envelope": self._checkpoint(proof)},
            },
            "canonicalizedBody": b64(body),
        }
        return document if self.version == 2 else self.promised(document, at or datetime.now(UTC))

    def promised(self, entry: Document, at: datetime) -> Document:
        """Return an entry with Rekor v1's promise that it was taken in at this time."""
        payload = {
            "body": entry["canonicalizedBody"],
            "integratedTime": int(at.timestamp()),
            "logID": base64.b64decode(entry["logId"]["keyId"]).hex(),
            "logIndex": int(entry["logIndex"]),
        }
        promise = self.keys.rekor_v1.sign(rfc8785.dumps(payload), ec.ECDSA(hashes.SHA256()))
        return entry | {
            "integratedTime": str(payload["integratedTime"]),
            "inclusionPromise": {"signedEntryTimestamp": b64(promise)},
        }

    @cached_property
    def _note_key(self) -> Any:
        if self.version == 1:
            return rekor_v1_note_key(REKOR_V1_ORIGIN, self.keys.rekor_v1)
        return rekor_v2_note_key(REKOR_V2_ORIGIN, self.keys.rekor_v2)

    @cached_property
    def _checkpoint(self) -> Callable[..., str]:
        service = RekorV1 if self.version == 1 else RekorV2
        return service(self._note_key, self._log).checkpoint

    # Bundles and records

    def bundle(
        self,
        person: Person,
        content: Document,
        *entries: Document,
        stamps: Sequence[bytes],
        media_type: str = BUNDLE_V3,
    ) -> Document:
        """Return a bundle of these parts."""
        stamped = [{"signedTimestamp": b64(stamp)} for stamp in stamps]
        leaf: Document = {"certificate": {"rawBytes": b64(person.der)}}
        if media_type == BUNDLE_V1:
            leaf = {"x509CertificateChain": {"certificates": [leaf["certificate"]]}}
        return {
            "mediaType": media_type,
            "verificationMaterial": {
                **leaf,
                "tlogEntries": list(entries),
                "timestampVerificationData": {"rfc3161Timestamps": stamped},
            },
            **content,
        }

    def record(
        self,
        person: Person | None = None,
        *entries: Document,
        signature: bytes | None = None,
        stamps: Sequence[bytes] | None = None,
        content: Document | None = None,
        media_type: str = BUNDLE_V3,
    ) -> Signed:
        """Return the run signed; each part that is not given is a true one."""
        person = person or self.person()
        signature = signature or person.sign(self.message)
        if not entries:
            entries = (self.entry(self.body(self.message, signature, person)),)
        bundle = self.bundle(
            person,
            content or message_signature(self.message, signature),
            *entries,
            stamps=[self.stamp(signature)] if stamps is None else stamps,
            media_type=media_type,
        )
        document = self.envelope.model_dump(mode="json") | {
            "signature": {
                "method": "sigstore-cosign",
                "certificate": person.pem.decode(),
                "rekor_log_index": int(entries[0]["logIndex"]),
                "bundle": b64(encode(bundle)),
            }
        }
        return Signed(encode(document), self.traces)

    def statement(
        self,
        payload: bytes,
        person: Person | None = None,
        *,
        content: Document | None = None,
        body: bytes | None = None,
        kind: str = INTOTO_PAYLOAD_TYPE,
    ) -> bytes:
        """Return the payload in a signed bundle; each part that is not given is a true one."""
        person = person or self.person()
        content = content or dsse(payload, person.sign(pae(payload, kind)), kind=kind)
        signature = _first_signature(content)
        is_dsse = "dsseEnvelope" in content
        body = body or self.dsse_body(content, person)
        entry = self.entry(body, kind="dsse" if is_dsse and self.version == 1 else "")
        return encode(self.bundle(person, content, entry, stamps=[self.stamp(signature)]))


def _first_signature(content: Document) -> bytes:
    if "dsseEnvelope" in content:
        return base64.b64decode(content["dsseEnvelope"]["signatures"][0]["sig"])
    return base64.b64decode(content["messageSignature"]["signature"])


def _leaf(kind: str, version: str, spec: Document) -> bytes:
    return rfc8785.dumps({"apiVersion": version, "kind": kind, "spec": spec})


def _sha256(data: bytes) -> Document:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _unknown(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
