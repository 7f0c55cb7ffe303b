"""A sandbox Hub per test worker, and clients that do not wait long."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.hub.client.client import Hub, Repo
from inferencebench_pipeline.hub.client.retry import RetryPolicy
from inferencebench_pipeline.hub.client.transport import Timeouts
from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox

ORGANISATION = "inferencebench-sandbox"


@dataclass(frozen=True)
class World:
    """The sandbox's Hub as the tests use it."""

    sandbox: SandboxEnvironment
    faults: Faults

    @property
    def url(self) -> str:
        return self.sandbox.hub_url

    def hub(
        self,
        token: str | None = "write",
        *,
        attempts: int = 4,
        read_s: float = 10.0,
        longest_wait_s: float = 2.0,
    ) -> EvaluationHub:
        """Return a client with the default token of this role, with this token, or with none."""
        text = self.sandbox.token(token) if token in {"read", "write"} else token
        return EvaluationHub(
            self.url,
            lambda: text,
            timeouts=Timeouts(connect_s=5.0, read_s=read_s, write_s=10.0),
            retry=RetryPolicy(
                attempts=attempts, first_wait_s=0.01, longest_wait_s=longest_wait_s, deadline_s=60.0
            ),
        )

    def user(self, name: str, **organisations: str) -> EvaluationHub:
        """Return a client of a user of this name, made if need be."""
        self.ask("/_sandbox/users", {"name": name, "organisations": organisations})
        answer = self.ask("/_sandbox/tokens", {"user": name, "role": "write"})
        return self.hub(str(answer["token"]))

    def ask(self, path: str, body: object) -> dict[str, object]:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            answer: dict[str, object] = json.load(response)
            return answer

    def commits(self, repo_id: str) -> list[str]:
        """Return the titles of a dataset's commits, the newest first."""
        url = f"{self.url}/api/datasets/{repo_id}/commits/main"
        with urllib.request.urlopen(url, timeout=10) as response:
            return [commit["title"] for commit in json.load(response)]

    def put_model(self, owner: Hub, model_id: str, card: bytes | None) -> Repo:
        """Create a model with this card."""
        repo = Repo("model", model_id)
        assert owner.create(repo)
        if card is not None:
            head = owner.head(repo)
            owner.commit(repo, {"README.md": card}, message="card", parent=head.commit)
        return repo


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxEnvironment]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as environment:
        yield environment


@pytest.fixture
def world(sandbox: SandboxEnvironment) -> Iterator[World]:
    faults = Faults(sandbox.hub_url)
    faults.clear()
    faults.clear_requests()
    yield World(sandbox, faults)
    faults.clear()


@pytest.fixture
def stages() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


StageSink = Callable[[str], None]
