"""The files a client needs: the ClientTrustConfig and the identity policy that goes with it."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from inferencebench_pipeline.files import write_atomically
from inferencebench_pipeline.sandbox.sigstore.checkpoint import rekor_v2_note_key
from inferencebench_pipeline.sandbox.sigstore.keys import (
    Authority,
    SandboxKeys,
    load_or_create_keys,
    spki_der,
)
from inferencebench_pipeline.sandbox.sigstore.names import (
    DEFAULT_IDENTITY,
    DEFAULT_ORGANISATION,
    ISSUER,
    OPERATOR,
    REKOR_V2_ORIGIN,
    Addresses,
)

Document = dict[str, object]


def sigstore_folder(state: Path) -> Path:
    """Return where the sandbox in ``state`` keeps its Sigstore."""
    return state / "sigstore"


def keys_folder(state: Path) -> Path:
    """Return where the sandbox in ``state`` keeps its private keys."""
    return sigstore_folder(state) / "keys"


def write_trust_config(state: Path, base_url: str) -> Path:
    """Write the ClientTrustConfig for the services at ``base_url`` and return its path.

    Only addresses depend on the port: what was signed before it changed still verifies.

    Raises:
        KeyFileError: the keys of this sandbox are damaged.
        StoreError: the state folder is not writable.
    """
    keys = load_or_create_keys(keys_folder(state))
    addresses = Addresses(base_url)
    document = {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": _trusted_root(keys, addresses),
        "signingConfig": _signing_config(keys, addresses),
    }
    path = sigstore_folder(state) / "trust_config.json"
    write_atomically(path, (json.dumps(document, indent=2) + "\n").encode())
    return path


def write_policy(
    state: Path,
    *,
    organisation: str = DEFAULT_ORGANISATION,
    identity: str = DEFAULT_IDENTITY,
) -> Path:
    """Write the policy that lets ``identity`` sign every suite of ``organisation``.

    Raises:
        KeyFileError: the keys of this sandbox are damaged.
        StoreError: the state folder is not writable.
    """
    keys = load_or_create_keys(keys_folder(state))
    signer = {
        "organisation": organisation,
        "suites": ["*"],
        "issuer": ISSUER,
        "identity": identity,
        "valid_from": _rfc3339(keys.created_at),
        "valid_until": None,
    }
    text = "# Written by the sandbox at each start; copy it before you edit it.\n" + yaml.safe_dump(
        {"version": 1, "signers": [signer], "dev_keys": []}, sort_keys=False
    )
    path = sigstore_folder(state) / "policy.yaml"
    write_atomically(path, text.encode())
    return path


def _trusted_root(keys: SandboxKeys, addresses: Addresses) -> Document:
    v2_log_id = rekor_v2_note_key(REKOR_V2_ORIGIN, keys.rekor_v2).log_id
    since = keys.created_at
    return {
        # The versions are those that sigstore-python reads: it refuses 0.2 of this file.
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [
            _log(addresses.rekor_v1, keys.rekor_v1.public_key(), since, None),
            _log(addresses.rekor_v2, keys.rekor_v2.public_key(), since, v2_log_id),
        ],
        "certificateAuthorities": [_authority(addresses.fulcio, keys.fulcio, since)],
        "ctlogs": [_log(addresses.ct, keys.ct.public_key(), since, None)],
        "timestampAuthorities": [_authority(addresses.tsa, keys.tsa, since)],
    }


def _signing_config(keys: SandboxKeys, addresses: Addresses) -> Document:
    """Return both logs under one operator, so that clients take v2 unless told otherwise."""
    since = keys.created_at
    return {
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": [_service(addresses.fulcio, 1, since)],
        "oidcUrls": [_service(addresses.oidc, 1, since)],
        "rekorTlogUrls": [
            _service(addresses.rekor_v2, 2, since),
            _service(addresses.rekor_v1, 1, since),
        ],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaUrls": [_service(addresses.tsa, 1, since)],
        "tsaConfig": {"selector": "ANY"},
    }


def _service(url: str, version: int, since: datetime) -> Document:
    validity = {"start": _rfc3339(since)}
    return {"url": url, "majorApiVersion": version, "validFor": validity, "operator": OPERATOR}


def _log(
    url: str,
    key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    since: datetime,
    log_id: bytes | None,
) -> Document:
    """Return one log; its id is the hash of its key unless given (RFC 6962 section 3.2)."""
    is_ecdsa = isinstance(key, ec.EllipticCurvePublicKey)
    spki = spki_der(key)
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": _base64(spki),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256" if is_ecdsa else "PKIX_ED25519",
            "validFor": {"start": _rfc3339(since)},
        },
        "logId": {"keyId": _base64(log_id or hashlib.sha256(spki).digest())},
    }


def _authority(uri: str, authority: Authority, since: datetime) -> Document:
    name = authority.chain[-1].subject
    return {
        "subject": {
            "organization": _attribute(name, x509.NameOID.ORGANIZATION_NAME),
            "commonName": _attribute(name, x509.NameOID.COMMON_NAME),
        },
        "uri": uri,
        "certChain": {
            "certificates": [
                {"rawBytes": _base64(one.public_bytes(Encoding.DER))} for one in authority.chain
            ]
        },
        "validFor": {"start": _rfc3339(since)},
    }


def _attribute(name: x509.Name, kind: x509.ObjectIdentifier) -> str:
    value = name.get_attributes_for_oid(kind)[0].value
    return value if isinstance(value, str) else value.decode()


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
