"""Whatever a Hub answers, every call to it ends in time with an error that can be read."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from inferencebench_pipeline.community_results.client import EvaluationHub
from inferencebench_pipeline.errors import PipelineError, RetryableError
from inferencebench_pipeline.hub.client.client import Hub, HubIntegrityError, HubRejectedError, Repo
from inferencebench_pipeline.hub.client.errors import HubUnavailableError
from inferencebench_pipeline.hub.client.retry import RetryPolicy
from inferencebench_pipeline.hub.client.transport import (
    RedirectRefusedError,
    Timeouts,
    check_redirect,
)
from inferencebench_pipeline.hub.dataset.listing import list_elsewhere, list_published
from tests.attacks.hostile_http import (
    ANSWERS,
    DAMAGED,
    ESCAPES,
    LARGE,
    LATE,
    Answer,
    Asked,
    HostileServer,
    always,
    json_text,
    plain,
    redirect,
)
from tests.attacks.judging import assert_fit_to_print, assert_in_little_memory, outcome

WHOLE_S, DEADLINE_S = 0.3, 0.5
MARGIN_S = 8.0
"""Beyond the deadline: the machine is busy."""
TOKEN = "hf_ATokenThatNobodyElseMaySee"
COMMIT = "a" * 40
DATASET, MODEL = Repo("dataset", "org/name"), Repo("model", "org/model")


def _hub(server: HostileServer, *, deadline_s: float = DEADLINE_S) -> EvaluationHub:
    return EvaluationHub(
        server.url,
        lambda: TOKEN,
        timeouts=Timeouts(connect_s=5.0, read_s=5.0, write_s=5.0, whole_s=WHOLE_S),
        retry=RetryPolicy(attempts=3, first_wait_s=0.01, longest_wait_s=0.1, deadline_s=deadline_s),
    )


CALLS: dict[str, Callable[[EvaluationHub], object]] = {
    "account": Hub.account,
    "head": lambda hub: hub.head(DATASET),
    "fetch": lambda hub: hub.fetch(DATASET, COMMIT, "envelope.json", max_bytes=1 << 20),
    "list": lambda hub: list(list_published(hub, "org")),
    "list_elsewhere": lambda hub: list(list_elsewhere(hub, "org", most=2_000)),
    "list_models": lambda hub: list(itertools.islice(hub.list_models("org"), 1_000)),
    "pull_requests": lambda hub: hub.pull_requests(MODEL),
    "create": lambda hub: hub.create(DATASET),
    "commit": lambda hub: hub.commit(DATASET, {"a": b"a"}, message="m", parent=None),
    "open_draft": lambda hub: hub.open_draft(MODEL, title="t", description="d"),
    "submit_draft": lambda hub: hub.submit_draft(MODEL, 1),
    "evaluation_results": lambda hub: hub.evaluation_results("org/model"),
    "leaderboard": lambda hub: hub.leaderboard("org/name"),
    "tags": lambda hub: hub.tags("org/name"),
    "fate": lambda hub: hub.fate(MODEL, 1),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_call_ends_whatever_is_answered(
    answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    with HostileServer(ANSWERS[answer]) as server:
        hub = _hub(server)
        for name, call in CALLS.items():
            error = outcome(lambda call=call: call(hub), within_s=DEADLINE_S + MARGIN_S)
            assert error is None or TOKEN not in str(error), name
    for record in caplog.records:
        assert_fit_to_print(record.getMessage())


@pytest.mark.parametrize("answer", LATE)
def test_an_answer_that_drips_is_an_outage_at_its_deadline(answer: str) -> None:
    with HostileServer(ANSWERS[answer]) as server:
        for call in ("list", "list_elsewhere", "account", "head", "fetch"):
            began = time.monotonic()
            with pytest.raises(HubUnavailableError):
                CALLS[call](_hub(server))
            assert time.monotonic() - began < DEADLINE_S + MARGIN_S


@pytest.mark.parametrize("answer", [*LARGE, "many_lists", "many_objects"])
def test_a_large_answer_takes_little_memory(answer: str) -> None:
    with HostileServer(ANSWERS[answer]) as server:
        hub = _hub(server, deadline_s=5.0)

        def ask() -> None:
            for call in ("list", "account", "fetch"):
                outcome(lambda call=call: CALLS[call](hub), within_s=60.0)  # it is traced, and slow

        assert_in_little_memory(ask)


def test_what_is_too_large_or_too_deep_is_not_asked_for_again() -> None:
    for answer in ("deep", "just_too_deep", "huge_number", "announced_size", "bomb_in_a_bomb"):
        with HostileServer(ANSWERS[answer]) as server:
            with pytest.raises(PipelineError) as caught:
                CALLS["list"](_hub(server, deadline_s=30.0))
            retried = isinstance(caught.value, RetryableError)
            assert len(server.asked) == (3 if retried else 1), answer
            assert not retried or answer == "bomb_in_a_bomb"  # a coding that was not asked for


@pytest.mark.parametrize("answer", DAMAGED)
def test_a_damaged_answer_may_be_whole_the_next_time(answer: str) -> None:
    with HostileServer(ANSWERS[answer]) as server, pytest.raises(HubUnavailableError):
        CALLS["account"](_hub(server))


# -- shapes ----------------------------------------------------------------------------------------

ROW: dict[str, Any] = {
    "id": "org/name",
    "sha": COMMIT,
    "createdAt": "2026-01-01T00:00:00.000Z",
    "lastModified": "2026-01-01T00:00:00.000Z",
    "cardData": {"tags": ["a"]},
    "siblings": [{"rfilename": "a.json", "size": 5, "blobId": COMMIT, "lfs": {"sha256": "x"}}],
}
A_SHA256 = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
UPLOAD = {"href": "http://127.0.0.1:1/x", "header": {"chunk_size": "5", "1": "u"}}
SHAPES: dict[str, Any] = {
    "account": {
        "name": "org",
        "auth": {"accessToken": {"role": "fineGrained", "fineGrained": {
            "scoped": [{"entity": {"name": "org"}, "permissions": ["repo.write"]}]}}},
        "orgs": [{"name": "org", "roleInOrg": "write"}],
    },
    "head": ROW,
    "list": [ROW],
    "list_elsewhere": [ROW],
    "list_models": [ROW],
    "pull_requests": {
        "count": 1, "start": 0, "discussions": [
            {"num": 1, "title": "t", "author": {"name": "a"}, "status": "open",
             "isPullRequest": True}],
    },
    "create": {"url": "http://x"},
    "commit": {
        "files": [{"path": "a", "uploadMode": "lfs", "shouldIgnore": False, "oid": COMMIT}],
        "commitOid": COMMIT, "sha": COMMIT,
        "objects": [{"oid": A_SHA256, "size": 1, "actions": {"upload": UPLOAD}}],
    },
    "open_draft": {"num": 1},
    "submit_draft": {"status": "draft"},
    "evaluation_results": {"evalResults": [{"a": 1}]},
    "leaderboard": [{"a": 1}],
    "tags": {"tags": ["a"]},
    "fate": {"status": "open", "author": {"name": "a"}, "events": [
        {"type": "status-change", "createdAt": "2026-01-01T00:00:00.000Z",
         "author": {"name": "a"}}]},
}  # fmt: skip
ODD: list[Any] = [
    *(None, True, 0, -1, 2**63, 10**300, 1e308, float("inf")),
    *("", "\ud800", ESCAPES, "9" * 5_000, "\0", "../..", "0", "\u00b2"),
    *([], {}, [[]], [None], {"a": {}}, [5], ["a"]),
]


def _paths(node: Any) -> Iterator[tuple[Any, ...]]:
    yield ()
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from ((key, *rest) for rest in _paths(child))


def _changed(node: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    copy = dict(node) if isinstance(node, dict) else list(node)
    copy[path[0]] = _changed(copy[path[0]], path[1:], odd)
    return copy


@pytest.mark.parametrize("call", SHAPES)
def test_every_field_of_an_answer_may_hold_anything(call: str) -> None:
    chance = random.Random(call)
    content: Any = None

    def answer(_: Asked) -> list[bytes]:
        text = json.dumps(content).replace("Infinity", "1e999")
        return [plain(text.encode("utf-8", "surrogatepass"))]

    with HostileServer(answer) as server:
        hub = _hub(server, deadline_s=0.2)
        content = SHAPES[call]
        honest = outcome(lambda: CALLS[call](hub), within_s=MARGIN_S)
        if call not in {"create", "commit"}:
            assert honest is None
        for path in _paths(SHAPES[call]):
            for odd in chance.sample(ODD, 12) if len(path) > 3 else ODD:
                content = _changed(SHAPES[call], path, odd)
                error = outcome(
                    lambda: CALLS[call](_hub(server, deadline_s=0.2)), within_s=MARGIN_S
                )
                assert error is None or TOKEN not in str(error)


def test_one_row_of_others_that_is_wrong_does_not_hide_the_rest() -> None:
    rows = [_changed(ROW, (name,), odd) for name in ("id", "sha") for odd in ODD]
    rows.append(_changed(ROW, ("createdAt",), "yesterday"))
    with HostileServer(json_text(json.dumps([*rows, ROW]).replace("Infinity", "1e999"))) as server:
        found = list(list_elsewhere(_hub(server), "another", most=2_000))
    assert [repo.repo_id for repo in found] == ["org/name"]


ODD_IDS = [
    *("../..", "a/..", "../a", "./a", "a/.", "...", "a/...", "a//b", "/a", "a/", "a/b/c", "a/b?c"),
    *(
        "a/b#c",
        "a/%2e%2e",
        "a/b\n",
        "a b/c",
        "a\\..\\b/c",
        "",
        "\u0430/b",
        "a/" + "b" * 97,
        "a/b:c",
    ),
]


@pytest.mark.parametrize("repo_id", ODD_IDS)
def test_an_id_that_would_change_an_address_is_refused(repo_id: str) -> None:
    row = _changed(ROW, ("id",), repo_id)
    with HostileServer(json_text(json.dumps([row]))) as server:
        hub = _hub(server)
        assert list(list_elsewhere(hub, "another", most=10)) == []
        with pytest.raises(HubIntegrityError) as caught:
            list(list_published(hub, "org"))
        assert_fit_to_print(str(caught.value))
        asked = len(server.asked)
        for call in (
            lambda: hub.head(Repo("dataset", repo_id)),
            lambda: hub.fetch(Repo("model", repo_id), COMMIT, "a"),
            lambda: hub.tags(repo_id),
            lambda: hub.leaderboard(repo_id),
            lambda: hub.evaluation_results(repo_id),
        ):
            with pytest.raises(HubRejectedError):
                call()
        assert len(server.asked) == asked


# -- lists that do not end, and other places -------------------------------------------------------


def _next(server_url: Callable[[], str], rows: list[object]) -> Answer:
    numbers = itertools.count()

    def answer(_: Asked) -> list[bytes]:
        following = f"<{server_url()}/api/datasets?cursor={next(numbers)}>; rel=next"
        return [plain(json.dumps(rows).encode(), ("Link", following))]

    return answer


@pytest.mark.parametrize("rows", [[], [ROW]], ids=["empty pages", "full pages"])
def test_a_list_without_end_ends(rows: list[object]) -> None:
    with HostileServer(_next(lambda: server.url, rows)) as server:
        for call in ("list", "list_elsewhere"):
            error = outcome(
                lambda call=call: CALLS[call](_hub(server)), within_s=DEADLINE_S + MARGIN_S
            )
            assert error is not None or (rows and call == "list_elsewhere")  # it stops asking


@pytest.mark.parametrize(
    "following",
    [
        "{url}/api/datasets?author=org&again",
        "{url}/api/models?cursor=a",
        "{url}/api/datasets/../whoami-v2",
        "http://localhost:{port}/api/datasets?cursor=a",
        "http://user@127.0.0.1:{port}/api/datasets?cursor=a",
        "http://127.0.0.1:{port}@localhost/api/datasets",
        "http://127.0.0.1:{port}\\@localhost/api/datasets",
        "https://127.0.0.1:{port}/api/datasets?cursor=a",
        "/api/datasets?cursor=a",
        "http://[::1/",
        "file:///etc/passwd",
        "",
    ],
)
def test_a_list_goes_on_only_where_it_began(following: str) -> None:
    def answer(_: Asked) -> list[bytes]:
        place = following.format(url=server.url, port=server.port)
        return [plain(b"[]", ("Link", f"<{place}>; rel=next"))]

    with HostileServer(answer) as server:
        outcome(lambda: CALLS["list"](_hub(server)), within_s=DEADLINE_S + MARGIN_S)
        assert {asked.path.partition("?")[0] for asked in server.asked} == {"/api/datasets"}
        assert len(server.asked) <= 2


def test_no_redirect_carries_the_token_or_leaves_the_hub_but_for_a_file() -> None:
    with HostileServer(always(plain(b"{}"))) as other:
        place = f"http://localhost:{other.port}/latest/meta-data"
        with HostileServer(redirect(place, "307 Away")) as server:
            for name, call in CALLS.items():
                outcome(lambda call=call: call(_hub(server)), within_s=DEADLINE_S + MARGIN_S)
                assert bool(other.asked) == (name == "fetch"), name
                for asked in other.asked:
                    assert "authorization" not in asked.headers
                other.asked.clear()


@pytest.mark.parametrize(
    ("here", "there", "followed"),
    [
        ("https://hub.example/a/resolve/b", "https://cdn.example/c", True),
        ("https://hub.example/a/resolve/b", "http://cdn.example/c", False),
        ("https://hub.example/a/resolve/b", "https://169.254.169.254/latest", False),
        ("https://hub.example/a/resolve/b", "https://10.0.0.1/", False),
        ("https://hub.example/a/resolve/b", "https://[::1]/", False),
        ("https://hub.example/a/resolve/b", "https://[::ffff:127.0.0.1]/", False),
        ("https://hub.example/a/resolve/b", "https://2130706433/", False),
        ("https://hub.example/a/resolve/b", "https://0x7f.1/", False),
        ("https://hub.example/a/resolve/b", "https://127.1/", False),
        ("https://hub.example/a/resolve/b", "https://localhost./", False),
        ("https://hub.example/a/resolve/b", "https://metadata.google.internal/", False),
        ("https://hub.example/api/datasets", "https://cdn.example/c", False),
        ("https://hub.example/api/datasets", "https://hub.example/api/datasets?a", True),
        ("http://127.0.0.1:1/a/resolve/b", "http://127.0.0.1:2/c", True),
        ("http://hub.mirror.example/a/resolve/b", "http://127.0.0.1:2/c", False),
    ],
)
def test_a_download_leads_to_the_net_and_never_inside(
    here: str, there: str, followed: bool
) -> None:
    asked, following = httpx2.Request("GET", here), httpx2.Request("GET", there)
    if followed:
        check_redirect(asked, following)
    else:
        with pytest.raises(RedirectRefusedError):
            check_redirect(asked, following)
