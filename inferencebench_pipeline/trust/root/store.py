"""The public-good trust root, pinned by hash: each version kept, renewed only by a refresh.

Verification reads what is pinned and asks nobody. A refresh goes through TUF, whose metadata is
verified from the shipped root onwards, and says what changed. Before the first refresh the version
shipped with this package is the pinned one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import AwareDatetime, Field, ValidationError
from sigstore._utils import read_embedded
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.files import read_plain, write_atomically
from inferencebench_pipeline.trust.errors import TrustConfigError, TrustRefreshError
from inferencebench_pipeline.trust.root.trust_root import TrustRoot, parse_trust

SHIPPED_SHA256: Final = "5dbed9e98ec43127eb117693aacb9474f08ea898d1e30a12c147108de33ed5c5"
"""Digest of the trust configuration shipped with this package."""

TUF_ROOT_SHA256: Final = "73747011d0857ada15479a16c4cae0f3ed03aac698b523b97e1de314ac9d9ca8"
"""Digest of the public-good instance's root metadata, version 15, as sigstore-python carries it."""

_SHIPPED = Path(__file__).with_name("public_good")
_PUBLIC_GOOD_URL: Final = "https://tuf-repo-cdn.sigstore.dev"
_TARGETS = {"trustedRoot": "trusted_root.json", "signingConfig": "signing_config.v0.2.json"}
_KEYS = {
    "tlogs": "transparency log",
    "ctlogs": "certificate log",
    "certificateAuthorities": "certificate authority",
    "timestampAuthorities": "timestamp authority",
}
_SERVICES = {
    "caUrls": "certificate authority",
    "rekorTlogUrls": "transparency log",
    "tsaUrls": "timestamp authority",
    "oidcUrls": "issuer of identities",
}

Sha256 = Field(pattern="^[0-9a-f]{64}$")


@dataclass(frozen=True)
class TufRepository:
    """The address of a published trust root, and the root metadata that signs it first."""

    url: str
    bootstrap: bytes


def public_good_repository() -> TufRepository:
    """Return the repository of Sigstore's public-good instance, with the reviewed root metadata.

    Raises:
        TrustConfigError: the installed sigstore-python carries other metadata than was reviewed.
    """
    bootstrap = read_embedded("root.json", _PUBLIC_GOOD_URL)
    found = hashlib.sha256(bootstrap).hexdigest()
    if found != TUF_ROOT_SHA256:
        raise TrustConfigError(
            f"the installed sigstore carries TUF root metadata {found}, {TUF_ROOT_SHA256} was "
            "reviewed; install the locked version, or review the new metadata and pin it"
        )
    return TufRepository(_PUBLIC_GOOD_URL, bootstrap)


class KeptVersion(DocumentPart):
    """One version of the trust root that was current at some time."""

    sha256: str = Sha256
    """The SHA-256 of the version."""
    first_seen: AwareDatetime
    """The time at which the version was first seen (UTC)."""


class Pin(DocumentPart):
    """The content of ``pin.json``: which version counts, and those before it."""

    sha256: str = Sha256
    """The SHA-256 of the version that counts."""
    checked_at: AwareDatetime
    """Time at which TUF last said that this is the current version."""
    versions: tuple[KeptVersion, ...]
    """The versions that were current at some time, this one included."""


@dataclass(frozen=True)
class Refreshed:
    """The result of a refresh."""

    previous_sha256: str
    current: TrustRoot
    checked_at: datetime
    changes: tuple[str, ...]
    """One sentence per key or service that came, went or changed; empty when nothing did."""

    @property
    def changed(self) -> bool:
        """True if another version is pinned now than before."""
        return self.previous_sha256 != self.current.sha256


