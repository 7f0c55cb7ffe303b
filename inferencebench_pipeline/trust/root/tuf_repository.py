"""The TUF repository that a trust root is published in, and one verified reading of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field
from sigstore._utils import read_embedded
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.updater import Updater

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.files import read_plain
from inferencebench_pipeline.trust.errors import TrustConfigError, TrustRefreshError

TUF_ROOT_SHA256: Final = "73747011d0857ada15479a16c4cae0f3ed03aac698b523b97e1de314ac9d9ca8"
"""Digest of the public-good instance's root metadata, version 15, as sigstore-python carries it."""

_PUBLIC_GOOD_URL: Final = "https://tuf-repo-cdn.sigstore.dev"
_TARGETS = {"trustedRoot": "trusted_root.json", "signingConfig": "signing_config.v0.2.json"}
_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"


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


class TufVersions(DocumentPart):
    """The version numbers of the metadata that vouched for a trust root; they only ever rise."""

    root: int = Field(ge=1)
    """The version of ``root.json``, which names the keys of all roles."""
    timestamp: int = Field(ge=1)
    """The version of ``timestamp.json``, which is signed anew every few days."""
    snapshot: int = Field(ge=1)
    """The version of ``snapshot.json``, which names the version of the targets."""
    targets: int = Field(ge=1)
    """The version of ``targets.json``, which names the files by their digests."""

    def fallen_below(self, before: TufVersions) -> list[str]:
        """Return a few words for each number that is lower than it was; none when all rose."""
        old, new = before.model_dump(), self.model_dump()
        return [
            f"{role} {new[role]}, was {old[role]}"
            for role in TufVersions.model_fields
            if new[role] < old[role]
        ]


@dataclass(frozen=True)
class Published:
    """The verified state of a repository.

    Attributes:
        data: the trust configuration, in one form whatever the form of its parts.
        versions: the numbers of the metadata that vouched for it.
    """

    data: bytes
    versions: TufVersions


def read_repository(repository: TufRepository, state: Path) -> Published:
    """Return the current trust configuration, each part verified by TUF.

    Args:
        repository: where it is published.
        state: a folder in which the metadata stays between two readings, so that TUF notices an
            older one. It is signed, and verified each time from the bootstrap on.

    Raises:
        TrustRefreshError: TUF cannot be reached, or its metadata does not verify.
    """
    metadata, targets = state / "metadata", state / "targets"
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
        versions = TufVersions(
            **{role: _version(metadata / f"{role}.json") for role in TufVersions.model_fields}
        )
    # TUF, HTTP and JSON fail in many ways, and each means the same here: the pinned version stays.
    except Exception as error:
        raise TrustRefreshError(
            f"cannot refresh the trust root from {repository.url} "
            f"({type(error).__name__}: {error}); the pinned one stays in use, check the network"
        ) from error
    document = {"mediaType": _MEDIA_TYPE, **parts}
    # The digest names the version, so the same content must give the same bytes.
    return Published((json.dumps(document, indent=2, sort_keys=True) + "\n").encode(), versions)


def _target(updater: Updater, name: str) -> bytes:
    info = updater.get_targetinfo(name)
    if info is None:
        raise LookupError(f"the repository has no {name}")
    # Both verify length and hash of the file against the signed metadata.
    path = updater.find_cached_target(info) or updater.download_target(info)
    return Path(path).read_bytes()


def _version(path: Path) -> int:
    """Return the version in a metadata file that TUF has just verified and written."""
    return int(json.loads(read_plain(path))["signed"]["version"])
