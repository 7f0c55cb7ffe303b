"""The sandbox's keys and CA certificates: made once, readable by their owner only, then reused.

The two root keys sign one certificate each and are never written down.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from inferencebench_pipeline.errors import PermanentError

_CA_LIFETIME = timedelta(days=3650)
_ORGANISATION = "inferencebench.sandbox"


class KeyFileError(PermanentError):
    """The key folder is incomplete or unreadable."""


@dataclass(frozen=True)
class Authority:
    """A certificate authority: the key that issues, and its chain from issuer to root."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate of the key."""
        return self.chain[0]


@dataclass(frozen=True)
class SandboxKeys:
    """Every private key of the sandbox."""

    oidc: ec.EllipticCurvePrivateKey
    ct: ec.EllipticCurvePrivateKey
    rekor_v1: ec.EllipticCurvePrivateKey
    rekor_v2: ed25519.Ed25519PrivateKey
    fulcio: Authority
    tsa: Authority

    @property
    def created_at(self) -> datetime:
        """The time at which the keys were made, before which they signed nothing."""
        return self.fulcio.chain[-1].not_valid_before_utc


def spki_der(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    """Return a public key as DER SubjectPublicKeyInfo, the form key ids are hashes of."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def write_secret(path: Path, data: bytes) -> None:
    """Replace ``path`` with ``data``, atomically and readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    # The mode is given at creation, so that there is no moment in which others could read it.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_or_create_keys(folder: Path) -> SandboxKeys:
    """Return the keys in ``folder``, making them when it does not exist.

    The folder appears complete or not at all; of two processes that make one at once, the second
    to finish takes the keys of the first.

    Raises:
        KeyFileError: a key is missing or damaged.
    """
    if not folder.exists():
        _create(folder)
    try:
        return SandboxKeys(
            oidc=_read_ec(folder / "oidc.pem"),
            ct=_read_ec(folder / "ct.pem"),
            rekor_v1=_read_ec(folder / "rekor-v1.pem"),
            rekor_v2=_read_ed25519(folder / "rekor-v2.pem"),
            fulcio=_read_authority(folder, "fulcio"),
            tsa=_read_authority(folder, "tsa"),
        )
    except (OSError, ValueError, TypeError) as error:
        raise KeyFileError(
            f"{folder} is incomplete or damaged ({type(error).__name__}); restore it, or remove "
            "the sandbox's sigstore folder to start with new keys (old bundles then stop verifying)"
        ) from error


def _create(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name in ("oidc", "ct", "rekor-v1"):
            _write_key(fresh / f"{name}.pem", ec.generate_private_key(ec.SECP256R1()))
        _write_key(fresh / "rekor-v2.pem", ed25519.Ed25519PrivateKey.generate())
        _write_authority(fresh, "fulcio", _new_fulcio())
        _write_authority(fresh, "tsa", _new_tsa())
        try:
            fresh.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _new_fulcio() -> Authority:
    """Return an intermediate below a fresh root, shaped like Fulcio's public instance."""
    root = _new_root("inferencebench sandbox root")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("inferencebench sandbox intermediate", key, root).add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False
    )
    # No further authority may stand below it (RFC 5280 section 4.2.1.9).
    certificate = _sign_ca(builder, root.key, path_length=0)
    return Authority(key, (certificate, root.certificate))


def _new_tsa() -> Authority:
    """Return a time-stamping certificate below a fresh root (RFC 3161 section 2.3)."""
    root = _new_root("inferencebench sandbox TSA root")
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder("inferencebench sandbox TSA", key, root)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        # RFC 3161 section 2.3: this usage and no other, and it is critical.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .sign(root.key, hashes.SHA256())
    )
    return Authority(key, (certificate, root.certificate))


def _new_root(common_name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign_ca(_builder(common_name, key, None), key, path_length=1)
    return Authority(key, (certificate,))


def _builder(
    common_name: str, key: ec.EllipticCurvePrivateKey, issuer: Authority | None
) -> x509.CertificateBuilder:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, _ORGANISATION),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    issuer_key = key if issuer is None else issuer.key
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + _CA_LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )


def _sign_ca(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, *, path_length: int
) -> x509.Certificate:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), True)
        .add_extension(_key_usage(digital_signature=False), critical=True)
        .sign(key, hashes.SHA256())
    )


def _key_usage(*, digital_signature: bool) -> x509.KeyUsage:
    """Return the usage of an end entity (``digital_signature``), or else of a CA."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=not digital_signature,
        crl_sign=not digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
    write_secret(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _write_authority(folder: Path, name: str, authority: Authority) -> None:
    _write_key(folder / f"{name}.pem", authority.key)
    chain = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in authority.chain)
    write_secret(folder / f"{name}-chain.pem", chain)


def _read_ec(path: Path) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError(f"{path} is not an ECDSA key")
    return key


def _read_ed25519(path: Path) -> ed25519.Ed25519PrivateKey:
    key = load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise TypeError(f"{path} is not an Ed25519 key")
    return key


def _read_authority(folder: Path, name: str) -> Authority:
    chain = x509.load_pem_x509_certificates((folder / f"{name}-chain.pem").read_bytes())
    return Authority(_read_ec(folder / f"{name}.pem"), tuple(chain))
