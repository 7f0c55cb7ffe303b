"""The signer of a log entry: the certificates in its body, and the digest that was signed."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson
from cryptography import x509

from inferencebench_pipeline.trust.verify.certificates import SignerIdentity, certificate_identity

# The base64 of "-----BEGIN CERTIFICATE", cut where the next letter would change it.
_PEM_IN_BASE64: Final = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS"
# The base64 of a DER sequence (0x30) with a length of two bytes (0x82), as any certificate has.
_DER_IN_BASE64: Final = "MII"
_SHORTEST = 64
_MAX_DEPTH = 16


@dataclass(frozen=True)
class SignedEntry:
    """An entry made with a certificate that names an identity."""

    index: int
    kind: str
    signers: tuple[SignerIdentity, ...]
    sha256: str | None
    """Digest of the artifact or the payload that was signed, as far as the entry's kind tells."""


def signed_entry(index: int, body: bytes) -> SignedEntry | None:
    """Return who signed the entry with this canonical body; None when no certificate is in it.

    Entries of every kind are looked into, since whoever misuses an identity picks the kind. What
    cannot be read as JSON or as a certificate names nobody.
    """
    # Most entries of a log are looked at for nothing, and a search is cheaper than parsing JSON.
    if _PEM_IN_BASE64.encode() not in body and _DER_IN_BASE64.encode() not in body:
        return None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    signers = tuple(signer for text in _texts(document, 0) if (signer := _signer(text)) is not None)
    if not signers or not isinstance(document, dict):
        return None
    return SignedEntry(
        index, f"{document.get('kind')}/{document.get('apiVersion')}", signers, _digest(document)
    )


def _texts(value: Any, depth: int) -> Iterator[str]:  # noqa: ANN401
    if isinstance(value, str):
        yield value
    elif depth < _MAX_DEPTH and isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item, depth + 1)


def _signer(text: str) -> SignerIdentity | None:
    if len(text) < _SHORTEST or not text.startswith((_PEM_IN_BASE64, _DER_IN_BASE64)):
        return None
    try:
        data = base64.b64decode(text, validate=True)
        certificate = (
            x509.load_pem_x509_certificate(data)
            if text.startswith(_PEM_IN_BASE64)
            else x509.load_der_x509_certificate(data)
        )
        return certificate_identity(certificate)
    # A public log holds whatever anybody sent, and the parsers raise errors of many kinds.
    except Exception:
        return None


def _digest(document: dict[str, Any]) -> str | None:
    match document.get("spec"):
        # Rekor v1 hashedrekord states hex.
        case {"data": {"hash": {"value": str(value)}}}:
            return value
        # Rekor v2 has this one kind, for DSSE as well, and states base64.
        case {"hashedRekordV002": {"data": {"digest": str(value)}}}:
            return _hex(value)
        # Rekor v1 dsse: its digest is that of the payload, not of the signed PAE.
        case {"payloadHash": {"value": str(value)}}:
            return value
        case _:
            return None


def _hex(text: str) -> str | None:
    try:
        return base64.b64decode(text, validate=True).hex()
    except ValueError:  # base64 has no error of its own for what is not ASCII
        return None
