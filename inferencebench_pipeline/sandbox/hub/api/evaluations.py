"""The routes of evaluation results: a leaderboard, and the controls of the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inferencebench_pipeline.sandbox.hub.context import (
    REPO_API,
    Hub,
    caller_of,
    hub_of,
    json_body,
    text_field,
    visible_repository,
)
from inferencebench_pipeline.sandbox.hub.describe import card_of
from inferencebench_pipeline.sandbox.hub.errors import HubError, repository_not_found
from inferencebench_pipeline.sandbox.hub.evaluations import is_benchmark, results_of, tasks_of
from inferencebench_pipeline.sandbox.hub.names import RepoId, RepoKind
from inferencebench_pipeline.sandbox.hub.repository import Repository


def leaderboard(request: Request) -> Response:
    """Rank every result of the benchmark, the highest value first.

    Models that declare a base model are left out unless ``base_model=false``.
    """
    dataset = visible_repository(request)
    if dataset.id.kind is not RepoKind.DATASET or not is_benchmark(dataset):
        raise HubError(404, f"{dataset.id.full_name} has no leaderboard: it is not a benchmark")
    derived_too = request.query_params.get("base_model", "").lower() == "false"
    rows = [
        row
        for model in _visible_models(request)
        if derived_too or not _base_model(model)
        for row in _rows(hub_of(request), model, dataset.id.full_name, tasks_of(dataset))
    ]
    ordered = sorted(rows, key=lambda row: (-row["value"], row["modelId"], row["filename"]))
    return JSONResponse([{"rank": rank, **row} for rank, row in enumerate(ordered, start=1)])


async def allow_benchmark(request: Request) -> Response:
    """Put a dataset on the benchmark allow-list, or take it off: ``{"dataset", "allowed"}``."""
    body = await json_body(request)
    owner, _, name = text_field(body, "dataset").partition("/")
    repository = hub_of(request).store.find(RepoId(RepoKind.DATASET, owner, name))
    if repository is None:
        raise repository_not_found()
    repository.set_benchmark(body.get("allowed", True) is True)
    return JSONResponse({"benchmark": is_benchmark(repository)})


async def issue_verify_token(request: Request) -> Response:
    """Issue the token of a result the Hub ran itself.

    The body is ``{"model", "dataset", "task_id", "value"}``.
    """
    body = await json_body(request)
    value = body.get("value")
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise HubError(400, "'value' must be a number")
    model, dataset, task = (text_field(body, key) for key in ("model", "dataset", "task_id"))
    token = hub_of(request).verify_tokens.issue(model, dataset, task, value)
    return JSONResponse({"verifyToken": token})


def _visible_models(request: Request) -> Iterator[Repository]:
    caller = caller_of(request)
    for model in hub_of(request).store.all(RepoKind.MODEL):
        if not model.settings.private or caller.may_read_private(model.id.owner):
            yield model


def _base_model(model: Repository) -> object:
    return (card_of(model, model.head).data or {}).get("base_model")


def _rows(
    hub: Hub, model: Repository, dataset_id: str, tasks: frozenset[str]
) -> Iterator[dict[str, Any]]:
    for item in results_of(model, hub.verify_tokens):
        data = item.get("data", {})
        dataset = data.get("dataset", {})
        if dataset.get("id") != dataset_id or dataset["task_id"] not in tasks:
            continue
        yield {
            "modelId": model.id.full_name,
            "value": data["value"],
            "filename": item["filename"],
            "verified": item["verified"],
            "author": {"type": "user", "name": model.id.owner, "fullname": model.id.owner},
            **({"source": _source(hub, data["source"])} if "source" in data else {}),
            **({"notes": data["notes"]} if "notes" in data else {}),
            **({"pullRequest": item["pullRequest"]} if "pullRequest" in item else {}),
        }


def _source(hub: Hub, source: dict[str, Any]) -> dict[str, object]:
    url = source["url"]
    external = not url.startswith(f"{hub.base_url}/")
    return {"url": url, "isExternal": external} | {k: source[k] for k in source if k == "name"}


routes = [
    Route(f"{REPO_API}/leaderboard", leaderboard, methods=["GET"]),
    Route("/_sandbox/benchmarks", allow_benchmark, methods=["POST"]),
    Route("/_sandbox/verify-tokens", issue_verify_token, methods=["POST"]),
]
