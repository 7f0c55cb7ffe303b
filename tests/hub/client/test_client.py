"""The Hub client over real HTTP: which failures it sits out, and how it reports the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from inferencebench_pipeline.hub.client.client import (
    Hub,
    HubConflictError,
    HubHeadMovedError,
    HubIntegrityError,
    HubNotFoundError,
    HubPermissionError,
    HubRateLimitError,
    HubRejectedError,
    HubUnavailableError,
    Repo,
)
from inferencebench_pipeline.hub.client.retry import RetryPolicy
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.hub.conftest import ORGANISATION, World

SECRET = "hf_ThisIsATokenNobodyMaySee"


@pytest.fixture
def repo(world: World) -> Repo:
    repo = Repo("dataset", f"{ORGANISATION}/{new_run_id()}")
    assert world.hub().create(repo)
    return repo


def _commit(hub: Hub, repo: Repo, files: dict[str, bytes] | None = None) -> str:
    head = hub.head(repo)
    files = files or {"a.txt": b"a", "b.bin": b"\0" * 500}
    return hub.commit(repo, files, message="add", parent=head.commit)


def test_create_reports_whether_the_repository_is_new(world: World, repo: Repo) -> None:
    assert world.hub().create(repo) is False


def test_a_commit_can_be_read_back_by_its_id(world: World, repo: Repo) -> None:
    hub = world.hub()
    commit = _commit(hub, repo)
    assert hub.head(repo).commit == commit
    assert hub.fetch(repo, commit, "b.bin") == b"\0" * 500
    assert len(world.faults.requests(method="POST", path="/commit/")) == 1


def test_a_download_into_a_file_that_broke_off_leaves_nothing_of_the_first_part(
    world: World, repo: Repo, tmp_path: Path
) -> None:
    hub = world.hub()
    data = bytes(range(256)) * 1_000
    commit = _commit(hub, repo, {"b.bin": data})
    fault = world.faults.add("truncate", method="GET", path="/resolve/", times=1)
    with (tmp_path / "b.bin").open("w+b") as file:
        file.write(bytes(2 * len(data)))
        hub.fetch_into(file, repo, commit, "b.bin", max_bytes=len(data))
    assert world.faults.fired(fault) == 1
    assert (tmp_path / "b.bin").read_bytes() == data


def test_the_token_is_asked_for_at_every_request(world: World, repo: Repo) -> None:
    tokens = iter(["hf_expired", world.sandbox.token("read")])
    hub = Hub(world.url, lambda: next(tokens))
    with pytest.raises(HubPermissionError):
        hub.account()
    assert hub.account().name == "sandbox-publisher"


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_an_outage_of_two_answers_is_sat_out(world: World, repo: Repo, status: int) -> None:
    world.faults.add("status", method="POST", path="/commit/", status=status, times=2)
    assert _commit(world.hub(), repo)
    assert len(world.faults.requests(method="POST", path="/commit/")) == 3


@pytest.mark.parametrize("path", ["preupload", "info/lfs/objects/batch", "/_lfs/", "/commit/"])
def test_a_long_outage_is_reported_after_as_many_attempts_as_the_policy_says(
    world: World, repo: Repo, path: str
) -> None:
    fault = world.faults.add("status", path=path, status=503, body="<html>down</html>", times=None)
    files = {"README.md": b"# x", "big.parquet": new_run_id().encode()}
    with pytest.raises(HubUnavailableError, match="503"):
        _commit(world.hub(attempts=3), repo, files)
    assert world.faults.fired(fault) == 3


@pytest.mark.parametrize("path", ["preupload", "info/lfs/objects/batch", "/commit/"])
def test_a_page_of_html_with_status_200_is_an_outage(world: World, repo: Repo, path: str) -> None:
    fault = world.faults.add("status", path=path, status=200, body="<html>", times=1)
    files = {"README.md": b"# x", "big.parquet": new_run_id().encode()}
    assert _commit(world.hub(), repo, files)
    assert world.faults.fired(fault) == 1


@pytest.mark.parametrize("kind", ["drop", "lost_response"])
def test_a_cut_connection_is_sat_out_and_commits_once(world: World, repo: Repo, kind: str) -> None:
    world.faults.add(kind, method="POST", path="/commit/", times=1)
    commit = _commit(world.hub(), repo)
    assert world.hub().head(repo).commit == commit
    assert world.commits(repo.id).count("add") == 1


def test_a_hang_ends_in_time(world: World, repo: Repo) -> None:
    fault = world.faults.add("delay", path="/commit/", delay_s=20, times=1)
    assert _commit(world.hub(read_s=0.3), repo)
    assert world.faults.fired(fault) == 1


def test_nobody_listening_is_an_outage() -> None:
    retry = RetryPolicy(attempts=2, first_wait_s=0.01)
    hub = Hub("http://127.0.0.1:9", lambda: SECRET, retry=retry)
    with pytest.raises(HubUnavailableError, match="no answer"):
        hub.account()


def test_a_request_window_is_waited_for(world: World, repo: Repo) -> None:
    limited = {"RateLimit": '"api";r=0;t=0', "RateLimit-Policy": '"fixed window";"api";q=1;w=300'}
    fault = world.faults.add("status", path="/commit/", status=429, headers=limited, times=1)
    assert _commit(world.hub(), repo)
    assert world.faults.fired(fault) == 1


def test_a_long_wait_is_reported_and_not_slept(world: World, repo: Repo) -> None:
    for headers, wait_s in (
        ({"RateLimit": '"api";r=0;t=250'}, 251),
        ({"Retry-After": "86400"}, 86400),
    ):
        fault = world.faults.add(
            "status", path="preupload", status=429, headers=headers, times=None
        )
        with pytest.raises(HubRateLimitError) as caught:
            _commit(world.hub(), repo)
        assert caught.value.retry_after_s == wait_s
        assert world.faults.fired(fault) == 1
        world.faults.clear()


def test_an_action_quota_is_reported_with_its_hour(world: World, repo: Repo) -> None:
    fault = world.faults.add(
        "status",
        path="/commit/",
        status=429,
        body="You have exceeded the rate limit for repository commits (128 per hour). You can "
        "retry this action in about 1 hour.",
        headers={"RateLimit": '"api";r=949;t=220'},
        times=None,
    )
    with pytest.raises(HubRateLimitError, match="128 per hour") as caught:
        _commit(world.hub(), repo)
    assert caught.value.retry_after_s == 3600
    assert world.faults.fired(fault) == 1


def test_a_lock_is_waited_for(world: World, repo: Repo) -> None:
    world.faults.add(
        "status",
        path="/commit/",
        status=409,
        body="Another commit operation is in progress for this repository. Please try again later.",
        times=2,
    )
    assert _commit(world.hub(), repo)


def test_a_creation_lock_is_waited_for_a_bounded_number_of_times(world: World) -> None:
    fault = world.faults.add(
        "status",
        path="repos/create",
        status=409,
        body="Cannot create repo: another conflicting operation is in progress",
        times=None,
    )
    with pytest.raises(HubUnavailableError):
        world.hub(attempts=3).create(Repo("dataset", f"{ORGANISATION}/{new_run_id()}"))
    assert world.faults.fired(fault) == 3


def test_a_stale_parent_is_reported(world: World, repo: Repo) -> None:
    hub = world.hub()
    first = hub.head(repo).commit
    _commit(hub, repo)
    with pytest.raises(HubHeadMovedError):
        hub.commit(repo, {"c.txt": b"c"}, message="late", parent=first)


def test_any_other_409_is_a_conflict(world: World, repo: Repo) -> None:
    world.faults.add("status", path="/commit/", status=409, body="Repository is archived")
    with pytest.raises(HubConflictError, match="archived"):
        _commit(world.hub(), repo)


def test_what_is_absent_is_not_found(world: World, repo: Repo) -> None:
    hub = world.hub()
    with pytest.raises(HubNotFoundError):
        hub.head(Repo("dataset", f"{ORGANISATION}/no-such"))
    with pytest.raises(HubNotFoundError):
        hub.fetch(repo, hub.head(repo).commit or "", "no-such.json")


def test_a_read_token_cannot_write_and_is_told_what_would(world: World, repo: Repo) -> None:
    with pytest.raises(HubPermissionError, match="write access"):
        _commit(world.hub("read"), repo)


def test_a_gated_model_is_said_to_need_its_owners_consent(world: World, repo: Repo) -> None:
    gated = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
    world.faults.add("status", path="/resolve/", status=403, headers=gated)
    with pytest.raises(HubPermissionError, match="ask on its page"):
        world.hub().fetch(repo, "0" * 40, "README.md")


def test_a_failing_upload_to_the_store_is_repeated(world: World, repo: Repo) -> None:
    fault = world.faults.add("status", method="PUT", status=503, times=1)
    never_seen = new_run_id().encode() * 9
    assert _commit(world.hub(), repo, {"a.parquet": never_seen})
    assert world.faults.fired(fault) == 1


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """Another host's address, and the requests that reach it, each with the token it carried."""
    arrived: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            arrived.append((self.command, self.headers.get("Authorization")))
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"stored")

        do_POST = do_PUT = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        # The other name of loopback: another host, as a store is beside a Hub.
        yield f"http://localhost:{server.server_port}", arrived
        server.shutdown()
        thread.join()


