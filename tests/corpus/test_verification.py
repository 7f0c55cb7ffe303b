from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from inferencebench_pipeline.corpus import blobs, verification
from inferencebench_pipeline.corpus.findings import FindingKind, Severity
from inferencebench_pipeline.corpus.inventory import (
    Inventory,
    crawl_others,
    crawl_source,
    created_days,
    inventory_table,
)
from inferencebench_pipeline.corpus.store import CorpusStore, VerdictsError
from inferencebench_pipeline.corpus.verdicts import (
    DayVerdicts,
)
from inferencebench_pipeline.corpus.verification import verify_day, verify_days
from inferencebench_pipeline.corpus.verifier import PolicyJudge
from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.files import write_twice
from inferencebench_pipeline.hub.dataset.naming import dataset_name
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.trust.verify.verdict import Proven
from inferencebench_pipeline.trust.verify.verifier import EnvelopeVerifier
from tests.corpus.world import (
    ORG,
    TRUST,
    CountingJudge,
    FolderHub,
    altered,
    policy,
    public_pem,
    record,
    resigned,
    verifier,
)

DAY = "2026-05-18"
REPO = f"{ORG}/one"


@pytest.fixture
def files() -> dict[str, bytes]:
    return record(new_run_id(), REPO)


def published(
    hub: FolderHub, store: CorpusStore, files: dict[str, bytes], repo_id: str = REPO
) -> None:
    hub.commit(repo_id, files)
    crawl_source(hub, ORG, store)


def only_finding(day: DayVerdicts) -> tuple[FindingKind, Severity]:
    (item,) = day.findings
    return item.kind, item.severity


def test_a_good_record_is_verified_from_its_bytes(hub, store, files):
    published(hub, store, files)

    day = verify_day(store, DAY, verifier())

    assert (day.verified, day.rejected, day.findings) == (1, 0, ())
    assert DayVerdicts.load(store, DAY) == day
    assert {check.name for check in day.entries[0].verdict.checks} >= {"metrics_rederive"}


def test_verifying_a_day_again_recognises_every_record(hub, store):
    for name in "abc":
        hub.commit(f"{ORG}/{name}", record(new_run_id(), f"{ORG}/{name}"))
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())
    written = store.verdicts_path(DAY).stat()
    calls: list[str] = []

    again = verify_day(store, DAY, verifier(calls=calls))

    assert (again.recognised, again.verified, calls) == (3, 3, [])
    assert store.verdicts_path(DAY).stat().st_mtime_ns == written.st_mtime_ns


def test_a_pass_can_be_made_to_recognise_nothing_and_changes_nothing(hub, store, files):
    published(hub, store, files)
    verify_day(store, DAY, verifier())
    written = store.verdicts_path(DAY).read_bytes()
    calls: list[str] = []

    (summary,) = verify_days(store, [DAY], verifier(calls=calls), again=True)

    assert (summary.recognised, calls) == (0, [ORG])
    assert store.verdicts_path(DAY).read_bytes() == written


def test_another_card_beside_the_same_bytes_needs_no_new_verdict(hub, store, files):
    published(hub, store, files)
    verify_day(store, DAY, verifier())
    card = files["README.md"].replace(b"suite_version: 1.0.0", b"suite_version: 2.0.0")
    published(hub, store, {**files, "README.md": card})
    calls: list[str] = []

    day = verify_day(store, DAY, verifier(calls=calls))

    assert (day.recognised, calls) == (1, [])
    assert day.entries[0].revision == hub.heads[REPO][0]
    assert only_finding(day) == (FindingKind.CARD_DISAGREES, Severity.ERROR)


def test_a_recognised_rejection_is_still_a_finding(hub, store, files):
    published(hub, store, {**files, "envelope.json": altered(files["envelope.json"], seed=7)})
    first = verify_day(store, DAY, verifier())

    again = verify_day(store, DAY, verifier())

    assert again.recognised == 1
    assert again.findings == first.findings != ()


