"""A folder that plays the Hub, and records signed with a development key to put in it."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inferencebench_pipeline.corpus.verdicts import Rules
from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import content_hash, parse_any_version, serialise
from inferencebench_pipeline.envelope.models import ENVELOPE_VERSION, Envelope
from inferencebench_pipeline.envelope.reading import ReadEnvelope
from inferencebench_pipeline.hub.dataset.card import render_card
from inferencebench_pipeline.hub.dataset.listing import PublishedRepo
from inferencebench_pipeline.trust.root.trust_root import parse_trust
from inferencebench_pipeline.trust.verify.policy import DevKeyRule, IdentityPolicy
from inferencebench_pipeline.trust.verify.verdict import ProveFor, Proven
from inferencebench_pipeline.trust.verify.verifier import EnvelopeVerifier
from tests.envelope.measured import measurement_of, traces_bytes
from tests.hub.records import SIGNER

ORG = "example-org"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUST = parse_trust(
    b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",'
    b' "tlogs": [], "certificateAuthorities": [], "ctlogs": []}',
    where="the test",
)


@dataclass
class FolderHub:
    """Serves ``<folder>/<org>/<name>/<revision>/<file>`` as the Hub would, and counts fetches."""

    folder: Path
    endpoint: str = "https://huggingface.co"
    fetched: list[tuple[str, str]] = field(default_factory=list)
    heads: dict[str, tuple[str, datetime]] = field(default_factory=dict)
    modified: dict[str, datetime] = field(default_factory=dict)

    def commit(
        self,
        repo_id: str,
        files: dict[str, bytes],
        *,
        created_at: datetime | None = None,
        modified_at: datetime | None = None,
    ) -> str:
        """Make ``files`` the repository's head commit and return its revision."""
        before = self.heads.get(repo_id)
        identity = repr((repo_id, before, sorted(files.items())))
        revision = hashlib.sha1(identity.encode()).hexdigest()
        for name, data in files.items():
            path = self.folder / repo_id / revision / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (self.folder / repo_id / revision).mkdir(parents=True, exist_ok=True)
        created = before[1] if before else created_at or datetime(2026, 5, 18, 9, tzinfo=UTC)
        self.heads[repo_id] = (revision, created)
        self.modified[repo_id] = modified_at or created
        return revision

    def delete(self, repo_id: str) -> None:
        del self.heads[repo_id]
        shutil.rmtree(self.folder / repo_id)

    def listed(self, organisation: str) -> Iterator[PublishedRepo]:
        for repo_id, (revision, created_at) in sorted(self.heads.items()):
            if repo_id.startswith(f"{organisation}/"):
                yield PublishedRepo(
                    repo_id,
                    revision,
                    created_at,
                    self.modified[repo_id],
                    self._card(repo_id, revision),
                )

    def fetch(self, repo_id: str, revision: str, path: str) -> bytes | None:
        self.fetched.append((repo_id, path))
        file = self.folder / repo_id / revision / path
        return file.read_bytes() if file.is_file() else None

    def _card(self, repo_id: str, revision: str) -> dict[str, Any]:
        path = self.folder / repo_id / revision / "README.md"
        return yaml.safe_load(path.read_text().split("---\n")[1]) if path.is_file() else {}


def signed(envelope: Envelope, key: Ed25519PrivateKey = KEY) -> Envelope:
    """The envelope with a development signature over its content hash."""
    signature = key.sign(content_hash(envelope).encode())
    block = {
        "method": "dev-key",
        "certificate": public_pem(key),
        "bundle": base64.b64encode(signature).decode(),
    }
    return type(envelope).model_validate({**envelope.model_dump(), "signature": block})


def public_pem(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def record(run_id: str, repo_id: str, **changes: Any) -> dict[str, bytes]:
    """The files of a published run: real traces, metrics computed from them, a signed envelope."""
    traces = traces_bytes(run_id)
    envelope = signed(build_envelope(measurement_of(run_id, traces, **changes)))
    return {
        "envelope.json": serialise(envelope),
        "traces.parquet": traces,
        "README.md": render_card(
            ReadEnvelope(envelope), repo_id, signer=SIGNER, endpoint="https://huggingface.co"
        ),
    }


def altered(data: bytes, **changes: Any) -> bytes:
    """An envelope's bytes with top-level fields replaced behind the signature's back."""
    return json.dumps({**json.loads(data), **changes}).encode()


def resigned(data: bytes, key: Ed25519PrivateKey = KEY, **changes: Any) -> bytes:
    """An envelope's bytes with top-level fields replaced and a signature that covers them."""
    unsigned = parse_any_version(altered(data, **{**changes, "signature": None}))
    whole = signed(unsigned, key)
    # What this release writes is v1. Another version is made up here, as a later one may write it.
    later = whole.envelope_version != ENVELOPE_VERSION
    return json.dumps(whole.model_dump(mode="json")).encode() if later else serialise(whole)


def policy(*pems: str, organisation: str = ORG, sha256: str = "0f" * 32) -> IdentityPolicy:
    rules = tuple(
        DevKeyRule(organisation=organisation, suites=("*",), public_key_pem=pem)
        for pem in pems or (public_pem(KEY),)
    )
    return IdentityPolicy(version=1, dev_keys=rules, sha256=sha256)


@dataclass(frozen=True)
class CountingJudge:
    """The real verifier; ``calls`` collects the organisations it was asked about."""

    policy: IdentityPolicy
    calls: list[str]

    @property
    def rules(self) -> Rules:
        return Rules(self.policy.sha256, TRUST.sha256)

    def open(self) -> ProveFor:
        verifier = EnvelopeVerifier(TRUST, self.policy)

        def prove(envelope: bytes, traces: Path | bytes | None, organisation: str) -> Proven:
            self.calls.append(organisation)
            return verifier.prove(envelope, organisation=organisation, traces=traces)

        return prove


def verifier(rules: IdentityPolicy | None = None, calls: list[str] | None = None) -> CountingJudge:
    """The real verifier under ``rules``; ``calls`` collects the organisations it was asked for."""
    return CountingJudge(rules or policy(), [] if calls is None else calls)