def test_a_download_may_be_redirected_to_a_store_which_never_sees_the_token(
    world: World, repo: Repo, elsewhere: tuple[str, list[tuple[str, str | None]]]
) -> None:
    address, arrived = elsewhere
    commit = _commit(world.hub(), repo)
    moved = {"Location": f"{address}/blob"}
    world.faults.add("status", path="/resolve/", status=302, headers=moved)
    assert world.hub().fetch(repo, commit, "b.bin") == b"stored"
    assert arrived == [("GET", None)]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_nothing_else_is_sent_to_another_host(
    world: World, repo: Repo, elsewhere: tuple[str, list[tuple[str, str | None]]], status: int
) -> None:
    address, arrived = elsewhere
    moved = {"Location": f"{address}/x"}
    world.faults.add("status", path="^/api/", status=status, headers=moved, times=None)
    for ask in (lambda: world.hub().head(repo), lambda: world.hub().create(repo)):
        with pytest.raises(HubRejectedError, match="is redirected to"):
            ask()
    assert arrived == []


def test_an_invalid_token_is_called_so_without_showing_it(world: World) -> None:
    with pytest.raises(HubPermissionError, match="invalid or expired") as caught:
        world.hub(SECRET).account()
    assert SECRET not in _everything_said(caught.value)