def test_traces_of_the_same_size_with_one_other_byte_are_noticed_in_the_next_pass(
    hub, store, files
):
    """A second pass recognises the verdict, and hashes the bytes again all the same."""
    published(hub, store, files)
    assert verify_day(store, DAY, verifier()).errors == ()
    (entry,) = Inventory.load(store).entries
    assert entry.traces_sha256 is not None
    path = store.blobs().path(entry.traces_sha256)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert path.stat().st_size == entry.traces_size_bytes

    assert only_finding(verify_day(store, DAY, verifier()))[0] is FindingKind.BLOB_DAMAGED


def test_large_traces_are_judged_from_their_file_as_small_ones_from_memory(
    hub, store, files, monkeypatch
):
    published(hub, store, files)
    before = verify_day(store, DAY, verifier()).entries
    (line,) = before
    assert line.content_sha256 is not None
    monkeypatch.setattr(blobs, "_MOST_IN_MEMORY", 0)
    store.verdicts_path(DAY).unlink()
    (again,) = verify_day(store, DAY, verifier()).entries
    assert again == line.model_copy(update={"verified_at": again.verified_at})


def test_large_traces_that_change_while_they_are_judged_are_damaged_and_not_rejected(
    hub, store, files, monkeypatch
):
    published(hub, store, files)
    monkeypatch.setattr(blobs, "_MOST_IN_MEMORY", 0)

    def judge(envelope: bytes, traces: Path | bytes | None, organisation: str) -> Proven:
        assert isinstance(traces, Path)
        traces.write_bytes(b"bit rot")
        return EnvelopeVerifier(TRUST, policy()).prove(
            envelope, organisation=organisation, traces=traces
        )

    monkeypatch.setattr(CountingJudge, "open", lambda _: judge)
    assert only_finding(verify_day(store, DAY, verifier()))[0] is FindingKind.BLOB_DAMAGED


def test_several_processes_find_what_one_finds(hub, store, monkeypatch):
    monkeypatch.setattr(verification, "SHARED_FROM_RECORDS", 1)
    for number in range(4):
        repo_id = f"{ORG}/run-{number}"
        files = record(new_run_id(), repo_id)
        if number == 2:
            files["envelope.json"] = altered(files["envelope.json"], seed=7)
        created = datetime(2026, 5, 18 + number % 2, tzinfo=UTC)
        hub.commit(repo_id, files, created_at=created)
    crawl_source(hub, ORG, store)
    judge = PolicyJudge(TRUST, policy())

    shared = verify_days(store, created_days(store), judge, processes=2)
    alone = verify_days(store, created_days(store), judge, again=True)

    assert [(day.day, day.verified, day.rejected) for day in shared] == [
        (DAY, 1, 1),
        ("2026-05-19", 2, 0),
    ]
    assert [day.findings for day in shared] == [day.findings for day in alone]


def test_a_file_of_verdicts_that_is_not_ours_is_named(hub, store, files):
    published(hub, store, files)
    verify_day(store, DAY, verifier())
    store.verdicts_path(DAY).write_bytes(b"{}\n")

    with pytest.raises(VerdictsError, match="delete the file and verify the day again"):
        verify_day(store, DAY, verifier())


def test_another_policy_verifies_everything_again(hub, store):
    for name in "ab":
        hub.commit(f"{ORG}/{name}", record(new_run_id(), f"{ORG}/{name}"))
    crawl_source(hub, ORG, store)
    verify_day(store, DAY, verifier())
    stranger = public_pem(Ed25519PrivateKey.from_private_bytes(b"s" * 32))

    day = verify_day(store, DAY, verifier(policy(stranger, sha256="ab" * 32)))

    assert (day.recognised, day.rejected) == (0, 2)
    assert {item.kind for item in day.errors} == {FindingKind.IDENTITY_NOT_ALLOWED}


