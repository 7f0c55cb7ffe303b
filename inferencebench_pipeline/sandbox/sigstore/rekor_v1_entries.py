"""The requests and the log entries of Rekor v1: hashedrekord and dsse, version 0.0.1.

Source: the JSON schemas in sigstore/rekor ``pkg/types/{hashedrekord,dsse}/v0.0.1``.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import Field

from inferencebench_pipeline.sandbox.sigstore.http import Message, RestError, parse, unbase64
from inferencebench_pipeline.sandbox.sigstore.signatures import (
    SignatureRefusedError,
    check_signature,
    key_of_pem,
)


class Hash(Message):
    """A SHA-256 digest in hex."""

    algorithm: Literal["sha256"]
    value: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class HashedData(Message):
    """The digest of the signed artifact."""

    hash: Hash


class PublicKey(Message):
    """Base64 of a PEM certificate or public key."""

    content: str


class DetachedSignature(Message):
    """The signature in base64, and the key or certificate of its signer."""

    content: str
    publicKey: PublicKey  # noqa: N815  # the name on the wire


class HashedRekordSpec(Message):
    """The body of a hashedrekord."""

    data: HashedData
    signature: DetachedSignature


class HashedRekord(Message):
    """A signature over a digest."""

    kind: Literal["hashedrekord"]
    apiVersion: Literal["0.0.1"]  # noqa: N815
    spec: HashedRekordSpec

    def canonical_body(self) -> bytes:
        """Return the leaf to log, after checking the signature.

        Raises:
            RestError: the signature is not the key's.
        """
        given = self.spec.signature
        pem = unbase64(given.publicKey.content, "spec.signature.publicKey.content", RestError)
        signature = unbase64(given.content, "spec.signature.content", RestError)
        digest = self.spec.data.hash
        try:
            check_signature(key_of_pem(pem), signature, bytes.fromhex(digest.value))
        except SignatureRefusedError as error:
            raise RestError(400, f"error processing entry: {error}") from error
        return _leaf(
            self,
            {
                "data": {"hash": {"algorithm": digest.algorithm, "value": digest.value}},
                "signature": {
                    "content": _base64(signature),
                    "publicKey": {"content": _base64(pem)},
                },
            },
        )


class ProposedContent(Message):
    """A DSSE envelope as a JSON string, and base64 of the PEM keys that signed it."""

    envelope: str
    verifiers: Annotated[list[str], Field(min_length=1, max_length=16)]


class DsseSpec(Message):
    """The body of a proposed dsse entry."""

    proposedContent: ProposedContent  # noqa: N815


class EnvelopeSignature(Message):
    """One signature of a DSSE envelope."""

    sig: str
    keyid: str | None = None


class DsseEnvelope(Message):
    """A DSSE envelope (secure-systems-lab/dsse envelope.md)."""

    payload: str
    payloadType: str  # noqa: N815
    signatures: Annotated[list[EnvelopeSignature], Field(min_length=1, max_length=16)]


class Dsse(Message):
    """A signed DSSE envelope, of which only hashes are logged."""

    kind: Literal["dsse"]
    apiVersion: Literal["0.0.1"]  # noqa: N815
    spec: DsseSpec

    def canonical_body(self) -> bytes:
        """Return the leaf to log, after checking every signature of the envelope.

        Raises:
            RestError: the envelope is malformed, or a signature is nobody's.
        """
        text = self.spec.proposedContent.envelope.encode()
        envelope = parse(DsseEnvelope, text, RestError)
        payload = unbase64(envelope.payload, "envelope.payload", RestError)
        digest = _pae_digest(envelope.payloadType, payload)
        signatures = [
            self._attributed(unbase64(one.sig, "envelope.signatures.sig", RestError), digest)
            for one in envelope.signatures
        ]
        return _leaf(
            self,
            {
                "envelopeHash": _sha256(text),
                "payloadHash": _sha256(payload),
                "signatures": signatures,
            },
        )

    def _attributed(self, signature: bytes, digest: bytes) -> dict[str, str]:
        """Return a signature with the first of the proposal's verifiers that made it."""
        reason: SignatureRefusedError | None = None
        for verifier in self.spec.proposedContent.verifiers:
            pem = unbase64(verifier, "spec.proposedContent.verifiers", RestError)
            try:
                check_signature(key_of_pem(pem), signature, digest)
            except SignatureRefusedError as error:
                reason = error
            else:
                return {"signature": _base64(signature), "verifier": _base64(pem)}
        raise RestError(400, f"error processing entry: {reason}") from reason


class _Kind(Message):
    """A request of which only the kind is read."""

    kind: str


def canonical_body(proposal: bytes) -> bytes:
    """Return the leaf for a proposed entry.

    Raises:
        RestError: its kind is not logged here, it is malformed, or its signature is wrong.
    """
    kind = parse(_Kind, proposal, RestError).kind
    if kind == "hashedrekord":
        return parse(HashedRekord, proposal, RestError).canonical_body()
    if kind == "dsse":
        return parse(Dsse, proposal, RestError).canonical_body()
    raise RestError(400, f"unsupported entry kind {kind[:40]!r}; send hashedrekord or dsse")


def searchable_hashes(body: dict[str, object]) -> list[str]:
    """Return the SHA-256 hex digests a logged body can be found by."""
    match body:
        case {"kind": "hashedrekord", "spec": {"data": {"hash": {"value": str(value)}}}}:
            return [value]
        case {
            "kind": "dsse",
            "spec": {"payloadHash": {"value": str(payload)}, "envelopeHash": {"value": str(whole)}},
        }:
            return [payload, whole]
        case _:
            return []


def _leaf(entry: HashedRekord | Dsse, spec: dict[str, Any]) -> bytes:
    # Made of the parts that were checked, so that nothing else of a proposal gets into the log.
    return rfc8785.dumps({"apiVersion": entry.apiVersion, "kind": entry.kind, "spec": spec})


def _pae_digest(payload_type: str, payload: bytes) -> bytes:
    """Return SHA-256 of the pre-authentication encoding (dsse protocol.md)."""
    kind = payload_type.encode()
    encoding = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
    return hashlib.sha256(encoding).digest()


def _sha256(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
