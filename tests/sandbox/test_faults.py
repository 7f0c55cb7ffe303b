"""What each fault does to the unmodified client, and what the client makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.utils import httpx
from pydantic import ValidationError

from inferencebench_pipeline.sandbox.faults_client import FaultControlError, Faults
from tests.sandbox.calls import commit, fetch, request

COMMIT = r"/commit/main$"
NO_REQUESTS_LEFT = {
    "RateLimit": '"api";r=0;t=1',
    "RateLimit-Policy": '"fixed window";"api";q=1000;w=300',
}


def history(api, repo_id):
    return [item.title for item in api.list_repo_commits(repo_id, repo_type="dataset")]


@pytest.mark.parametrize(
    ("status", "body", "headers", "text"),
    [
        (429, "wait", NO_REQUESTS_LEFT, "Retry after 1 seconds"),
        (
            429,
            json.dumps({"error": "You have exceeded the rate limit for repository commits"}),
            {"RateLimit": '"api";r=949;t=220', "Content-Type": "application/json"},
            "rate limit for repository commits",
        ),
        (409, "Another commit operation is in progress", {}, "Another commit operation"),
        (503, "down", {}, "503 Service Unavailable"),
        (403, "", {"X-Error-Message": "Forbidden: no"}, "Forbidden: no"),
    ],
)
def test_a_status_instead_of_the_commit(api, dataset, faults, status, body, headers, text):
    faults.add("status", method="POST", path=COMMIT, status=status, body=body, headers=headers)
    with pytest.raises(HfHubHTTPError, match=text) as raised:
        commit(api, dataset, {"a.txt": b"a"})
    assert raised.value.response.status_code == status
    assert history(api, dataset) == ["initial commit"]
    assert [r.status for r in faults.requests(path=COMMIT)] == [status]


def test_the_client_retries_preupload_by_itself(api, dataset, faults):
    fault = faults.add("status", path="/preupload/", status=429, headers={"Retry-After": "0"})
    commit(api, dataset, {"a.txt": b"a"})
    assert faults.fired(fault) == 1
    assert [r.status for r in faults.requests(path="/preupload/")] == [429, 200]


def test_the_client_waits_out_a_rate_limited_list(api, faults):
    headers = {"RateLimit": '"api";r=0;t=0'}
    faults.add("status", path=r"^/api/datasets$", status=429, headers=headers)
    list(api.list_datasets())
    assert [r.status for r in faults.requests(path=r"^/api/datasets$")][:2] == [429, 200]


@pytest.mark.parametrize("status", [429, 503])
def test_info_is_not_retried_by_the_client(api, dataset, faults, status):
    faults.add("status", path=f"/api/datasets/{dataset}$", status=status)
    with pytest.raises(HfHubHTTPError):
        api.dataset_info(dataset)
    assert len(faults.requests(path=f"/api/datasets/{dataset}$")) == 1


def test_create_repo_spins_without_a_pause_on_a_conflicting_operation(api, new_name, faults):
    text = "Cannot create repo: another conflicting operation is in progress"
    faults.add("status", path="/repos/create$", status=409, body=text, times=4)
    api.create_repo(new_name(), repo_type="dataset")
    statuses = [r.status for r in faults.requests(path="/repos/create$")]
    assert statuses == [409, 409, 409, 409, 200]


def test_exist_ok_does_not_forgive_429(api, dataset, faults):
    faults.add("status", path="/repos/create$", status=429)
    with pytest.raises(HfHubHTTPError):
        api.create_repo(dataset, repo_type="dataset", exist_ok=True)


def test_validation_that_answers_no_json(api, dataset, faults):
    faults.add("status", path="/validate-yaml$", status=503, body="<html>")
    with pytest.raises(json.JSONDecodeError):
        commit(api, dataset, {"README.md": b"# hi"})


@pytest.mark.parametrize("kind", ["lost_response", "drop"])
def test_a_commit_whose_answer_is_lost_landed_and_a_dropped_one_did_not(api, dataset, faults, kind):
    fault = faults.add(kind, method="POST", path=COMMIT)
    with pytest.raises(httpx.TransportError):
        commit(api, dataset, {"a.txt": b"a"}, commit_message="m")
    landed = kind == "lost_response"
    assert faults.fired(fault) == 1
    assert history(api, dataset) == (["m", "initial commit"] if landed else ["initial commit"])
    commit(api, dataset, {"a.txt": b"a"}, commit_message="m")
    assert history(api, dataset) == ["m", "initial commit"]
    statuses = [r.status for r in faults.requests(path=COMMIT)]
    assert statuses == ([None] if landed else [None, 200])


def test_a_lost_pull_request_is_opened_twice_by_a_retry(api, dataset, faults):
    faults.add("lost_response", method="POST", path=COMMIT)
    with pytest.raises(httpx.TransportError):
        commit(api, dataset, {"a.txt": b"a"}, create_pr=True)
    commit(api, dataset, {"a.txt": b"a"}, create_pr=True)
    found = api.get_repo_discussions(dataset, repo_type="dataset")
    assert [item.num for item in found] == [2, 1]


def test_a_dropped_upload_is_sent_again_by_the_client(api, dataset, faults):
    fault = faults.add("drop", method="PUT")
    commit(api, dataset, {"t.parquet": b"PAR1" * 1000})
    assert faults.fired(fault) == 1
    assert fetch(api, dataset, "t.parquet") == b"PAR1" * 1000


@pytest.mark.parametrize("path", ["envelope.json", "t.parquet"])
def test_corrupted_bytes_keep_their_size_and_headers(api, dataset, faults, path):
    content = b'{"value": 12345}'
    commit(api, dataset, {path: content})
    honest = request(api, "GET", f"/datasets/{dataset}/resolve/main/{path}")
    faults.add("corrupt", method="GET", path="/resolve/")
    altered = request(api, "GET", f"/datasets/{dataset}/resolve/main/{path}")
    assert altered.status_code == 200
    assert altered.headers["etag"] == honest.headers["etag"]
    assert len(altered.content) == len(content)
    assert sum(a != b for a, b in zip(altered.content, content, strict=True)) == 1
    assert fetch(api, dataset, path) == content


def test_a_delay_outlasts_the_callers_patience_and_then_answers(api, dataset, faults):
    fault = faults.add("delay", path=f"/api/datasets/{dataset}$", delay_s=3.0, times=1)
    with pytest.raises(httpx.TimeoutException):
        api.dataset_info(dataset, timeout=0.2)
    assert faults.fired(fault) == 1
    assert api.dataset_info(dataset).id == dataset


def test_a_hang_acts_at_once_and_answers_too_late(api, dataset, faults):
    fault = faults.add("hang", path=f"/api/datasets/{dataset}/commit/main$", delay_s=30.0)
    slow = httpx.Client(base_url=api.endpoint, timeout=0.5, trust_env=False)
    line = json.dumps({"key": "header", "value": {"summary": "m", "description": ""}})
    added = json.dumps({"key": "file", "value": {"path": "a", "content": "", "encoding": "base64"}})
    with pytest.raises(httpx.TimeoutException):
        slow.post(
            f"/api/datasets/{dataset}/commit/main",
            content=f"{line}\n{added}\n",
            headers={"authorization": f"Bearer {api.token}"},
        )
    assert faults.fired(fault) == 1
    assert history(api, dataset) == ["m", "initial commit"]


def test_a_truncated_answer_announces_more_than_it_brings(api, dataset, faults):
    commit(api, dataset, {"t.parquet": b"PAR1" * 1000})
    faults.add("truncate", method="GET", path="/resolve/")
    with pytest.raises(httpx.RemoteProtocolError):
        request(api, "GET", f"/datasets/{dataset}/resolve/main/t.parquet")
    assert fetch(api, dataset, "t.parquet") == b"PAR1" * 1000


def test_a_lagging_replica_shows_what_was_there_before(api, dataset, faults):
    before = api.dataset_info(dataset).sha
    fault = faults.add("stale", method="GET", path=f"/api/datasets/{dataset}$", skip=1, times=1)
    assert api.dataset_info(dataset).sha == before
    commit(api, dataset, {"a.txt": b"a"})
    assert api.dataset_info(dataset).sha == before
    assert faults.fired(fault) == 1
    assert api.dataset_info(dataset).sha != before


def test_a_lagging_replica_knows_nothing_it_was_not_asked_before(api, dataset, faults):
    faults.add("stale", method="GET", path="/api/datasets/", times=None)
    commit(api, dataset, {"a.txt": b"a"})
    (newest, _) = api.list_repo_commits(dataset, repo_type="dataset")
    assert api.dataset_info(dataset).sha == newest.commit_id


@pytest.mark.parametrize("status", [401, 503])
def test_a_warm_cache_hides_an_outage_from_the_clients_download(
    api, dataset, faults, tmp_path, status
):
    commit(api, dataset, {"e.json": b"v1"})

    def download(**options):
        path = api.hf_hub_download(
            dataset, "e.json", repo_type="dataset", cache_dir=tmp_path, **options
        )
        return Path(path).read_bytes()

    assert download() == b"v1"
    commit(api, dataset, {"e.json": b"v2"})
    faults.add("status", method="HEAD", path="/resolve/main/", status=status, times=None)
    assert download() == b"v1"
    with pytest.raises(Exception, match="Force download failed"):
        download(force_download=True)


def test_a_bare_401_is_not_taken_for_a_missing_repository_over_http(api, dataset, faults):
    faults.add("status", path=f"/api/datasets/{dataset}$", status=401)
    with pytest.raises(HfHubHTTPError) as raised:
        api.dataset_info(dataset)
    assert not isinstance(raised.value, RepositoryNotFoundError)


def test_faults_skip_strike_and_stop(api, dataset, faults):
    fault = faults.add("status", path=f"/api/datasets/{dataset}$", status=500, skip=1, times=2)
    url = f"/api/datasets/{dataset}"
    statuses = [request(api, "GET", url).status_code for _ in range(5)]
    assert statuses == [200, 500, 500, 200, 200]
    report = next(item for item in faults.reports() if item.id == fault)
    assert (report.seen, report.fired) == (5, 2)


def test_the_first_of_two_faults_strikes_and_the_other_waits(api, dataset, faults):
    for status in (500, 502):
        faults.add("status", path=f"/api/datasets/{dataset}$", status=status)
    url = f"/api/datasets/{dataset}"
    assert [request(api, "GET", url).status_code for _ in range(3)] == [500, 502, 200]


def test_paths_are_matched_as_they_were_sent(api, dataset, faults):
    commit(api, dataset, {"x": b"x"}, create_pr=True)
    fault = faults.add("status", path="/revision/refs%2Fpr%2F1$", status=500)
    with pytest.raises(HfHubHTTPError):
        api.dataset_info(dataset, revision="refs/pr/1")
    assert faults.fired(fault) == 1


def test_the_request_log_holds_no_secret(api, dataset, faults):
    commit(api, dataset, {"t.parquet": b"PAR1x"})
    records = "".join(record.model_dump_json() for record in faults.requests())
    assert api.token not in records
    assert "sig=" not in records
    assert "/_sandbox/" not in records


def test_clearing_disarms(api, dataset, faults):
    faults.add("status", path="/api/", status=500, times=None)
    faults.clear()
    assert api.dataset_info(dataset).id == dataset
    assert faults.reports() == []


def test_what_is_no_fault_is_refused(faults):
    with pytest.raises(ValidationError):
        faults.add("explode")
    with pytest.raises(ValidationError):
        faults.add("status", statu=500)
    with pytest.raises(FaultControlError, match="Not a fault"):
        faults.add("drop", path="(")


def test_connections_stay_usable_after_a_drop(api, dataset, faults):
    faults.add("drop", path=f"/api/datasets/{dataset}$", times=3)
    for _ in range(3):
        with pytest.raises(httpx.TransportError):
            api.dataset_info(dataset)
    assert api.dataset_info(dataset).id == dataset


def test_the_signing_services_can_be_broken_the_same_way(sandbox):
    faults = Faults(sandbox.sigstore_url)
    fault = faults.add("status", path="^/healthz$", status=503, body="maintenance")
    answers = [httpx.get(f"{sandbox.sigstore_url}/healthz", trust_env=False) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [503, 200]
    assert faults.fired(fault) == 1
    faults.clear()


def test_a_request_is_in_the_log_before_it_is_answered(sandbox, faults):
    faults.add("delay", path="^/slow$", delay_s=60)
    with pytest.raises(httpx.TimeoutException):
        httpx.get(f"{sandbox.hub_url}/slow", timeout=0.3, trust_env=False)
    assert [record.status for record in faults.requests(path="^/slow$")] == [None]