def test_new_bytes_in_a_known_repository_are_verified(hub, store, files):
    published(hub, store, files)
    verify_day(store, DAY, verifier())
    metrics = json.loads(files["envelope.json"])["metrics"]
    published(
        hub,
        store,
        {**files, "envelope.json": resigned(files["envelope.json"], metrics=metrics | {"x": 1})},
    )

    day = verify_day(store, DAY, verifier())

    assert FindingKind.METRICS_DO_NOT_REDERIVE in {item.kind for item in day.findings}


def test_a_tampered_number_is_found(hub, store, files):
    metrics = json.loads(files["envelope.json"])["metrics"] | {"output_tok_per_s": 99_999.0}
    tampered = altered(files["envelope.json"], metrics=metrics)
    published(hub, store, {"envelope.json": tampered, "traces.parquet": files["traces.parquet"]})

    assert only_finding(verify_day(store, DAY, verifier())) == (
        FindingKind.TAMPERED,
        Severity.ERROR,
    )


def test_a_number_that_does_not_follow_from_the_traces_is_found_although_well_signed(
    hub, store, files
):
    metrics = json.loads(files["envelope.json"])["metrics"] | {"output_tok_per_s": 99_999.0}
    lie = resigned(files["envelope.json"], metrics=metrics)
    published(hub, store, {"envelope.json": lie, "traces.parquet": files["traces.parquet"]})

    assert only_finding(verify_day(store, DAY, verifier()))[0] is (
        FindingKind.METRICS_DO_NOT_REDERIVE
    )


@pytest.mark.parametrize("later", ["definitions", "envelope"])
def test_a_record_of_a_later_version_is_a_warning_and_no_error(hub, store, files, later):
    notes = json.loads(files["envelope.json"])["inferencebench_pipeline"]
    changes = {
        "definitions": {"inferencebench_pipeline": notes | {"metric_definitions": "99"}},
        "envelope": {"envelope_version": "v2"},
    }[later]
    newer = resigned(files["envelope.json"], **changes)
    published(hub, store, {"envelope.json": newer, "traces.parquet": files["traces.parquet"]})

    day = verify_day(store, DAY, verifier())

    assert only_finding(day) == (FindingKind.NEWER_THAN_VERIFIER, Severity.WARN)
    assert day.errors == ()
    assert not Inventory.load(store).findings


def test_an_unsigned_record_of_a_later_version_is_as_bad_as_any(hub, store, files):
    published(hub, store, {"envelope.json": altered(files["envelope.json"], envelope_version="v2")})

    kinds = {item.kind for item in verify_day(store, DAY, verifier()).errors}
    assert FindingKind.NEWER_THAN_VERIFIER not in kinds
    assert kinds


def test_traces_left_out_are_a_finding(hub, store, files):
    published(hub, store, {"envelope.json": files["envelope.json"]})

    assert only_finding(verify_day(store, DAY, verifier()))[0] is FindingKind.TRACES_MISSING


def test_an_unsigned_record_is_a_finding(hub, store, files):
    published(hub, store, {"envelope.json": altered(files["envelope.json"], signature=None)})

    kinds = {item.kind for item in verify_day(store, DAY, verifier()).findings}
    assert FindingKind.UNSIGNED in kinds


def test_a_signer_of_one_organisation_may_not_sign_for_another(hub, store, files):
    hub.commit("other/run", files)
    crawl_source(hub, "other", store)

    day = verify_day(store, DAY, verifier())

    assert only_finding(day)[0] is FindingKind.IDENTITY_NOT_ALLOWED


def test_a_malformed_envelope_is_rejected_not_raised(hub, store):
    published(hub, store, {"envelope.json": b"{"})

    assert only_finding(verify_day(store, DAY, verifier()))[0] is FindingKind.MALFORMED


def test_a_card_that_says_something_else_is_found(hub, store, files):
    card = files["README.md"].replace(b"suite_version: 1.0.0", b"suite_version: 2.0.0")
    assert card != files["README.md"]
    published(hub, store, {**files, "README.md": card})

    day = verify_day(store, DAY, verifier())

    assert only_finding(day) == (FindingKind.CARD_DISAGREES, Severity.ERROR)
    assert "card says suite_version: 2.0.0" in day.findings[0].detail