class KeptRoots:
    """The versions of one trust root, in a directory, with one of them pinned.

    Example:
        >>> kept = KeptRoots(Path("trust"))          # doctest: +SKIP
        >>> kept.refresh().changes                   # doctest: +SKIP
        >>> verify_envelope(data, trust=kept.current(), ...)  # doctest: +SKIP
    """

    def __init__(self, directory: Path, repository: TufRepository | None = None) -> None:
        """Name the directory; nothing is read or fetched yet.

        Args:
            directory: holds ``<sha256>.json`` per version and ``pin.json``.
            repository: the public-good instance's when None.
        """
        self._directory = directory
        self._repository = repository

    def current(self) -> TrustRoot:
        """Return the pinned trust root; no network is used.

        Raises:
            TrustConfigError: what is kept does not have the hash it is pinned by.
        """
        pin = self.pin()
        return _shipped() if pin is None else self.version(pin.sha256)

    def version(self, sha256: str) -> TrustRoot:
        """Return the version with this hash, to verify as it was done then.

        Raises:
            TrustConfigError: it is not kept, or its bytes are not those of the hash.
        """
        # The shipped version lies in the package and is never copied, so it cannot be lost here.
        if sha256 == SHIPPED_SHA256:
            return _shipped()
        path = self._directory / f"{sha256}.json"
        try:
            data = read_plain(path)
        except OSError as error:
            raise TrustConfigError(
                f"the trust root {sha256} is not kept in {self._directory} "
                f"({error.strerror or error}); restore the file from a copy"
            ) from error
        return _named(data, sha256, where=str(path))

    def pin(self) -> Pin | None:
        """Return what is pinned, or None before the first refresh.

        Raises:
            TrustConfigError: ``pin.json`` cannot be read.
        """
        path = self._directory / "pin.json"
        try:
            return Pin.model_validate_json(read_plain(path))
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise TrustConfigError(
                f"cannot read {path}: {error}; restore it from a copy, or remove it to go back to "
                "the shipped trust root"
            ) from error

    def refresh(self) -> Refreshed:
        """Ask TUF for the current version, keep it, pin it, and say what changed.

        Raises:
            TrustRefreshError: TUF cannot be reached or its metadata does not verify; the pin stays.
            TrustConfigError: the new version cannot be used by this client; the pin stays.
            StoreError: the directory cannot be written.
        """
        pin, before = self.pin(), self.current()
        data = self._fetch()
        now = datetime.now(UTC)
        # Parsed before anything is written: what this client cannot use must not be pinned.
        root = parse_trust(data, where=f"{self._directory / hashlib.sha256(data).hexdigest()}.json")
        # The version is on the disk before the pin names it, so a crash in between leaves the old
        # pin good.
        write_atomically(self._directory / f"{root.sha256}.json", data)
        versions = () if pin is None else pin.versions
        # TUF may name a version again that was current before. It is listed with its first time
        # only.
        if root.sha256 not in {version.sha256 for version in versions}:
            versions = (*versions, KeptVersion(sha256=root.sha256, first_seen=now))
        renewed = Pin(sha256=root.sha256, checked_at=now, versions=versions)
        write_atomically(
            self._directory / "pin.json", renewed.model_dump_json(indent=2).encode() + b"\n"
        )
        return Refreshed(
            previous_sha256=before.sha256,
            current=root,
            checked_at=now,
            changes=tuple(_changes(_document(before), _document(root))),
        )

    def _fetch(self) -> bytes:
        """Return the current trust configuration, each part verified by TUF.

        The metadata stays between refreshes, so that an older one is noticed; it is signed, and
        verified each time from the shipped root on.
        """
        repository = self._repository or public_good_repository()
        metadata = self._directory / "tuf" / "metadata"
        targets = self._directory / "tuf" / "targets"
        try:
            metadata.mkdir(parents=True, exist_ok=True)
            targets.mkdir(parents=True, exist_ok=True)
            updater = Updater(
                metadata_dir=str(metadata),
                metadata_base_url=repository.url,
                target_base_url=f"{repository.url}/targets/",
                target_dir=str(targets),
                config=UpdaterConfig(app_user_agent="inferencebench-pipeline"),
                bootstrap=repository.bootstrap,
            )
            updater.refresh()
            parts = {part: json.loads(_target(updater, name)) for part, name in _TARGETS.items()}
        # TUF, HTTP and JSON fail in many ways, and each means the same here: the pinned version
        # stays.
        except Exception as error:
            raise TrustRefreshError(
                f"cannot refresh the trust root from {repository.url} "
                f"({type(error).__name__}: {error}); the pinned one stays in use, check the network"
            ) from error
        document = {
            "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
            **parts,
        }
        # The digest names the version, so the same content must give the same bytes.
        return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _target(updater: Updater, name: str) -> bytes:
    info = updater.get_targetinfo(name)
    if info is None:
        raise LookupError(f"the repository has no {name}")
    # Both verify length and hash of the file against the signed metadata.
    path = updater.find_cached_target(info) or updater.download_target(info)
    return Path(path).read_bytes()


def _shipped() -> TrustRoot:
    path = _SHIPPED / "trust_config.json"
    return _named(path.read_bytes(), SHIPPED_SHA256, where="the shipped public-good trust root")


def _named(data: bytes, sha256: str, *, where: str) -> TrustRoot:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise TrustConfigError(
            f"{where} has the SHA-256 {found}, it is pinned by {sha256}: its bytes were changed;"
            " restore the file from a copy"
        )
    return parse_trust(data, where=where)


def _document(root: TrustRoot) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(root.require_signing()._inner.to_json())
    return document


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return one sentence per difference between two trust configurations."""
    sentences: list[str] = []
    for holder, names in (("trustedRoot", _KEYS), ("signingConfig", _SERVICES)):
        for part, called in names.items():
            old = {_name(item): item for item in before[holder].get(part, [])}
            new = {_name(item): item for item in after[holder].get(part, [])}
            what = called if holder == "trustedRoot" else f"{called} to sign with"
            sentences += [f"{what} {name} came" for name in new if name not in old]
            sentences += [f"{what} {name} went" for name in old if name not in new]
            for name in new:
                if name in old and _window(old[name]) != _window(new[name]):
                    sentences.append(
                        f"{what} {name}: valid {_window(new[name])}, was {_window(old[name])}"
                    )
    # A change for which there is no sentence must not be reported as no change.
    return sentences or [
        f"{holder}.{part} changed"
        for holder in ("trustedRoot", "signingConfig")
        for part in sorted(before[holder].keys() | after[holder].keys())
        if before[holder].get(part) != after[holder].get(part)
    ]


def _name(item: dict[str, Any]) -> str:
    """Return what one key or service is called: its address, and of a key the digest too."""
    address = item.get("baseUrl") or item.get("uri") or item.get("url") or "unnamed"
    # Keys that followed each other may share one address, which then does not tell them apart.
    if "publicKey" in item:
        material = str(item["publicKey"].get("rawBytes"))
    elif "certChain" in item:
        material = json.dumps(item["certChain"], sort_keys=True)
    else:
        return str(address)
    return f"{address} (key {hashlib.sha256(material.encode()).hexdigest()[:12]})"


def _window(item: dict[str, Any]) -> str:
    period = item.get("publicKey", item).get("validFor") or {}
    start, end = (_moment(period.get(name)) for name in ("start", "end"))
    return f"from {start or 'ever'} until {end or 'further notice'}"


def _moment(text: str | None) -> str | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC).isoformat()
