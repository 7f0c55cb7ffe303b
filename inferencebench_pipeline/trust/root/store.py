"""The public-good trust root, pinned by hash: each version kept, renewed only by a refresh.

Verification reads what is pinned and asks nobody. A refresh goes through TUF, whose metadata is
verified from the shipped root onwards, and says what changed. Before the first refresh the version
shipped with this package is the pinned one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from pydantic import AwareDatetime, Field, ValidationError

from inferencebench_pipeline import __version__
from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.files import read_plain, write_atomically
from inferencebench_pipeline.trust.errors import TrustConfigError, TrustRollbackError
from inferencebench_pipeline.trust.root.changes import changes
from inferencebench_pipeline.trust.root.trust_root import (
    MAX_TRUST_BYTES,
    Origin,
    TrustRoot,
    parse_trust,
)
from inferencebench_pipeline.trust.root.tuf_repository import (
    Published,
    TufRepository,
    TufVersions,
    public_good_repository,
    read_repository,
)

SHIPPED_SHA256: Final = "5dbed9e98ec43127eb117693aacb9474f08ea898d1e30a12c147108de33ed5c5"
"""Digest of the trust configuration shipped with this package."""
SHIPPED_CHECKED_AT: Final = datetime(2026, 11, 30, tzinfo=UTC)
"""The day of this release, on which its trust root was compared with Sigstore's current one."""

_SHIPPED = Path(__file__).with_name("public_good")
_REFRESH: Final = "inferencebench trust refresh"
_PIN_AGAIN: Final = "inferencebench trust pin FILE, with the current file of its operator"

Sha256 = Field(pattern="^[0-9a-f]{64}$")


class KeptVersion(DocumentPart):
    """One version of the trust root that was current at some time."""

    sha256: str = Sha256
    """The SHA-256 of the version."""
    first_seen: AwareDatetime
    """The time at which the version was first seen (UTC)."""
    origin: Literal["tuf", "file"] = "tuf"
    """Its origin: published through TUF, or a file that a person pinned."""