BOAST = b"\n# Llama-3.1-405B\n\n99,999 tok/s\n"
CARDS: dict[str, tuple[Callable[[bytes], bytes], set[FindingKind]]] = {
    "its own": (lambda card: card, set()),
    "with a paragraph": (lambda card: card + b"\nThanks to everybody.\n", set()),
    "with another page": (
        lambda card: card[: card.index(b"\n# ")] + BOAST,
        {FindingKind.CARD_DISAGREES, FindingKind.CARD_INCOMPLETE},
    ),
    "with a number beside": (lambda card: card + BOAST, {FindingKind.CARD_DISAGREES}),
    "of another model": (
        lambda card: card.replace(b"pretty_name: example/tiny", b"pretty_name: meta/big"),
        {FindingKind.CARD_DISAGREES},
    ),
    "without front matter": (
        lambda card: b"---\ntags: [inferencebench]\n---\n" + card[card.index(b"\n# ") :],
        {FindingKind.CARD_INCOMPLETE},
    ),
    "too large": (lambda card: card + b" " * (1 << 20), {FindingKind.CARD_DISAGREES}),
}


@pytest.mark.parametrize("community", [False, True])
@pytest.mark.parametrize("name", CARDS)
def test_the_page_that_people_read_is_compared_with_the_record(
    hub, store, files, name: str, community: bool
):
    change, kinds = CARDS[name]
    hub.commit(REPO, {**files, "README.md": change(files["README.md"])})
    if community:
        crawl_others(hub, list(hub.listed(ORG)), [], store)
    else:
        crawl_source(hub, ORG, store)

    day = verify_day(store, DAY, verifier())

    assert {item.kind for item in day.findings} == kinds
    assert day.verified == 1
    severities = {item.kind: item.severity for item in day.findings}
    assert severities.get(FindingKind.CARD_DISAGREES, Severity.ERROR) is Severity.ERROR
    assert severities.get(FindingKind.CARD_INCOMPLETE, Severity.WARN) is Severity.WARN


def test_a_page_that_is_replaced_later_is_found_without_a_new_verdict(hub, store, files):
    published(hub, store, files)
    verify_day(store, DAY, verifier())
    published(hub, store, {**files, "README.md": files["README.md"] + BOAST})
    calls: list[str] = []

    day = verify_day(store, DAY, verifier(calls=calls))

    assert (day.recognised, calls) == (1, [])
    assert {item.kind for item in day.findings} == {FindingKind.CARD_DISAGREES}


def test_an_old_run_in_the_place_of_another_is_found_at_the_first_sight(hub, store, files):
    for name in ("llama-405b-h100-2026-11", "tiny__llm-inference-chat__0190a1b2c3d4-00000000"):
        hub.commit(f"{ORG}/{name}", files)
    mine = dataset_name(parse_envelope(files["envelope.json"]))
    hub.commit(f"{ORG}/{mine}", files)
    crawl_source(hub, ORG, store)

    day = verify_day(store, DAY, verifier())

    told = {item.repo_id for item in day.findings if item.kind is FindingKind.PLACE_DISAGREES}
    assert told == {repo_id for repo_id in hub.heads if not repo_id.endswith(mine)}
    assert {item.severity for item in day.findings} == {Severity.ERROR}


def test_a_damaged_card_is_put_aside_and_fetched_again(hub, store, files):
    published(hub, store, files)
    (entry,) = Inventory.load(store).entries
    assert entry.card_sha256 is not None
    store.blobs().path(entry.card_sha256).write_bytes(b"bit rot")

    assert only_finding(verify_day(store, DAY, verifier()))[0] is FindingKind.BLOB_DAMAGED
    crawl_source(hub, ORG, store)
    assert verify_day(store, DAY, verifier()).findings == ()


