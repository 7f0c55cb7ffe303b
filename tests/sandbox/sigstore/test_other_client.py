"""Another implementation accepts what ours signs: sigstore-js, where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from inferencebench_pipeline.sandbox.sigstore.names import DEFAULT_IDENTITY, ISSUER
from tests.sandbox.sigstore.serving import Client

_SCRIPT = Path(__file__).with_name("verify.cjs")
_PACKAGES = "@sigstore/verify @sigstore/bundle @sigstore/protobuf-specs"


@pytest.fixture
def node_modules() -> Path:
    folder = os.environ.get("INFERENCEBENCH_SIGSTORE_JS")
    if folder is None or shutil.which("node") is None:
        pytest.skip(
            f"sigstore-js is not installed: npm install --prefix DIR {_PACKAGES}, "
            "then set INFERENCEBENCH_SIGSTORE_JS=DIR"
        )
    return Path(folder) / "node_modules"


@pytest.mark.slow
@pytest.mark.parametrize("log_version", [1, 2])
def test_sigstore_js_accepts_our_bundle_and_rejects_another_identity_or_artifact(
    client: Client, node_modules: Path, tmp_path: Path, log_version: int
) -> None:
    bundle, artifact, changed = tmp_path / "bundle.json", tmp_path / "a", tmp_path / "b"
    artifact.write_bytes(b"artifact")
    changed.write_bytes(b"another")
    bundle.write_text(client.signer(log_version).sign_artifact(b"artifact").to_json())

    def verify(what: Path, identity: str) -> subprocess.CompletedProcess[str]:
        trust_config = client.state / "sigstore/trust_config.json"
        return subprocess.run(
            ["node", _SCRIPT, trust_config, bundle, what, identity, ISSUER],
            env={**os.environ, "NODE_PATH": str(node_modules)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    accepted = verify(artifact, DEFAULT_IDENTITY)
    assert accepted.returncode == 0, accepted.stderr
    assert "identity error" in verify(artifact, "mallory@example.org").stderr
    assert verify(changed, DEFAULT_IDENTITY).returncode != 0
