"""A TUF repository served on loopback, such as a Sigstore instance publishes its trust root in."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from inferencebench_pipeline.trust.root.store import TufRepository

_ROLES = ("root", "timestamp", "snapshot", "targets")


class Publisher:
    """Publishes trust roots: one key for all roles, as small repositories do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "targets").mkdir(parents=True)
        self.signer = CryptoSigner.generate_ed25519()
        self.version = 0
        self.root_version = 1
        self.failing: set[str] = set()
        """Names of files that are answered with an error for now."""
        self.bootstrap = self._write("1.root.json", self._root())

    def rotate(self, *, vouched_for: bool = True) -> None:
        """Serve a next root of trust with a key of its own, signed by the last one's if wanted."""
        before = self.signer
        self.signer = CryptoSigner.generate_ed25519()
        self.root_version += 1
        metadata: Metadata[Root] = Metadata(self._root())
        for signer in (before, self.signer) if vouched_for else (self.signer,):
            metadata.sign(signer, append=True)
        data = metadata.to_bytes(JSONSerializer())
        (self.folder / f"{self.root_version}.root.json").write_bytes(data)

    def _root(self) -> Root:
        root = Root(version=self.root_version, expires=_soon(), consistent_snapshot=False)
        for role in _ROLES:
            root.add_key(self.signer.public_key, role)
        return root

    def publish(
        self,
        trust_config: dict[str, Any],
        signer: CryptoSigner | None = None,
        *,
        timestamp_expires: datetime | None = None,
        without: str | None = None,
    ) -> None:
        """Serve the two parts of a trust configuration, or all but one, as the current ones."""
        self.version += 1
        files = {
            "trusted_root.json": trust_config["trustedRoot"],
            "signing_config.v0.2.json": trust_config["signingConfig"],
        }
        files.pop(without or "", None)
        targets = Targets(version=self.version, expires=_soon())
        for name, document in files.items():
            data = json.dumps(document).encode()
            (self.folder / "targets" / name).write_bytes(data)
            targets.targets[name] = TargetFile(
                len(data), {"sha256": hashlib.sha256(data).hexdigest()}, name
            )
        snapshot = Snapshot(version=self.version, expires=_soon())
        snapshot.meta["targets.json"] = MetaFile(self.version)
        timestamp = Timestamp(
            version=self.version,
            expires=timestamp_expires or _soon(),
            snapshot_meta=MetaFile(self.version),
        )
        self._write("targets.json", targets, signer)
        self._write("snapshot.json", snapshot, signer)
        self._write("timestamp.json", timestamp, signer)

    def _write(
        self, name: str, content: Root | Targets | Snapshot | Timestamp, signer: Any = None
    ) -> bytes:
        metadata: Metadata[Any] = Metadata(content)
        metadata.sign(signer or self.signer)
        data = metadata.to_bytes(JSONSerializer())
        (self.folder / name).write_bytes(data)
        return data


@contextmanager
def serving(publisher: Publisher) -> Iterator[TufRepository]:
    """Serve what is published, over HTTP."""
    handler = functools.partial(_Handler, publisher=publisher, directory=str(publisher.folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield TufRepository(url, publisher.bootstrap)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


class _Handler(http.server.SimpleHTTPRequestHandler):
    def __init__(self, *arguments: Any, publisher: Publisher, **options: Any) -> None:
        self._publisher = publisher
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        if self.path.rpartition("/")[2] in self._publisher.failing:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


def _soon() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
