"""Evaluation results, benchmarks and webhooks, with the unmodified client."""

from __future__ import annotations

import http.server
import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import yaml
from huggingface_hub import EvalResultEntry, HfApi, eval_result_entries_to_yaml
from huggingface_hub.errors import HfHubHTTPError

from tests.sandbox.calls import commit, request
from tests.sandbox.conftest import ORGANISATION

SPEC = b"""\
name: Arithmetic
description: Small sums.
evaluation_framework: inspect-ai
tasks:
  - id: sums
    split: test
    field_spec: {input: question, target: answer}
    solvers: [{name: generate}]
    scorers: [{name: exact}]
"""


@dataclass(frozen=True)
class Received:
    secret: str | None
    payload: dict


@pytest.fixture
def inbox() -> Iterator[tuple[str, queue.Queue[Received]]]:
    """A listener on loopback: its address, and what it was sent."""
    arrived: queue.Queue[Received] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrived.put(Received(self.headers.get("X-Webhook-Secret"), json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", arrived
    server.shutdown()
    server.server_close()


@pytest.fixture
def model(api, new_name) -> str:
    name = new_name()
    api.create_repo(name)
    return name


@pytest.fixture
def benchmark(api, dataset) -> str:
    commit(api, dataset, {"eval.yaml": SPEC})
    answer = request(api, "POST", "/_sandbox/benchmarks", json={"dataset": dataset})
    assert answer.json() == {"benchmark": True}
    return dataset


@pytest.fixture
def stranger(sandbox, api) -> HfApi:
    request(api, "POST", "/_sandbox/users", json={"name": "passer-by"})
    issued = request(api, "POST", "/_sandbox/tokens", json={"user": "passer-by", "role": "write"})
    return HfApi(endpoint=sandbox.hub_url, token=issued.json()["token"])


def results(*entries: EvalResultEntry) -> bytes:
    return yaml.safe_dump(eval_result_entries_to_yaml(list(entries))).encode()


def raw(api, model):
    return request(api, "GET", f"/api/models/{model}?expand=evalResults").json()["evalResults"]


def test_results_on_main_and_on_open_requests_carry_what_the_trust_tier_is_read_from(
    api, stranger, model, benchmark
):
    body = {"model": model, "dataset": benchmark, "task_id": "sums", "value": 0.9}
    token = request(api, "POST", "/_sandbox/verify-tokens", json=body).json()["verifyToken"]
    checked = EvalResultEntry(benchmark, "sums", 0.9, verify_token=token)
    forged = EvalResultEntry(benchmark, "sums", 0.99, verify_token=token)
    files = {".eval_results/a.yaml": results(checked), ".eval_results/b.yaml": results(forged)}
    commit(api, model, files, repo_type="model")
    theirs = EvalResultEntry(benchmark, "sums", 0.5, source_url="https://example.org/log")
    proposed = {".eval_results/c.yaml": results(theirs)}
    commit(stranger, model, proposed, repo_type="model", create_pr=True)

    found = raw(api, model)
    assert [(i["filename"], i["verified"], i.get("pullRequest")) for i in found] == [
        (".eval_results/a.yaml", True, None),
        (".eval_results/b.yaml", False, None),
        (".eval_results/c.yaml", False, 1),
    ]
    assert api.model_info(model, expand=["evalResults"]).eval_results == [checked, forged, theirs]

    board = api.get_dataset_leaderboard(benchmark)
    assert [(row.rank, row.value, row.verified, row.pull_request) for row in board] == [
        (1, 0.99, False, None),
        (2, 0.9, True, None),
        (3, 0.5, False, 1),
    ]
    assert board[2].source == {"url": "https://example.org/log", "isExternal": True}
    assert board[0].author.username == ORGANISATION


@pytest.mark.parametrize("status", ["draft", "closed", "merged"])
def test_only_open_requests_count_and_merged_ones_are_results_of_main(
    api, model, benchmark, status
):
    entry = EvalResultEntry(benchmark, "sums", 0.5)
    files = {".eval_results/c.yaml": results(entry)}
    if status == "draft":
        number = api.create_pull_request(model, title="results").num
        commit(api, model, files, repo_type="model", revision=f"refs/pr/{number}")
    else:
        commit(api, model, files, repo_type="model", create_pr=True)
    if status == "closed":
        api.change_discussion_status(model, 1, "closed")
    if status == "merged":
        api.merge_pull_request(model, 1)
    assert [item.get("pullRequest") for item in raw(api, model)] == (
        [None] if status == "merged" else []
    )


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (b"- dataset: {id: a/b}\n  value: 1\n", "dataset.task_id"),
        (b"- dataset: {id: a/b, task_id: t}\n  value: 1\n  date: 2026-01-02\n", "date"),
        (b"- dataset: {id: a/b, task_id: t}\n  value: 1\n  source: {name: x}\n", "source.url"),
        (b"- dataset: {id: a/b, task_id: t}\n  value: '1'\n", "value"),
        (b"[", "YAML"),
    ],
)
def test_a_file_that_does_not_validate_is_shown_as_an_error(api, model, content, key):
    commit(api, model, {".eval_results/x.yaml": content}, repo_type="model")
    (item,) = raw(api, model)
    assert item["filename"] == ".eval_results/x.yaml"
    assert key in item["error"]
    assert not api.model_info(model, expand=["evalResults"]).eval_results


