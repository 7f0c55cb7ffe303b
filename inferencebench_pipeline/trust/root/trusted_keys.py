"""The keys that a trust root consists of, each with the time in which it counts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from pydantic import AwareDatetime
from sigstore_models.common.v1 import TimeRange
from sigstore_models.trustroot.v1 import CertificateAuthority, TransparencyLogInstance

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.trust.root.trust_root import TrustRoot

LOG: Final = "transparency log"
CERTIFICATE_LOG: Final = "certificate log"
CERTIFICATE_AUTHORITY: Final = "certificate authority"
TIMESTAMP_AUTHORITY: Final = "timestamp authority"


class TrustedKey(DocumentPart):
    """One log or authority that a trust root trusts."""

    kind: str
    """Its task, such as ``transparency log``."""
    address: str
    """The address at which it is, or was, reached."""
    sha256: str
    """The SHA-256 of its public key, or of the first certificate of an authority, as DER."""
    valid_from: AwareDatetime | None
    """The first instant at which it counts; null when it always did."""
    valid_until: AwareDatetime | None
    """The last instant at which it counts; null when no end is known."""


def trusted_keys(root: TrustRoot) -> tuple[TrustedKey, ...]:
    """Return every log and authority of a trust root, the ended ones included."""
    inner = root.trusted_root._inner
    return (
        *_authorities(CERTIFICATE_AUTHORITY, inner.certificate_authorities),
        *_logs(LOG, inner.tlogs),
        *_logs(CERTIFICATE_LOG, inner.ctlogs),
        *_authorities(TIMESTAMP_AUTHORITY, inner.timestamp_authorities),
    )


def _logs(kind: str, logs: list[TransparencyLogInstance]) -> Iterator[TrustedKey]:
    for log in logs:
        key = log.public_key
        yield _key(kind, log.base_url, key.raw_bytes or b"", key.valid_for)


def _authorities(kind: str, authorities: list[CertificateAuthority]) -> Iterator[TrustedKey]:
    for authority in authorities:
        for first in authority.cert_chain.certificates[:1]:
            yield _key(kind, authority.uri or "unnamed", first.raw_bytes, authority.valid_for)


def _key(kind: str, address: str, der: bytes, period: TimeRange | None) -> TrustedKey:
    return TrustedKey(
        kind=kind,
        address=address,
        sha256=hashlib.sha256(der).hexdigest(),
        valid_from=None if period is None else period.start,
        valid_until=None if period is None else period.end,
    )
