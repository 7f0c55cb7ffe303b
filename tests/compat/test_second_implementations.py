"""What we sign, judged by others: upstream's own verifier, and Sigstore's in JavaScript.

Each needs an environment of its own; CONTRIBUTING.md says how to make them. Without it the tests
skip and say which variable is missing.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from inferencebench_pipeline.trust.verify.dev_key import DevKeySigner, create_dev_key
from tests.envelope.measured import write_measured
from tests.trust.conftest import World, running_world, world  # noqa: F401  # fixtures

pytestmark = pytest.mark.compat
HERE = Path(__file__).parent


def tool(variable: str, what: str) -> str:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(
            f"{what} is not at hand: {variable} is not set (CONTRIBUTING.md, Judged by others)"
        )
    return value


def envelope_of(world: World, folder: Path, version: int) -> Path:  # noqa: F811
    run = RunStore(folder).run(new_run_id())
    run.path.mkdir(parents=True)
    write_measured(run)
    sign_run(run, world.signer(rekor_version=version), verify=world.verify)
    return run.file(RunFile.ENVELOPE)


@pytest.fixture
def trusted_root(running_world: World, tmp_path: Path) -> Path:  # noqa: F811
    path = tmp_path / "trusted_root.json"
    document = json.loads(running_world.trust_config.read_bytes())["trustedRoot"]
    path.write_text(json.dumps(document))
    return path


def tampered(path: Path) -> Path:
    document = json.loads(path.read_bytes())
    document["seed"] += 1
    other = path.with_name("tampered.json")
    other.write_text(json.dumps(document))
    return other


class TestUpstream:
    """``inferencebench-envelope`` from the index, in an interpreter of its own."""

    def judged(self, root: Path, *envelopes: Path) -> list[dict[str, Any]]:
        python = tool("INFERENCEBENCH_UPSTREAM_PYTHON", "upstream's verifier")
        environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [python, HERE / "upstream_verify.py", root, *envelopes],
            capture_output=True,
            text=True,
            timeout=120,
            env=environ,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_a_keyless_envelope_verifies_and_a_changed_one_does_not(
        self,
        world: World,  # noqa: F811
        trusted_root: Path,
        tmp_path: Path,
    ) -> None:
        # Upstream's sigstore (3.x) knows Rekor v1 and not v2, and takes the first log's key.
        document = json.loads(trusted_root.read_bytes())
        document["tlogs"] = document["tlogs"][:1]
        trusted_root.write_text(json.dumps(document))
        path = envelope_of(world, tmp_path, 1)
        good, bad = self.judged(trusted_root, path, tampered(path))
        envelope = parse_envelope(path.read_bytes())
        assert good["ok"], good["reason"]
        assert good["content_hash"] == content_hash(envelope)
        assert envelope.signature is not None
        assert good["log_index"] == envelope.signature.rekor_log_index
        assert good["identity"] in ("", world.policy.signers[0].identity)
        assert not bad["ok"]

    def test_a_development_envelope_verifies(
        self,
        world: World,  # noqa: F811
        trusted_root: Path,
        tmp_path: Path,
    ) -> None:
        create_dev_key(tmp_path / "key")
        run = RunStore(tmp_path).run(new_run_id())
        run.path.mkdir(parents=True)
        write_measured(run)
        unsigned = parse_envelope(run.read(RunFile.UNSIGNED_ENVELOPE))
        signed = DevKeySigner(tmp_path / "key").sign(unsigned)
        path = run.file(RunFile.ENVELOPE)
        path.write_text(signed.model_dump_json())
        good, bad = self.judged(trusted_root, path, tampered(path))
        assert good["ok"], good["reason"]
        assert good["method"] == "dev-key"
        assert good["content_hash"] == content_hash(signed)
        assert not bad["ok"]


class TestSigstoreJs:
    """``@sigstore/verify`` from npm: another language, another library, the same bundles."""

    def judged(
        self, root: Path, bundle: bytes, message: bytes, identity: str, issuer: str
    ) -> dict[str, Any]:
        folder = tool("INFERENCEBENCH_SIGSTORE_JS", "@sigstore/verify")
        (root.parent / "bundle.json").write_bytes(bundle)
        (root.parent / "message").write_bytes(message)
        done = subprocess.run(
            [
                "node",
                HERE / "sigstore_js_verify.cjs",
                folder,
                root,
                root.parent / "bundle.json",
                root.parent / "message",
                identity,
                issuer,
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @pytest.mark.parametrize("version", [1, 2])
    def test_our_bundles_verify_and_changed_ones_do_not(
        self,
        world: World,  # noqa: F811
        trusted_root: Path,
        tmp_path: Path,
        version: int,
    ) -> None:
        envelope = parse_envelope(envelope_of(world, tmp_path, version).read_bytes())
        assert envelope.signature is not None
        bundle = base64.b64decode(envelope.signature.bundle)
        message = content_hash(envelope).encode()
        rule = world.policy.signers[0]
        who = (str(rule.identity), rule.issuer)
        good = self.judged(trusted_root, bundle, message, *who)
        assert good["ok"], good["reason"]
        assert not self.judged(trusted_root, bundle, message[:-1] + b"x", *who)["ok"]
        assert not self.judged(trusted_root, bundle, message, "mallory@example.org", who[1])["ok"]
        assert not self.judged(trusted_root, bundle, message, who[0], "https://x.example")["ok"]
