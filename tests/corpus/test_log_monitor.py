"""The transparency logs examined over real HTTP: honest ones, ones that forget, ones that fork."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore.models import Bundle

from inferencebench_pipeline.corpus.findings import FindingKind
from inferencebench_pipeline.corpus.inventory import crawl_others, created_days
from inferencebench_pipeline.corpus.log_monitor import (
    LogReport,
    LogStateError,
    SeenCheckpoint,
    examine_logs,
    keep_reports,
    log_findings,
    signature_digest_of,
)
from inferencebench_pipeline.corpus.statement.signed_digests import known_digests
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verification import verify_days
from inferencebench_pipeline.corpus.verifier import PolicyJudge
from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import content_hash, serialise
from inferencebench_pipeline.runs.run_directory import RunStore, new_run_id
from inferencebench_pipeline.sandbox.sigstore.app import identity_token_file
from inferencebench_pipeline.sandbox.sigstore.merkle import MerkleTree, leaf_hash
from inferencebench_pipeline.sandbox.sigstore.trust_config import DEFAULT_ORGANISATION, write_policy
from inferencebench_pipeline.trust.log import reader
from inferencebench_pipeline.trust.log.checkpoints import unverified_checkpoint
from inferencebench_pipeline.trust.log.merkle import (
    ProofError,
    consistency_proof,
    require_consistency,
)
from inferencebench_pipeline.trust.log.reader import LogUnavailableError
from inferencebench_pipeline.trust.root.trust_root import TrustRoot, load_trust, parse_trust
from inferencebench_pipeline.trust.sign.identity_token import file_identity
from inferencebench_pipeline.trust.sign.signer import SigstoreSigner
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy, load_policy
from tests.corpus.world import FolderHub
from tests.envelope.measured import measurement_of, traces_bytes
from tests.sandbox.sigstore.serving import Client, serving

STRANGER = "mallory@example.org"


@pytest.fixture(autouse=True)
def loopback_without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "sandbox"


@pytest.fixture(params=[1, 2])
def version(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def client(state: Path) -> Iterator[Client]:
    with serving(state) as running:
        yield running


def trust_of(client: Client) -> TrustRoot:
    return load_trust(client.state / "sigstore/trust_config.json")


def policy_of(client: Client) -> IdentityPolicy:
    return load_policy(write_policy(client.state))


def message(number: int) -> str:
    """A content hash."""
    return hashlib.sha256(b"%d" % number).hexdigest()


def sign(client: Client, version: int, *numbers: int, **who: str) -> list[SeenCheckpoint]:
    """Sign messages and return the checkpoint that each proof leads to."""
    token = client.token(**who) if who else None
    signer = client.signer(version, token)
    return [seen(signer.sign_artifact(message(number).encode()), number) for number in numbers]


def seen(bundle: Bundle, number: int) -> SeenCheckpoint:
    entry = bundle.log_entry._inner
    note = entry.inclusion_proof.checkpoint.envelope
    checkpoint = unverified_checkpoint(note, entry.log_id.key_id.hex())
    return SeenCheckpoint(f"example-org/run-{number}", "0" * 40, checkpoint)


def known(*numbers: int) -> frozenset[str]:
    return frozenset(signature_digest_of(message(number)) for number in numbers)


def examine(client: Client, store: CorpusStore, version: int, **settings: Any) -> LogReport:
    reports = examine_logs(
        store,
        trust_of(client),
        policy_of(client),
        **{"seen": [], "known_digests": frozenset(), **settings},
    )
    (report,) = [item for item in reports if f"rekor-v{version}" in item.url]
    return report


def test_a_consistency_proof_from_subtrees_is_the_logs_own_and_any_change_of_it_is_refused():
    rolls, tree = random.Random(7), MerkleTree()
    for number in range(700):
        tree.append(leaf_hash(b"%d" % number))
    for _ in range(200):
        second = rolls.randint(1, 700)
        first = rolls.randint(1, second)
        proof = consistency_proof(first, second, lambda level, at: tree.nodes(level, at, at + 1)[0])
        assert proof == tree.consistency(first, second)
        require_consistency(first, tree.root(first), second, tree.root(second), proof)
        for wrong in ([*proof, bytes(32)], proof[:-1], [bytes(32), *proof[1:]]):
            if wrong != proof:
                with pytest.raises(ProofError):
                    require_consistency(first, tree.root(first), second, tree.root(second), wrong)
        if first < second:
            with pytest.raises(ProofError):
                require_consistency(first, tree.root(second), second, tree.root(second), proof)
            with pytest.raises(ProofError):
                require_consistency(first, tree.root(first), second, tree.root(first), proof)


def test_an_honest_log_is_proved_once_and_then_recognised(
    client: Client, store: CorpusStore, version: int
):
    checkpoints = sign(client, version, *range(9))

    first = examine(client, store, version, seen=checkpoints, known_digests=known(*range(9)))
    again = examine(client, store, version, seen=checkpoints, known_digests=known(*range(9)))

    assert (first.is_honest, first.proved_now, first.scanned_now, first.unknown) == (True, 9, 9, ())
    assert (again.is_honest, again.proved_now, again.scanned_now) == (True, 0, 0)


def test_an_entry_under_our_identity_that_nobody_knows_is_an_alarm_until_it_is_known(
    client: Client, store: CorpusStore, version: int
):
    sign(client, version, 1, 2)
    sign(client, version, 3, subject=STRANGER)

    report = examine(client, store, version, known_digests=known(1))
    (alarm,) = report.unknown
    assert (alarm.index, alarm.sha256) == (1, signature_digest_of(message(2)))
    assert "pipeline@inferencebench.sandbox" in alarm.detail

    sign(client, version, 4)
    later = examine(client, store, version, known_digests=known(1, 4))
    assert later.unknown == (alarm,)
    assert examine(client, store, version, known_digests=known(1, 2, 4)).unknown == ()


def test_the_alarm_stands_when_the_thief_publishes_what_he_signed(
    client: Client, store: CorpusStore, version: int, hub: FolderHub
):
    """He has our identity, a namespace of his own, and may tag a dataset as we do."""
    run_id = new_run_id()
    traces = traces_bytes(run_id)
    stolen = build_envelope(measurement_of(run_id, traces))
    token = file_identity(identity_token_file(client.state))
    signer = SigstoreSigner(trust=trust_of(client), identity=token, rekor_version=version)
    signed = signer.sign(stolen)
    examined: dict[str, Any] = {"organisation": DEFAULT_ORGANISATION, "version": version}
    before = examine(client, store, known_digests=known_digests(RunStore(store.root)), **examined)
    assert [item.sha256 for item in before.unknown] == [signature_digest_of(content_hash(stolen))]

    hub.commit("thief/whatever", {"envelope.json": serialise(signed), "traces.parquet": traces})
    crawl_others(hub, list(hub.listed("thief")), [], store)
    judge = PolicyJudge(trust_of(client), policy_of(client))
    verify_days(store, created_days(store), judge)
    after = examine(client, store, known_digests=known_digests(RunStore(store.root)), **examined)
    assert after.unknown == before.unknown


def test_what_the_signers_of_others_sign_is_no_alarm_of_ours(
    client: Client, store: CorpusStore, version: int
):
    sign(client, version, 1)
    assert examine(client, store, version, organisation="somebody-else").unknown == ()


def test_a_pass_is_bounded_and_the_next_goes_on(client: Client, store: CorpusStore):
    checkpoints = sign(client, 1, *range(25))

    passes = [
        examine(
            client,
            store,
            1,
            seen=checkpoints,
            known_digests=known(*range(25)),
            requests_per_log=10,
        )
        for _ in range(4)
    ]

    assert [item.proved_now for item in passes] == [10, 10, 5, 0]
    assert [item.not_proved_yet for item in passes] == [15, 5, 0, 0]
    assert all(item.is_honest for item in passes)


def test_a_log_that_forgets_is_not_trusted_again(state: Path, store: CorpusStore, version: int):
    with serving(state) as client:
        sign(client, version, 1, 2, 3)
        assert examine(client, store, version).is_honest
    (state / f"sigstore/logs/rekor-v{version}.jsonl").unlink()

    with serving(state) as client:
        shorter = examine(client, store, version)
        sign(client, version, 4, 5, 6, 7)
        regrown = examine(client, store, version)

    assert "had signed for 3" in (shorter.problem or "")
    assert regrown.problem == shorter.problem


def test_a_log_with_another_history_is_found_out(state: Path, store: CorpusStore, version: int):
    with serving(state) as client:
        before = sign(client, version, 1, 2, 3)
        examine(client, store, version)
    (state / f"sigstore/logs/rekor-v{version}.jsonl").unlink()

    with serving(state) as client:
        sign(client, version, 4, 5, 6, 7, 8)
        report = examine(client, store, version, seen=before)

    assert "rewritten its history" in (report.problem or "")
    assert {item.kind for item in report.findings} == {FindingKind.LOG_INCONSISTENT}
    assert len(report.findings) == 3


def test_a_record_in_a_branch_of_the_log_that_nobody_else_sees_is_found(
    state: Path, store: CorpusStore, version: int
):
    """The bundle verifies: the log's key signed that checkpoint. Only the comparison shows it."""
    with serving(state) as client:
        (hidden,) = sign(client, version, 1)
    (state / f"sigstore/logs/rekor-v{version}.jsonl").unlink()

    with serving(state) as client:
        shown = sign(client, version, 2, 3)
        report = examine(client, store, version, seen=[hidden, *shown])
    keep_reports(store, [report])

    assert report.problem is None
    assert [item.repo_id for item in log_findings(store)] == [hidden.repo_id]
    assert report.proved_now == 2