class Pin(DocumentPart):
    """The content of ``pin.json``: which version counts, and those before it."""

    sha256: str = Sha256
    """The SHA-256 of the version that counts."""
    checked_at: AwareDatetime
    """Time at which TUF, or the person who pinned it, last said that this version is current."""
    versions: tuple[KeptVersion, ...]
    """The versions that were current at some time, this one included."""
    tuf: TufVersions | None = None
    """The highest version numbers of TUF's metadata so far; null before the first that are known.

    They outlive TUF's own state, so that older metadata is noticed when that was lost.
    """


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
        if pin is None or pin.sha256 == SHIPPED_SHA256:
            return shipped_trust()
        return self._kept(pin.sha256, _origin(pin))

    def version(self, sha256: str) -> TrustRoot:
        """Return the version with this hash, to verify as it was done then.

        Raises:
            TrustConfigError: it is not kept, or its bytes are not those of the hash.
        """
        # The shipped version lies in the package and is never copied, so it cannot be lost here.
        if sha256 == SHIPPED_SHA256:
            return shipped_trust()
        return self._kept(sha256, Origin("an earlier version, named by its digest"))

    def _kept(self, sha256: str, origin: Origin) -> TrustRoot:
        path = self._directory / f"{sha256}.json"
        try:
            data = read_plain(path, max_bytes=MAX_TRUST_BYTES)
        except OSError as error:
            raise TrustConfigError(
                f"the trust root {sha256} is not kept in {self._directory} "
                f"({error.strerror or error}); restore the file from a copy"
            ) from error
        return _named(data, sha256, where=str(path), origin=origin)

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
            TrustRollbackError: what is served is older than what was seen before; the pin stays.
            TrustConfigError: the new version cannot be used by this client, or a person has pinned
                a file; the pin stays.
            StoreError: the directory cannot be written.
        """
        pin, before = self.pin(), self.current()
        if pin is not None and _kind(pin) == "file":
            raise TrustConfigError(
                f"the trust root {pin.sha256} was pinned from a file, and a refresh would put "
                "Sigstore's public-good instance in its place; pin the file's next version, or go "
                f"back first: inferencebench trust pin {SHIPPED_SHA256}"
            )
        repository = self._repository or public_good_repository()
        published = read_repository(repository, self._directory / "tuf")
        now = datetime.now(UTC)
        path = self._directory / f"{hashlib.sha256(published.data).hexdigest()}.json"
        # Parsed before anything is written: what this client cannot use must not be pinned.
        root = parse_trust(published.data, where=str(path))
        _require_forward(pin, published, root.sha256, repository.url)
        self._pin(pin, root, published.data, now, tuf=published.versions)
        return Refreshed(
            previous_sha256=before.sha256,
            current=self.current(),
            checked_at=now,
            changes=changes(before, root),
        )

    def pin_file(self, data: bytes, *, where: str) -> Refreshed:
        """Keep and pin the trust root that a person has chosen, and say what changed.

        Args:
            data: the bytes of a ClientTrustConfig, or of a bare trusted root.
            where: their place, for messages.

        Raises:
            TrustConfigError: it is no trust root that this client can use; the pin stays.
            StoreError: the directory cannot be written.
        """
        before, now = self.current(), datetime.now(UTC)
        root = parse_trust(data, where=where)
        self._pin(self.pin(), root, data, now, origin="file")
        return Refreshed(before.sha256, self.current(), now, changes(before, root))

    def pin_digest(self, sha256: str) -> Refreshed:
        """Pin the shipped version, or one that is kept, by its digest, and say what changed.

        Its age goes on from the time at which it was first seen, because nobody has confirmed now
        that it is the current one.

        Raises:
            TrustConfigError: it is not kept, or its bytes are not those of the hash; the pin stays.
            StoreError: the directory cannot be written.
        """
        pin, before, root = self.pin(), self.current(), self.version(sha256)
        known = {version.sha256: version for version in (() if pin is None else pin.versions)}
        shipped = KeptVersion(sha256=SHIPPED_SHA256, first_seen=SHIPPED_CHECKED_AT)
        version = shipped if sha256 == SHIPPED_SHA256 else known.get(sha256)
        if version is None:
            raise TrustConfigError(
                f"{self._directory} holds {sha256}, but pin.json does not know it; pin the file: "
                f"inferencebench trust pin {self._directory / sha256}.json"
            )
        self._write(
            Pin(
                sha256=sha256,
                checked_at=version.first_seen,
                versions=tuple({**known, sha256: version}.values()),
                tuf=None if pin is None else pin.tuf,
            )
        )
        return Refreshed(before.sha256, self.current(), version.first_seen, changes(before, root))

    def _pin(
        self,
        pin: Pin | None,
        root: TrustRoot,
        data: bytes,
        now: datetime,
        *,
        tuf: TufVersions | None = None,
        origin: Literal["tuf", "file"] = "tuf",
    ) -> None:
        # The version is on the disk before the pin names it, so a crash in between leaves the old
        # pin good.
        write_atomically(self._directory / f"{root.sha256}.json", data)
        versions = () if pin is None else pin.versions
        # TUF may name a version again that was current before. It is listed with its first time
        # only.
        if root.sha256 not in {version.sha256 for version in versions}:
            new = KeptVersion(sha256=root.sha256, first_seen=now, origin=origin)
            versions = (*versions, new)
        known = None if pin is None else pin.tuf
        self._write(Pin(sha256=root.sha256, checked_at=now, versions=versions, tuf=tuf or known))

    def _write(self, pin: Pin) -> None:
        write_atomically(
            self._directory / "pin.json", pin.model_dump_json(indent=2).encode() + b"\n"
        )


def _kind(pin: Pin) -> Literal["tuf", "file"]:
    return next((version.origin for version in pin.versions if version.sha256 == pin.sha256), "tuf")


def _origin(pin: Pin) -> Origin:
    if _kind(pin) == "file":
        return Origin("yours, pinned from a file", pin.checked_at, _PIN_AGAIN)
    return Origin("public good, refreshed through TUF", pin.checked_at, _REFRESH)


def _require_forward(pin: Pin | None, published: Published, sha256: str, repository: str) -> None:
    """Refuse metadata that is older than what vouched for the pinned version.

    TUF compares with its own state, which may have been lost or removed; this compares with the
    pin. A pin of an earlier release knows no numbers: for it, a version that was current before the
    pinned one counts as older.

    Raises:
        TrustRollbackError: the repository, or whoever answers in its place, went back in time.
    """
    if pin is None:
        return
    fallen = [] if pin.tuf is None else published.versions.fallen_below(pin.tuf)
    if pin.tuf is None and sha256 != pin.sha256:
        earlier = {version.sha256: version for version in pin.versions}.get(sha256)
        if earlier is not None:
            fallen = [f"it names {sha256} of {earlier.first_seen.isoformat()} again"]
    if fallen:
        raise TrustRollbackError(
            f"{repository} serves an older trust root than it did before ({'; '.join(fallen)}), "
            "as somebody does who wants an ended key to count again; the pinned one stays in use. "
            "Find out who answers there; if Sigstore itself says so, pin the version by its file"
        )


def shipped_trust() -> TrustRoot:
    """Return the trust root of Sigstore's public-good instance that this package ships.

    Raises:
        TrustConfigError: the file in the package was changed.
    """
    path = _SHIPPED / "trust_config.json"
    return _named(
        path.read_bytes(),
        SHIPPED_SHA256,
        where="the shipped public-good trust root",
        origin=Origin(f"public good, shipped with {__version__}", SHIPPED_CHECKED_AT, _REFRESH),
    )


def _named(data: bytes, sha256: str, *, where: str, origin: Origin) -> TrustRoot:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise TrustConfigError(
            f"{where} has the SHA-256 {found}, it is pinned by {sha256}: its bytes were changed;"
            " restore the file from a copy"
        )
    return parse_trust(data, where=where, origin=origin)
