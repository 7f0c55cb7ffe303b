"""Requests are counted, and held to what the Hub says is left."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inferencebench_pipeline.cli.app import app
from inferencebench_pipeline.hub.client.budget import RateBudget
from inferencebench_pipeline.hub.client.client import Hub, HubRateLimitError
from inferencebench_pipeline.hub.client.retry import RetryPolicy
from inferencebench_pipeline.hub.dataset.listing import fetch_file, list_published
from inferencebench_pipeline.hub.dataset.publication import publish
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from tests.hub.conftest import World
from tests.hub.records import accept, recorded_run

API = "/api/datasets"
FILE = "/datasets/a/b/resolve/0/x"


def told(kind: str, *, remaining: int, reset_s: int = 100, limit: int = 500) -> dict[str, str]:
    return {
        "RateLimit": f'"{kind}";r={remaining};t={reset_s}',
        "RateLimit-Policy": f'"fixed window";"{kind}";q={limit};w=300',
    }


@pytest.fixture
def limited(world: World) -> Iterator[World]:
    yield world
    world.ask("/_sandbox/limits", {"limits": {}})


def budget_hub(world: World, budget: RateBudget, waits: list[float] | None = None) -> Hub:
    sleep = (lambda _: None) if waits is None else waits.append
    policy = RetryPolicy(attempts=2, longest_wait_s=400.0, deadline_s=1000.0, sleep=sleep)
    return Hub(world.url, lambda: None, retry=policy, budget=budget)


def test_a_window_that_is_used_up_is_not_asked_again_before_it_ends() -> None:
    clock = [0.0]
    budget = RateBudget(clock=lambda: clock[0])
    budget.spend(API)
    budget.note(told("api", remaining=0))
    with pytest.raises(HubRateLimitError) as caught:
        budget.spend(API)
    assert caught.value.retry_after_s == 101.0
    budget.spend(FILE)
    clock[0] = 101.0
    budget.spend(API)
    assert budget.report().requests == {"api": 2, "resolvers": 1}


def test_a_reserve_is_left_to_others() -> None:
    budget = RateBudget(reserve=0.1, clock=lambda: 0.0)
    budget.note(told("resolvers", remaining=52, limit=500))
    budget.spend(FILE)
    budget.spend(FILE)
    with pytest.raises(HubRateLimitError, match="kept for others"):
        budget.spend(FILE)
    assert "resolvers 50 of 500 for 101 s" in str(budget.report())


def test_without_a_word_from_the_hub_nothing_is_held_back() -> None:
    budget = RateBudget(reserve=0.5)
    budget.note({})
    budget.note({"RateLimit": "nonsense"})
    for _ in range(1000):
        budget.spend(API)
    assert str(budget.report()) == "1000 requests (1000 api)"


def test_the_sandbox_s_limits_are_kept_to_without_a_refusal(limited: World) -> None:
    limited.ask("/_sandbox/limits", {"limits": {"api": 4}})
    budget, waits = RateBudget(), list[float]()
    hub = budget_hub(limited, budget, waits)
    limited.faults.clear_requests()
    for _ in range(4):
        list(hub.list_datasets("nobody", "inferencebench"))
    with pytest.raises(HubRateLimitError):
        list(hub.list_datasets("nobody", "inferencebench"))
    assert [record.status for record in limited.faults.requests()] == [200] * 4
    assert len(waits) == 1
    assert 290 < waits[0] <= 301
    assert "api 0 of 4" in str(budget.report())


def test_a_limit_that_others_used_up_is_told_by_the_refusal(limited: World) -> None:
    limited.ask("/_sandbox/limits", {"limits": {"api": 0}})
    with pytest.raises(HubRateLimitError) as caught:
        list(budget_hub(limited, RateBudget()).list_datasets("nobody", "inferencebench"))
    assert caught.value.retry_after_s is not None


def test_requests_of_several_threads_are_all_counted(world: World) -> None:
    budget = RateBudget()
    hub = budget_hub(world, budget)
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(lambda _: list(hub.list_datasets("nobody", "x")), range(20)):
            pass
    assert budget.report().requests == {"api": 20}


def published(world: World, store: Path, organisation: str) -> Receipt:
    hub = world.user(f"{organisation}-owner", **{organisation: "write"})
    return publish(
        hub, recorded_run(store), organisation=organisation, verify=accept, on_stage=lambda _: None
    )


def test_a_crawl_costs_one_request_per_page_and_one_per_file(world: World, store: Path) -> None:
    receipt = published(world, store, "budgeted")
    budget = RateBudget()
    hub = budget_hub(world, budget)
    (listed,) = list_published(hub, "budgeted")
    assert budget.report().requests == {"api": 1}
    fetch_file(hub, listed.repo_id, listed.revision, "envelope.json")
    assert budget.report().requests == {"api": 1, "resolvers": 1}
    assert listed.revision == receipt.commit


def test_the_command_line_shows_what_a_crawl_cost(
    limited: World, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(limited, store, "shown")
    monkeypatch.setenv("INFERENCEBENCH_HOME", str(store / "home"))
    monkeypatch.setenv("HF_ENDPOINT", limited.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    limited.ask("/_sandbox/limits", {"limits": {"api": 500, "resolvers": 3000}})
    done = CliRunner().invoke(app, ["crawl", "--org", "shown"])
    assert done.exit_code == 0, done.output
    assert "Published runs known: 1, fetched now: 1, findings: 0" in done.output
    # One listing; the envelope, its traces and the card of the one run.
    assert "(1 api, 3 resolvers)" in done.output
    assert "api 499 of 500" in done.output