def test_a_log_that_is_down_is_an_outage_and_no_finding(
    state: Path, store: CorpusStore, version: int
):
    with serving(state) as client:
        sign(client, version, 1)
        trust, policy = trust_of(client), policy_of(client)

    with pytest.raises(LogUnavailableError, match="try again later"):
        examine_logs(store, trust, policy, seen=[], known_digests=frozenset())


def test_a_damaged_memory_of_a_log_is_named_not_forgotten(client: Client, store: CorpusStore):
    sign(client, 2, 1)
    examine(client, store, 2)
    for path in store.logs_folder.glob("*.json"):
        path.write_text("{")

    with pytest.raises(LogStateError, match="restore it from a copy"):
        examine(client, store, 2)


def test_a_log_that_serves_other_entries_than_it_signed_for_is_found_out(
    client: Client, store: CorpusStore, version: int, monkeypatch: pytest.MonkeyPatch
):
    """An entry exchanged on its way to us: its hash no longer leads to the signed root."""
    sign(client, version, 1, 2, 3)
    log = reader.RekorV1Log if version == 1 else reader.TiledLog
    served = log.entries

    def exchanged(self: Any, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        for index, body in served(self, start, stop):
            yield index, b"{}" if index == 1 else body

    monkeypatch.setattr(log, "entries", exchanged)

    report = examine(client, store, version, known_digests=known(1, 2, 3))

    assert "not those it has signed for" in (report.problem or "")


def test_a_checkpoint_of_another_key_is_refused_and_leaves_no_mark(
    client: Client, store: CorpusStore
):
    """A trust root that is not current looks like this; with the right one all is well again."""
    checkpoints = sign(client, 2, 1)
    document = json.loads((client.state / "sigstore/trust_config.json").read_text())
    other = Ed25519PrivateKey.generate().public_key()
    der = other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    document["trustedRoot"]["tlogs"][1]["publicKey"]["rawBytes"] = base64.b64encode(der).decode()
    stale = parse_trust(json.dumps(document).encode(), where="the test")

    reports = examine_logs(
        store, stale, policy_of(client), seen=checkpoints, known_digests=known(1)
    )
    (refused,) = [item for item in reports if "rekor-v2" in item.url]

    assert "trusted key did not sign" in (refused.problem or "")
    assert (refused.findings, refused.not_proved_yet) == ([], 1)
    assert examine(client, store, 2, known_digests=known(1)).is_honest
