"""A running Sigstore on loopback, measured runs to sign, and what a deployment would hold."""

from __future__ import annotations

import json
import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.process import running_sandbox
from inferencebench_pipeline.trust.root.trust_root import TrustRoot, load_trust
from inferencebench_pipeline.trust.sign.identity_token import (
    TokenSource,
    file_identity,
    parse_token,
)
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from inferencebench_pipeline.trust.sign.signer import SigstoreSigner
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy, load_policy
from inferencebench_pipeline.trust.verify.verdict import Verdict
from inferencebench_pipeline.trust.verify.verifier import verify_envelope
from tests.envelope.measured import write_measured
from tests.trust.records import Signed


@dataclass(frozen=True)
class World:
    """A deployment's trust material, and the services behind it."""

    url: str
    trust_config: Path
    trust: TrustRoot
    policy: IdentityPolicy
    organisation: str
    token_file: Path

    @property
    def faults(self) -> Faults:
        return Faults(self.url)

    def signer(self, **settings: Any) -> SigstoreSigner:
        identity = settings.pop("identity", file_identity(self.token_file))
        rules = {"policy": self.policy, "organisation": self.organisation}
        return SigstoreSigner(trust=self.trust, identity=identity, **rules | settings)

    def verify(self, data: bytes, traces: bytes | Path | None, **changes: Any) -> Verdict:
        settings: dict[str, Any] = {
            "trust": self.trust,
            "policy": self.policy,
            "organisation": self.organisation,
            "traces": traces,
        }
        return verify_envelope(data, **settings | changes)

    def identity(self, subject: str, **fields: str) -> TokenSource:
        """A token of anybody: the sandbox's issuer asks for no credential."""
        raw = self.raw_token(subject, **fields)
        return lambda: parse_token(raw.encode(), where="the test")

    def raw_token(self, subject: str, **fields: str) -> str:
        form = urllib.parse.urlencode({"subject": subject, **fields}).encode()
        with urllib.request.urlopen(f"{self.url}/oidc/token", form, timeout=30) as answer:
            return json.load(answer)["id_token"]

    def log_writes(self) -> int:
        """How many entries were asked of the transparency logs since the last clearing."""
        return len(self.faults.requests(method="POST", path="/log/entries"))

    def log_sizes(self) -> dict[int, int]:
        """How many entries the logs hold, by Rekor's version."""
        services = json.loads(self.trust_config.read_bytes())["signingConfig"]["rekorTlogUrls"]
        urls = {service["majorApiVersion"]: service["url"] for service in services}
        with urllib.request.urlopen(f"{urls[1]}/api/v1/log", timeout=30) as answer:
            first = json.load(answer)["treeSize"]
        with urllib.request.urlopen(f"{urls[2]}/api/v2/checkpoint", timeout=30) as answer:
            second = int(answer.read().split(b"\n")[1])
        return {1: first, 2: second}


@pytest.fixture(scope="session")
def running_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    before = os.environ.get("NO_PROXY")
    os.environ["NO_PROXY"] = "127.0.0.1"
    try:
        with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
            environ = sandbox.environ
            config = Path(environ["INFERENCEBENCH_TRUST_CONFIG"])
            yield World(
                url=sandbox.sigstore_url,
                trust_config=config,
                trust=load_trust(config),
                policy=load_policy(Path(environ["INFERENCEBENCH_POLICY"])),
                organisation=environ["INFERENCEBENCH_ORGANISATION"],
                token_file=Path(environ["INFERENCEBENCH_IDENTITY_TOKEN_FILE"]),
            )
    finally:
        if before is None:
            del os.environ["NO_PROXY"]
        else:
            os.environ["NO_PROXY"] = before


@pytest.fixture
def world(running_world: World) -> Iterator[World]:
    running_world.faults.clear()
    running_world.faults.clear_requests()
    yield running_world
    running_world.faults.clear()


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run that is measured and has its unsigned envelope."""
    directory = RunStore(tmp_path).run(new_run_id())
    directory.path.mkdir(parents=True)
    write_measured(directory)
    return directory


@pytest.fixture(scope="module", params=[1, 2], ids=["rekor-v1", "rekor-v2"])
def signed(
    request: pytest.FixtureRequest, running_world: World, tmp_path_factory: pytest.TempPathFactory
) -> Signed:
    run = RunStore(tmp_path_factory.mktemp("signed")).run(new_run_id())
    run.path.mkdir(parents=True)
    write_measured(run)
    running_world.faults.clear()
    signer = running_world.signer(rekor_version=request.param)
    sign_run(run, signer, verify=running_world.verify)
    return Signed(run.read(RunFile.ENVELOPE), run.read(RunFile.TRACES))
