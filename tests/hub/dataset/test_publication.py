"""Publishing over real HTTP: once, whatever happens in between, and never over something else."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inferencebench_pipeline.envelope.canonical import parse_envelope, serialise
from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.hub.client.client import (
    Hub,
    HubConflictError,
    HubIntegrityError,
    HubPermissionError,
    HubRateLimitError,
    HubUnavailableError,
    Repo,
)
from inferencebench_pipeline.hub.client.edit import RemoteRepo
from inferencebench_pipeline.hub.client.repo import HubFile
from inferencebench_pipeline.hub.dataset import rendered_record as record_module
from inferencebench_pipeline.hub.dataset.naming import dataset_repo_id
from inferencebench_pipeline.hub.dataset.publication import Preview, preview, publish
from inferencebench_pipeline.hub.dataset.published_files import check_served, read_back
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.hub.dataset.rendered_record import NotPublishableError
from inferencebench_pipeline.runs.run_directory import (
    MissingRunFileError,
    RunDirectory,
    RunFile,
    new_run_id,
)
from inferencebench_pipeline.trust.verify.verdict import Verdict
from tests.hub.conftest import ORGANISATION, World
from tests.hub.records import accept, recorded_run, reject, signed_looking, unsigned_envelope

FILES = {"envelope.json", "traces.parquet", "README.md", "latency.png"}


@pytest.fixture
def run(store: Path) -> RunDirectory:
    return recorded_run(store)


def place(hub: Hub, run: RunDirectory, stages: list[str] | None = None) -> Receipt:
    on_stage = (lambda _: None) if stages is None else stages.append
    return publish(hub, run, organisation=ORGANISATION, verify=accept, on_stage=on_stage)


def repo_of(run: RunDirectory) -> Repo:
    envelope = parse_envelope(run.read(RunFile.ENVELOPE))
    return Repo("dataset", dataset_repo_id(ORGANISATION, envelope))


def published_commits(world: World, run: RunDirectory) -> int:
    titles = world.commits(repo_of(run).id)
    return sum(title.startswith("Publish record") for title in titles)


def test_a_run_becomes_one_commit_with_these_very_bytes(
    world: World, run: RunDirectory, stages: list[str]
) -> None:
    hub = world.hub()
    receipt = place(hub, run, stages)
    assert published_commits(world, run) == 1
    head = hub.head(repo_of(run))
    assert head.commit == receipt.commit
    assert head.files == FILES | {".gitattributes"}
    for name in (RunFile.ENVELOPE, RunFile.TRACES):
        served = hub.fetch(repo_of(run), receipt.commit, name.value)
        assert served == run.read(name)
        assert receipt.files[name.value].sha256 == hashlib.sha256(served).hexdigest()
    assert Receipt.model_validate_json(run.read(RunFile.PUBLICATION)) == receipt
    assert receipt.url == f"{world.url}/datasets/{receipt.repo_id}"


def test_the_stages_are_the_documented_ones(
    world: World, run: RunDirectory, stages: list[str]
) -> None:
    receipt = place(world.hub(), run, stages)
    assert stages == [
        "Verifying envelope... OK",
        f"Creating dataset repo... {receipt.repo_id}",
        "Uploading envelope.json... done",
        "Uploading traces.parquet... done",
        "Rendering README.md... done",
        f"Published: {receipt.url}",
    ]


def test_the_card_says_verified_and_points_to_its_own_repository(
    world: World, run: RunDirectory
) -> None:
    receipt = place(world.hub(), run)
    card = read_back(world.hub(), receipt)["README.md"].decode()
    assert "signature_verified: true" in card
    assert f"inferencebench verify hf://datasets/{receipt.repo_id}/envelope.json" in card


def test_publishing_costs_as_few_requests_as_can_be(world: World, run: RunDirectory) -> None:
    place(world.hub(), run)
    calls = [(record.method, record.path.split("?")[0]) for record in world.faults.requests()]
    assert sum("/commit/" in path for _, path in calls) == 1
    assert sum("repos/create" in path for _, path in calls) == 1
    assert sum("/resolve/" in path for _, path in calls) == len(("envelope", "traces"))
    large = [path for _, path in calls if "/_lfs/" in path or "/info/lfs/" in path]
    assert len(calls) - len(large) == 8, calls


def test_publishing_twice_changes_nothing(world: World, run: RunDirectory) -> None:
    first = place(world.hub(), run)
    stages: list[str] = []
    world.faults.clear_requests()
    second = place(world.hub(), run, stages)
    assert second == first
    assert published_commits(world, run) == 1
    assert not world.faults.requests(method="POST|PUT")
    assert "Uploading envelope.json... already there" in stages


def test_publishing_again_needs_no_write_access(world: World, run: RunDirectory) -> None:
    first = place(world.hub(), run)
    run.file(RunFile.PUBLICATION).unlink()
    again = place(world.hub("read"), run)
    assert (again.commit, again.files) == (first.commit, first.files)


def test_a_card_of_another_version_does_not_make_a_second_commit(
    world: World, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place(world.hub(), run)
    monkeypatch.setattr(record_module, "render_card", lambda *_, **__: b"another card")
    assert place(world.hub(), run).files == first.files


def test_nothing_is_sent_when_the_record_does_not_verify(world: World, run: RunDirectory) -> None:
    with pytest.raises(NotPublishableError, match="not the one signed"):
        publish(world.hub(), run, organisation=ORGANISATION, verify=reject, on_stage=lambda _: None)
    assert not world.faults.requests()


def test_nothing_is_sent_when_files_are_missing_or_do_not_belong_together(
    world: World, run: RunDirectory, store: Path
) -> None:
    hub = world.hub()
    traces = run.read(RunFile.TRACES)
    run.file(RunFile.TRACES).unlink()
    with pytest.raises(MissingRunFileError):
        place(hub, run)
    run.write(RunFile.TRACES, traces)
    run.write(RunFile.ENVELOPE, b"{}")
    with pytest.raises(NotPublishableError, match=r"envelope\.json"):
        place(hub, run)
    foreign = signed_looking(unsigned_envelope(new_run_id(), traces))
    run.write(RunFile.ENVELOPE, serialise(foreign))
    with pytest.raises(NotPublishableError, match="not of"):
        place(hub, run)
    unbound = signed_looking(unsigned_envelope(run.run_id, traces))
    run.write(RunFile.ENVELOPE, serialise(unbound.model_copy(update={"distributions": {}})))
    with pytest.raises(NotPublishableError, match="does not bind"):
        place(hub, run)
    assert not world.faults.requests()


def test_an_envelope_without_traces_is_published_without_them(
    world: World, run: RunDirectory
) -> None:
    envelope = parse_envelope(run.read(RunFile.ENVELOPE))
    run.file(RunFile.TRACES).unlink()
    run.write(RunFile.ENVELOPE, serialise(envelope.model_copy(update={"distributions": {}})))
    assert set(place(world.hub(), run).files) == {"envelope.json", "README.md"}


@pytest.mark.parametrize("kind", ["lost_response", "drop"])
@pytest.mark.parametrize("path", ["repos/create", "preupload", "lfs/objects/batch", "/commit/"])
def test_a_lost_request_or_response_publishes_once(
    world: World, run: RunDirectory, kind: str, path: str
) -> None:
    fault = world.faults.add(kind, method="POST", path=path, times=1)
    receipt = place(world.hub(), run)
    assert world.faults.fired(fault) == 1
    assert published_commits(world, run) == 1
    assert world.hub().head(repo_of(run)).commit == receipt.commit


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"RateLimit": '"api";r=0;t=0'}},
        {"status": 409, "body": "Another commit operation is in progress for this repository."},
        {"status": 412, "body": "The branch was updated since you opened this page."},
        {"status": 500},
        {"status": 504},
    ],
    ids=lambda fault: str(fault["status"]),
)
def test_a_refused_commit_is_repeated(
    world: World, run: RunDirectory, fault: dict[str, object]
) -> None:
    world.faults.add("status", method="POST", path="/commit/", times=2, **fault)
    place(world.hub(), run)
    assert published_commits(world, run) == 1


def test_a_hang_is_cut_off_and_publishes_once(world: World, run: RunDirectory) -> None:
    world.faults.add("delay", method="POST", path="/commit/", delay_s=5, times=1)
    place(world.hub(read_s=0.5), run)
    assert published_commits(world, run) == 1


@pytest.mark.slow
def test_twelve_seconds_of_silence_are_waited_out_by_the_usual_patience(
    world: World, run: RunDirectory
) -> None:
    world.faults.add("hang", method="POST", path="/commit/", delay_s=12)
    place(Hub(world.url, lambda: world.sandbox.token("write")), run)
    assert published_commits(world, run) == 1
    assert len(world.faults.requests(method="POST", path="/commit/")) == 1


def test_an_hourly_quota_is_reported_and_leaves_a_repository_that_the_next_attempt_finishes(
    world: World, run: RunDirectory
) -> None:
    world.faults.add(
        "status",
        path="/commit/",
        status=429,
        body="You have exceeded the rate limit for repository commits (128 per hour). "
        "You can retry this action in about 1 hour.",
        headers={"RateLimit": '"api";r=949;t=220'},
    )
    with pytest.raises(HubRateLimitError) as caught:
        place(world.hub(), run)
    assert caught.value.retry_after_s == 3600
    assert not run.has(RunFile.PUBLICATION)
    stages: list[str] = []
    receipt = place(world.hub(), run, stages)
    assert f"Creating dataset repo... {receipt.repo_id} already there" in stages
    assert published_commits(world, run) == 1


def test_a_read_token_publishes_nothing(world: World, run: RunDirectory) -> None:
    with pytest.raises(HubPermissionError, match="write access"):
        place(world.hub("read"), run)


def test_an_invalid_token_publishes_nothing(world: World, run: RunDirectory) -> None:
    with pytest.raises(HubPermissionError, match="invalid or expired"):
        place(world.hub("hf_invalid"), run)


def test_an_outage_leaves_no_receipt(world: World, run: RunDirectory) -> None:
    world.faults.add("status", path="/", status=503, times=None)
    with pytest.raises(HubUnavailableError):
        place(world.hub(attempts=2), run)
    assert not run.has(RunFile.PUBLICATION)


def test_another_record_is_never_overwritten(world: World, run: RunDirectory) -> None:
    hub = world.hub()
    hub.create(repo_of(run))
    head = hub.head(repo_of(run))
    theirs = {"envelope.json": b'{"somebody": "else"}', "README.md": b"# theirs"}
    before = hub.commit(repo_of(run), theirs, message="theirs", parent=head.commit)
    with pytest.raises(HubConflictError, match="never overwritten"):
        place(hub, run)
    assert hub.head(repo_of(run)).commit == before


def test_the_same_run_signed_again_is_never_overwritten(world: World, run: RunDirectory) -> None:
    place(world.hub(), run)
    envelope = parse_envelope(run.read(RunFile.ENVELOPE))
    run.write(RunFile.ENVELOPE, serialise(signed_looking(envelope, log_index=777)))
    with pytest.raises(HubConflictError, match="signed again"):
        place(world.hub(), run)
    assert published_commits(world, run) == 1


def test_a_strangers_dataset_of_the_same_name_is_left_alone(
    world: World, run: RunDirectory
) -> None:
    hub = world.hub()
    hub.create(repo_of(run))
    head = hub.head(repo_of(run))
    hub.commit(repo_of(run), {"data.csv": b"1"}, message="theirs", parent=head.commit)
    with pytest.raises(HubConflictError, match=r"data\.csv"):
        place(hub, run)
    assert hub.head(repo_of(run)).files == {".gitattributes", "data.csv"}


def test_half_an_upload_of_this_record_is_completed(world: World, run: RunDirectory) -> None:
    hub = world.hub()
    hub.create(repo_of(run))
    head = hub.head(repo_of(run))
    half = {"envelope.json": run.read(RunFile.ENVELOPE)}
    hub.commit(repo_of(run), half, message="an older tool", parent=head.commit)
    receipt = place(hub, run)
    assert {"envelope.json", "traces.parquet", "README.md"} <= set(receipt.files)
    assert published_commits(world, run) == 1


@pytest.mark.parametrize("name", ["envelope.json", "traces.parquet"])
def test_one_damaged_download_of_the_right_size_is_read_again(
    world: World, run: RunDirectory, name: str
) -> None:
    fault = world.faults.add("corrupt", method="GET", path=f"/resolve/.*/{name}", times=1)
    place(world.hub(), run)
    assert world.faults.fired(fault) == 1


def test_a_hub_that_serves_other_bytes_gets_no_receipt(world: World, run: RunDirectory) -> None:
    world.faults.add("corrupt", method="GET", path="/resolve/.*/traces.parquet", times=None)
    with pytest.raises(HubIntegrityError, match=r"traces\.parquet") as caught:
        place(world.hub(), run)
    assert hashlib.sha256(run.read(RunFile.TRACES)).hexdigest() in str(caught.value)
    assert not run.has(RunFile.PUBLICATION)


def test_what_is_served_is_verified_again(world: World, run: RunDirectory) -> None:
    verdicts: list[Verdict] = []

    def first_only(envelope: bytes, traces: bytes | None) -> Verdict:
        verdicts.append((reject if verdicts else accept)(envelope, traces))
        return verdicts[-1]

    with pytest.raises(HubIntegrityError, match="does not verify"):
        publish(
            world.hub(), run, organisation=ORGANISATION, verify=first_only, on_stage=lambda _: None
        )
    assert len(verdicts) == 2
    assert not run.has(RunFile.PUBLICATION)


def test_a_file_replaced_after_publication_is_noticed_by_commit(
    world: World, run: RunDirectory
) -> None:
    receipt = place(world.hub(), run)
    repo, hub = repo_of(run), world.hub()
    hub.commit(repo, {"traces.parquet": b"PAR1"}, message="replaced", parent=receipt.commit)
    assert read_back(hub, receipt)["traces.parquet"] == run.read(RunFile.TRACES)
    with pytest.raises(HubConflictError):
        place(hub, run)


def test_two_publishers_at_once_publish_once(world: World, run: RunDirectory) -> None:
    for _ in range(3):
        world.faults.add("delay", method="POST", path="repos/create|/commit/", delay_s=0.1)
    receipts: list[Receipt] = []
    failures: list[PipelineError] = []

    def attempt() -> None:
        try:
            receipts.append(place(world.hub(), run))
        except PipelineError as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len({receipt.commit for receipt in receipts}) == 1
    assert published_commits(world, run) == 1


def test_two_different_records_for_one_name_do_not_mix(
    world: World, run: RunDirectory, tmp_path: Path
) -> None:
    other = recorded_run(tmp_path / "other", run.run_id)
    envelope = parse_envelope(other.read(RunFile.ENVELOPE))
    other.write(RunFile.ENVELOPE, serialise(envelope.model_copy(update={"seed": 7})))
    outcomes: list[object] = []

    def attempt(directory: RunDirectory) -> None:
        try:
            outcomes.append(place(world.hub(), directory))
        except PipelineError as error:
            outcomes.append(error)

    threads = [threading.Thread(target=attempt, args=(item,)) for item in (run, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {type(outcome) for outcome in outcomes} == {HubConflictError, Receipt}
    assert published_commits(world, run) == 1


_CHILD = """
import os, sys
from pathlib import Path
from inferencebench_pipeline.runs.run_directory import RunStore
from inferencebench_pipeline.hub.client.client import Hub
from inferencebench_pipeline.hub.dataset.publication import publish
from tests.hub.records import accept
url, store, run_id, organisation = sys.argv[1:]
publish(Hub(url, lambda: os.environ["HF_TOKEN"]), RunStore(Path(store)).run(run_id),
        organisation=organisation, verify=accept, on_stage=lambda text: print(text, flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("path", ["repos/create", "preupload", "/commit/", "/resolve/"])
def test_a_kill_between_any_two_requests_is_finished_by_the_next_attempt(
    world: World, run: RunDirectory, store: Path, path: str
) -> None:
    fault = world.faults.add("delay", path=path, delay_s=1.0, times=1)
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, world.url, str(store), run.run_id, ORGANISATION],
        env={**os.environ, "HF_TOKEN": world.sandbox.token()},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while world.faults.fired(fault) == 0 and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    world.faults.clear()
    assert not run.has(RunFile.PUBLICATION)
    receipt = place(world.hub(), run)
    assert read_back(world.hub(), receipt)["envelope.json"] == run.read(RunFile.ENVELOPE)
    # The killed request may still have been carried out by the Hub, hence once, not "by us".
    assert published_commits(world, run) == 1


def test_a_run_that_is_flagged_as_invalid_is_not_published(world: World, run: RunDirectory) -> None:
    document = json.loads(run.read(RunFile.ENVELOPE))
    flag = {"name": "requests_complete", "ok": False, "severity": "error", "detail": "8 of 4"}
    document["inferencebench_pipeline"]["validity"] = [flag]
    run.write(RunFile.ENVELOPE, json.dumps(document).encode())
    world.faults.clear_requests()
    with pytest.raises(NotPublishableError, match=r"invalid.*requests_complete: 8 of 4"):
        place(world.hub(), run)
    assert not world.faults.requests()


def listing_with_another(world: World, repo: Repo, commit: str, name: str) -> str:
    """Return the Hub's answer about a commit, with another digest of one file."""
    url = f"{world.url}/api/datasets/{repo.id}/revision/{commit}?blobs=true"
    with urllib.request.urlopen(url, timeout=10) as response:
        answer = json.load(response)
    (file,) = [each for each in answer["siblings"] if each["rfilename"] == name]
    if file.get("lfs"):
        file["lfs"]["sha256"] = "0" * 64
    else:
        file["blobId"] = "0" * 40
    return json.dumps(answer)


@pytest.mark.parametrize("name", ["envelope.json", "traces.parquet"])
def test_a_hub_that_lists_another_signed_file_than_it_serves_is_told(
    world: World, run: RunDirectory, name: str
) -> None:
    receipt = place(world.hub(), run)
    run.file(RunFile.PUBLICATION).unlink()
    body = listing_with_another(world, repo_of(run), receipt.commit, name)
    world.faults.add(
        "status", method="GET", path=f"/revision/{receipt.commit}", status=200, body=body, times=9
    )
    with pytest.raises(HubIntegrityError, match=f"lists another {name} .* than was sent"):
        place(world.hub(), run)
    assert not run.has(RunFile.PUBLICATION)


def test_a_hub_that_lists_another_card_than_was_sent_just_now_is_told(
    world: World, run: RunDirectory
) -> None:
    receipt = place(world.hub(), run)
    run.file(RunFile.PUBLICATION).unlink()
    # The card is ours, and this time nobody sent it: then it may be another.
    body = listing_with_another(world, repo_of(run), receipt.commit, "README.md")
    path = f"/revision/{receipt.commit}"
    world.faults.add("status", method="GET", path=path, status=200, body=body, times=None)
    place(world.hub(), run)
    # What was sent just now may not, so a first publication with such a list is refused.
    listed = HubFile(size_bytes=1, oid="0" * 40)
    record = record_module.prepare(run, ORGANISATION, accept, world.url)
    world.faults.clear()
    head = world.hub().head(repo_of(run))
    body = json.dumps(
        {
            "sha": head.commit,
            "siblings": [
                {"rfilename": each, "size": file.size_bytes, "blobId": file.oid}
                for each, file in {**head.listing, "README.md": listed}.items()
            ],
        }
    )
    world.faults.add("status", method="GET", path="/revision/", status=200, body=body, times=None)
    with pytest.raises(HubIntegrityError, match=r"lists another README\.md"):
        remote = RemoteRepo(world.hub(), record.repo)
        check_served(remote, record, receipt.commit, frozenset({"README.md"}), accept)


@pytest.mark.parametrize("name", ["envelope.json", "traces.parquet"])
def test_a_download_damaged_once_does_not_make_our_record_a_strangers(
    world: World, run: RunDirectory, name: str
) -> None:
    receipt = place(world.hub(), run)
    fault = world.faults.add("corrupt", method="GET", path=f"/resolve/.*/{name}", times=1)
    assert place(world.hub(), run).commit == receipt.commit
    assert world.faults.fired(fault) == 1


def test_somebody_who_commits_without_end_is_given_up_on(world: World, run: RunDirectory) -> None:
    fault = world.faults.add("status", method="POST", path="/commit/", status=412, times=None)
    with pytest.raises(HubUnavailableError, match="was changed 5 times meanwhile"):
        place(world.hub(), run)
    assert world.faults.fired(fault) == 5
    assert not run.has(RunFile.PUBLICATION)


def test_an_account_that_may_not_write_is_told_so_before_anything_is_sent(
    world: World, run: RunDirectory
) -> None:
    hub = world.hub()
    hub.create(repo_of(run))
    head = hub.head(repo_of(run))
    half = {"envelope.json": run.read(RunFile.ENVELOPE)}
    hub.commit(repo_of(run), half, message="an older tool", parent=head.commit)
    world.faults.clear_requests()
    with pytest.raises(HubPermissionError):
        place(world.hub("read"), run)
    assert world.faults.requests(method="POST") == []


def test_a_damaged_earlier_receipt_is_written_anew(world: World, run: RunDirectory) -> None:
    receipt = place(world.hub(), run)
    run.file(RunFile.PUBLICATION).write_bytes(b"{")
    assert place(world.hub(), run).commit == receipt.commit
    assert Receipt.model_validate_json(run.read(RunFile.PUBLICATION)).commit == receipt.commit


def test_publishing_again_keeps_the_time_of_the_first_publication(
    world: World, run: RunDirectory
) -> None:
    receipt = place(world.hub(), run)
    earlier = receipt.model_copy(update={"published_at": datetime(2026, 1, 2, tzinfo=UTC)})
    run.write(RunFile.PUBLICATION, earlier.model_dump_json().encode())
    assert place(world.hub(), run).published_at == earlier.published_at
    other = earlier.model_copy(update={"commit": "0" * 40})
    run.write(RunFile.PUBLICATION, other.model_dump_json().encode())
    assert place(world.hub(), run).published_at > earlier.published_at


def test_a_preview_tells_what_is_there_already_and_sends_nothing(
    world: World, run: RunDirectory
) -> None:
    def looked() -> Preview:
        return preview(world.hub(), run, organisation=ORGANISATION, verify=accept)

    new = looked()
    assert (new.is_new, new.missing) == (True, frozenset(FILES))
    assert world.faults.requests(method="POST") == []
    place(world.hub(), run)
    old = looked()
    assert (old.is_new, old.missing, set(old.files)) == (False, frozenset(), FILES)
