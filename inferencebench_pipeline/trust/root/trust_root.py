"""Trust roots: the certificate authorities, logs and clocks that a file tells us to trust."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sigstore.errors import Error as SigstoreError
from sigstore.models import ClientTrustConfig, TrustedRoot
from sigstore_models.common.v1 import TimeRange
from sigstore_models.trustroot.v1 import (
    CertificateAuthority,
    TransparencyLogInstance,
)
from sigstore_models.trustroot.v1 import TrustedRoot as TrustedRootMessage

from inferencebench_pipeline.trust.errors import TrustConfigError

MAX_TRUST_BYTES = 4 << 20


@dataclass(frozen=True)
class Origin:
    """The reason why a trust root is the one that counts, for whoever reads a verdict.

    Attributes:
        name: a few words, such as ``public good, shipped with 0.2.0``.
        checked_at: when somebody last confirmed that it is the current one. None if nobody did.
        renewal: what a person does to renew it. None when this program cannot know.
    """

    name: str
    checked_at: datetime | None = None
    renewal: str | None = None


@dataclass(frozen=True)
class TrustRoot:
    """The keys that verification trusts and, when known, the services that signing uses."""

    source: str
    """Origin of the trust root, for messages; usually a path."""
    sha256: str
    """Digest of the file's bytes."""
    trusted_root: TrustedRoot
    signing: ClientTrustConfig | None
    """The services to sign with; None when only a trusted root was given."""
    origin: Origin
    """The reason why it is the one that counts."""

    @property
    def logs(self) -> list[TransparencyLogInstance]:
        """The transparency logs, retired ones included."""
        return self.trusted_root._inner.tlogs

    @property
    def ct_logs(self) -> list[TransparencyLogInstance]:
        """The certificate transparency logs, retired ones included."""
        return self.trusted_root._inner.ctlogs

    @property
    def authorities(self) -> list[CertificateAuthority]:
        """The certificate authorities, retired ones included."""
        return self.trusted_root._inner.certificate_authorities

    def require_signing(self) -> ClientTrustConfig:
        """Return the services to sign with.

        Raises:
            TrustConfigError: this root can only verify.
        """
        if self.signing is None:
            raise TrustConfigError(
                f"{self.source} holds a trusted root only; signing needs a ClientTrustConfig, "
                "which also names the services"
            )
        return self.signing


def load_trust(path: Path, *, named_by: str = "INFERENCEBENCH_TRUST_CONFIG") -> TrustRoot:
    """Return the trust root in a ClientTrustConfig file, or in a bare ``trusted_root.json``.

    Args:
        path: the file.
        named_by: the variable or option that named it, for messages and the verdict.

    Raises:
        TrustConfigError: the file cannot be read or is neither.
    """
    try:
        with path.open("rb") as handle:
            # One byte more than is allowed shows that a file is too large without reading all of
            # it.
            data = handle.read(MAX_TRUST_BYTES + 1)
    except OSError as error:
        raise TrustConfigError(
            f"cannot read the trust configuration {path}: {error.strerror or error}; check "
            f"{named_by}"
        ) from error
    return parse_trust(data, where=str(path), origin=Origin(f"named by {named_by}"))


def parse_trust(data: bytes, *, where: str, origin: Origin | None = None) -> TrustRoot:
    """Return the trust root that the JSON text ``data`` states.

    Args:
        data: the text.
        where: its place, for messages.
        origin: how it came to be the one that counts. If None, its place is its name.

    Raises:
        TrustConfigError: too large, not JSON, or not a trust configuration this client knows.
    """
    if len(data) > MAX_TRUST_BYTES:
        raise TrustConfigError(f"the trust configuration {where} exceeds {MAX_TRUST_BYTES} bytes")
    try:
        document = json.loads(data)
        media_type = document.get("mediaType", "") if isinstance(document, dict) else ""
        if "clienttrustconfig" in media_type:
            signing = ClientTrustConfig.from_json(data.decode())
            root = signing.trusted_root
        else:
            signing, root = None, _bare_root(data)
    except (ValueError, TypeError, OverflowError, RecursionError, SigstoreError) as error:
        raise TrustConfigError(
            f"{where} is not a Sigstore ClientTrustConfig or trusted root: {error}"
        ) from error
    sha256 = hashlib.sha256(data).hexdigest()
    return TrustRoot(where, sha256, root, signing, origin or Origin(where))


def within(period: TimeRange | None, moment: datetime) -> bool:
    """Return whether ``moment`` is in a validity window; both ends belong to it, none is open."""
    if period is None:
        return True
    return period.start <= moment and (period.end is None or moment <= period.end)


def _bare_root(data: bytes) -> TrustedRoot:
    return TrustedRoot(TrustedRootMessage.from_json(data))