@pytest.mark.parametrize("name", ["envelope_sha256", "traces_sha256", "card_sha256"])
def test_damage_to_each_file_of_a_record_is_noticed_although_its_verdict_is_known(
    hub, store, files, name
):
    published(hub, store, files)
    assert verify_day(store, DAY, verifier()).findings == ()
    (entry,) = Inventory.load(store).entries
    store.blobs().path(getattr(entry, name)).write_bytes(b"bit rot")

    assert only_finding(verify_day(store, DAY, verifier()))[0] is FindingKind.BLOB_DAMAGED


def test_a_card_that_an_earlier_version_did_not_read_is_fetched(hub, store, files):
    published(hub, store, {**files, "README.md": files["README.md"] + BOAST})
    table = inventory_table(store).drop(["card_sha256"])
    with io.BytesIO() as buffer:
        pq.write_table(table, buffer)
        write_twice(store.inventory_path, buffer.getvalue())
    assert verify_day(store, DAY, verifier()).findings == ()

    crawl_source(hub, ORG, store)
    found = verify_day(store, DAY, verifier()).findings
    assert {item.kind for item in found} == {FindingKind.CARD_DISAGREES}


def test_a_rejected_record_is_one_finding_whatever_its_card_boasts(hub, store, files):
    assert b"signature_verified: true" in files["README.md"]
    published(hub, store, {**files, "envelope.json": altered(files["envelope.json"], seed=7)})

    assert only_finding(verify_day(store, DAY, verifier()))[0] is FindingKind.TAMPERED


def test_a_foreign_card_may_have_classes_of_its_own(hub, store, shared_data):
    envelope = next((shared_data / "corpus/2026-05-18-marathon").glob("*.json")).read_bytes()
    card = b"---\ninferencebench:\n  hardware_class: h100\n  engine: vllm\n---\n"
    published(hub, store, {"envelope.json": envelope, "README.md": card})
    key = (shared_data / "corpus/cosign-2026-05-18-marathon.pub").read_text()

    assert verify_day(store, DAY, verifier(policy(key))).findings == ()


def test_a_damaged_blob_is_a_finding_and_the_others_are_verified(hub, store, files):
    hub.commit(f"{ORG}/two", record(new_run_id(), f"{ORG}/two"))
    published(hub, store, files)
    damaged = Inventory.load(store).entries[0]
    assert damaged.envelope_sha256 is not None
    store.blobs().path(damaged.envelope_sha256).write_bytes(b"bit rot")

    day = verify_day(store, DAY, verifier())

    assert only_finding(day)[0] is FindingKind.BLOB_DAMAGED
    assert day.verified == 1


def test_a_finding_keeps_the_instant_it_was_first_seen(hub, store):
    published(hub, store, {"envelope.json": b"{"})

    first = verify_day(store, DAY, verifier())
    second = verify_day(store, DAY, verifier())

    assert second.findings == first.findings


@pytest.mark.parametrize("day", ["../../x", "2026-13-01", "20260518", ""])
def test_a_day_that_is_not_a_date_never_becomes_a_path(store, day):
    with pytest.raises(VerdictsError, match="is not a date"):
        verify_day(store, day, verifier())


def test_a_day_without_records_has_an_empty_document(store):
    assert verify_day(store, DAY, verifier()).entries == ()
    assert store.verdicts_path(DAY).exists()


def test_the_real_corpus_verifies_under_its_own_key_alone(hub, store, shared_data):
    folder = shared_data / "corpus"
    for file in sorted((folder / "2026-05-18-marathon").glob("*.json")):
        hub.commit(f"{ORG}/{file.stem}", {"envelope.json": file.read_bytes()})
    crawl_source(hub, ORG, store)
    pinned = policy((folder / "cosign-2026-05-18-marathon.pub").read_text(), sha256="cd" * 32)

    day = verify_day(store, DAY, verifier(pinned))
    assert (day.verified, day.rejected, day.findings) == (50, 0, ())

    assert verify_day(store, DAY, verifier()).rejected == 50
