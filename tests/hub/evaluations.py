"""A benchmark, a model and results of it, in the sandbox."""

from __future__ import annotations

import itertools
import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from inferencebench_pipeline.community_results.audit import Assessment, Submission
from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.community_results.notes import RunConfiguration, render_notes
from inferencebench_pipeline.community_results.proposal import Proposed, propose
from inferencebench_pipeline.community_results.results_file import (
    BenchmarkTask,
    EvaluationEntry,
    Source,
    render_entries,
)
from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.hub.client.retry import RetryPolicy
from inferencebench_pipeline.hub.client.transport import Timeouts
from inferencebench_pipeline.hub.takedowns.register import Takedowns
from tests.hub.conftest import World

SPEC = b"""\
name: Arithmetic
evaluation_framework: inspect-ai
tasks:
  - id: sums
    field_spec: {input: question, target: answer}
    solvers: [{name: generate}]
    scorers: [{name: exact}]
  - id: products
    field_spec: {input: question, target: answer}
    solvers: [{name: generate}]
    scorers: [{name: exact}]
"""
_numbers = itertools.count()


@dataclass(frozen=True)
class Place:
    """Somebody's model, somebody's benchmark, and us."""

    world: World
    us: EvaluationHub
    model_owner: Hub
    model_id: str
    benchmark: str
    root: Path

    @property
    def model(self) -> Repo:
        return Repo("model", self.model_id)

    def entry(
        self,
        value: float = 0.5,
        *,
        task: str = "sums",
        provider: str = "together",
        source: str = "https://example.org/record",
    ) -> EvaluationEntry:
        configuration = RunConfiguration(provider=provider, engine="vllm/0.12.0", tools=())
        return EvaluationEntry(
            dataset=BenchmarkTask(id=self.benchmark, task_id=task),
            value=value,
            date="2026-11-02T10:00:00Z",
            source=Source(url=source, name="record"),
            notes=render_notes(configuration),
        )

    def submission(self, entry: EvaluationEntry | None = None) -> Submission:
        return Submission(self.model_id, self.entry() if entry is None else entry)

    def propose(
        self,
        entry: EvaluationEntry | None = None,
        *,
        hub: EvaluationHub | None = None,
        takedowns: Takedowns | None = None,
        confirmation: str | None = "",
    ) -> Proposed | Assessment:
        return propose(
            hub or self.us,
            self.root,
            self.submission(entry),
            takedowns=takedowns or Takedowns(),
            confirmation=self.model_id if confirmation == "" else confirmation,
        )

    def numbers(self) -> list[tuple[int, str]]:
        """Return all pull requests of the model with their status, the oldest first."""
        pulls = self.model_owner.pull_requests(self.model)
        return sorted((pull.number, pull.status) for pull in pulls)

    def put(self, hub: Hub, path: str, *entries: EvaluationEntry, revision: str = "main") -> str:
        head = hub.head(self.model, revision)
        return hub.commit(
            self.model,
            {path: render_entries(entries)},
            message="results",
            parent=head.commit,
            revision=revision,
        )

    def merge(self, number: int) -> None:
        self._as_owner(f"/api/models/{self.model_id}/discussions/{number}/merge", {})

    def reopen(self, number: int) -> None:
        path = f"/api/models/{self.model_id}/discussions/{number}/status"
        self._as_owner(path, {"status": "open"})

    def delete_model(self) -> None:
        owner, _, name = self.model_id.partition("/")
        self._as_owner("/api/repos/delete", {"name": name, "organization": owner}, "DELETE")

    def _as_owner(self, path: str, body: object, method: str = "POST") -> None:
        owner = self.model_id.partition("/")[0]
        token = self.world.ask("/_sandbox/tokens", {"user": owner, "role": "write"})["token"]
        request = urllib.request.Request(
            self.world.url + path,
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
            method=method,
        )
        urllib.request.urlopen(request, timeout=10).close()


def evaluation_hub(world: World, user: str) -> EvaluationHub:
    """Return a client of a user of this name, made if need be."""
    world.ask("/_sandbox/users", {"name": user, "organisations": {}})
    token = str(world.ask("/_sandbox/tokens", {"user": user, "role": "write"})["token"])
    return EvaluationHub(
        world.url,
        lambda: token,
        timeouts=Timeouts(connect_s=5.0, read_s=10.0, write_s=10.0),
        retry=RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=2.0, deadline_s=60.0),
    )


def a_place(world: World, root: Path) -> Place:
    """Return a new model and a new benchmark, each of its own owner, and us as a third."""
    number = next(_numbers)
    model_owner = world.user(f"author-{number}")
    model_id = f"author-{number}/model"
    world.put_model(model_owner, model_id, b"---\nlicense: mit\n---\n# M\n")
    benchmark = a_benchmark(world, f"bench-{number}")
    us = evaluation_hub(world, f"evaluator-{number}")
    return Place(world, us, model_owner, model_id, benchmark, root)


def a_benchmark(world: World, owner: str) -> str:
    """Return a dataset that the Hub ranks results on."""
    hub = world.user(owner)
    repo = Repo("dataset", f"{owner}/sums")
    assert hub.create(repo)
    hub.commit(repo, {"eval.yaml": SPEC}, message="spec", parent=None)
    world.ask("/_sandbox/benchmarks", {"dataset": repo.id})
    return repo.id