@pytest.mark.parametrize(
    "content",
    [
        b"name: x\n",
        b"name: x\ntasks: []\n",
        b"name: x\ntasks: [{id: a}, {id: a}]\n",
        b"name: x\ntasks: [{id: a}]\nevaluation_framework: mine\n",
        b"name: x\ntasks: [{id: a}]\nevaluation_framework: inspect-ai\n",
        b"name: x\nsurprise: 1\ntasks: [{id: a}]\n",
        b"[",
    ],
)
def test_an_eval_yaml_is_validated_at_push(api, dataset, content):
    before = api.dataset_info(dataset).sha
    with pytest.raises(HfHubHTTPError, match=r"eval\.yaml"):
        commit(api, dataset, {"eval.yaml": content})
    assert api.dataset_info(dataset).sha == before


def test_a_dataset_is_a_benchmark_when_it_is_allowed_and_says_what_it_measures(api, dataset):
    def listed():
        return [info.id for info in api.list_datasets(benchmark=True) if info.id == dataset]

    request(api, "POST", "/_sandbox/benchmarks", json={"dataset": dataset})
    assert listed() == []
    with pytest.raises(HfHubHTTPError):
        api.get_dataset_leaderboard(dataset)
    commit(api, dataset, {"eval.yaml": SPEC})
    assert listed() == [dataset]
    assert "benchmark:official" in api.dataset_info(dataset).tags
    assert api.get_dataset_leaderboard(dataset) == []
    request(api, "POST", "/_sandbox/benchmarks", json={"dataset": dataset, "allowed": False})
    assert listed() == []


def test_derived_models_and_unknown_tasks_stay_off_the_default_board(api, model, benchmark):
    files = {
        "README.md": b"---\nbase_model: a/b\n---\n",
        ".eval_results/x.yaml": results(
            EvalResultEntry(benchmark, "sums", 0.5), EvalResultEntry(benchmark, "other", 0.6)
        ),
    }
    commit(api, model, files, repo_type="model")
    assert api.get_dataset_leaderboard(benchmark) == []
    everything = api.get_dataset_leaderboard(benchmark, base_model_only=False)
    assert [row.value for row in everything] == [0.5]


def test_a_push_is_told_to_who_watches_with_the_secret(api, dataset, model, inbox):
    address, arrived = inbox
    made = api.create_webhook(
        url=address, watched=[{"type": "dataset", "name": dataset}], domains=["repo"], secret="s3"
    )
    assert [hook.id for hook in api.list_webhooks()] == [made.id]
    before = api.dataset_info(dataset).sha
    commit(api, model, {"x.txt": b"x"}, repo_type="model")
    after = commit(api, dataset, {"x.txt": b"x"}).oid
    told = arrived.get(timeout=10)
    assert told.secret == "s3"
    assert told.payload["event"] == {"action": "update", "scope": "repo.content"}
    assert told.payload["repo"]["name"] == dataset
    assert told.payload["updatedRefs"] == [
        {"ref": "refs/heads/main", "oldSha": before, "newSha": after}
    ]
    proposed = commit(api, dataset, {"y.txt": b"y"}, create_pr=True).oid
    told = arrived.get(timeout=10)
    assert told.payload["updatedRefs"] == [{"ref": "refs/pr/1", "oldSha": None, "newSha": proposed}]
    assert told.payload["repo"]["headSha"] == after

    api.disable_webhook(made.id)
    commit(api, dataset, {"z.txt": b"z"})
    api.enable_webhook(made.id)
    api.merge_pull_request(dataset, 1, repo_type="dataset")
    told = arrived.get(timeout=10)
    assert told.payload["updatedRefs"][0]["newSha"] == api.dataset_info(dataset).sha
    assert arrived.empty()
    api.delete_webhook(made.id)
    assert api.list_webhooks() == []


def test_webhooks_go_to_loopback_only_and_belong_to_their_user(api, stranger, dataset, inbox):
    watched = [{"type": "org", "name": ORGANISATION}]
    with pytest.raises(HfHubHTTPError, match="loopback"):
        api.create_webhook(url="http://example.org/hook", watched=watched)
    made = api.create_webhook(url=inbox[0], watched=watched)
    assert api.get_webhook(made.id).domains == ["repo", "discussion"]
    with pytest.raises(HfHubHTTPError):
        stranger.get_webhook(made.id)
    api.update_webhook(made.id, watched=[{"type": "user", "name": "nobody"}])
    assert api.get_webhook(made.id).watched[0].name == "nobody"
    api.delete_webhook(made.id)