def test_no_token_is_called_so_before_anything_is_sent(world: World) -> None:
    with pytest.raises(HubPermissionError, match="no Hub token: set HF_TOKEN"):
        world.hub(None).create(Repo("dataset", f"{ORGANISATION}/x"))
    assert not world.faults.requests(path="repos/create")


def test_a_token_with_a_line_break_is_refused_without_showing_it(world: World) -> None:
    with pytest.raises(HubPermissionError, match="line break") as caught:
        world.hub(SECRET + "\n").account()
    assert SECRET not in _everything_said(caught.value)


def test_a_server_that_echoes_the_token_does_not_get_it_into_a_message(world: World) -> None:
    world.faults.add("status", path="whoami", status=400, body=f"bad token {SECRET}", times=None)
    with pytest.raises(HubRejectedError) as caught:
        world.hub(SECRET).account()
    assert SECRET not in str(caught.value)


def test_refused_front_matter_is_permanent(world: World, repo: Repo) -> None:
    with pytest.raises(HubRejectedError, match="YAML"):
        _commit(world.hub(), repo, {"README.md": b"---\na: [\n---\n"})
    assert len(world.faults.requests(path="/commit/")) == 1


def test_a_branch_name_is_no_pin(world: World, repo: Repo) -> None:
    with pytest.raises(HubIntegrityError, match="full commit id"):
        world.hub().fetch(repo, "main", "a.txt")


def test_a_file_that_is_too_large_is_not_read(world: World, repo: Repo) -> None:
    hub = world.hub()
    commit = _commit(hub, repo)
    with pytest.raises(HubIntegrityError, match="larger than 100 bytes"):
        hub.fetch(repo, commit, "b.bin", max_bytes=100)


def test_lists_are_read_to_their_last_page(world: World) -> None:
    author = world.user("many", many_org="write")
    names = {f"many_org/d{index:02}" for index in range(3)}
    for name in names:
        repo = Repo("dataset", name)
        author.create(repo)
        _commit(author, repo, {"README.md": b"---\ntags:\n- inferencebench\n---\n"})
    listed = list(author.list_datasets("many_org", "inferencebench", page_size=2))
    assert len(world.faults.requests(path="/api/datasets$")) == 2
    assert {row["id"] for row in listed} == names
    assert all(row["sha"] and row["cardData"] for row in listed)


def test_a_failing_page_fails_the_list(world: World) -> None:
    world.faults.add("status", path="/api/datasets$", status=503, times=None)
    with pytest.raises(HubUnavailableError):
        list(world.hub(attempts=2).list_datasets(ORGANISATION, "inferencebench"))


@pytest.mark.parametrize("endpoint", ["", "huggingface.co", "file:///x", "http://me:pw@host"])
def test_an_endpoint_that_is_no_url_is_refused(endpoint: str) -> None:
    with pytest.raises(HubRejectedError, match="HF_ENDPOINT") as caught:
        Hub(endpoint, lambda: None)
    assert "pw" not in str(caught.value)


def test_clients_on_threads_share_the_process_without_harm(world: World, repo: Repo) -> None:
    heads: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: heads.append(world.hub().head(repo).commit))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(heads) == 8
    assert len(set(heads)) == 1


def test_nothing_is_left_in_the_library_cache(world: World, repo: Repo, tmp_path: Path) -> None:
    hub = world.hub()
    commit = _commit(hub, repo)
    first = hub.fetch(repo, commit, "a.txt")
    world.faults.add("status", path="/resolve/", status=404, times=None)
    assert first == b"a"
    with pytest.raises(HubNotFoundError):
        hub.fetch(repo, commit, "a.txt")


def _everything_said(error: BaseException | None) -> str:
    said = ""
    while error is not None:
        said += f"{error} {error!r}\n"
        error = error.__cause__ or error.__context__
    return said
