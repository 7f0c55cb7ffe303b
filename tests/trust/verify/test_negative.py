"""One negative case per thing verification looks at, on genuine records of both kinds of log."""

from __future__ import annotations

import base64
import copy
import json
import os
import resource
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from inferencebench_pipeline.trust.root.store import shipped_trust
from inferencebench_pipeline.trust.root.trust_root import parse_trust
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from inferencebench_pipeline.trust.verify.bundle import BundleVerifier
from inferencebench_pipeline.trust.verify.verdict import FailureClass, Verdict
from tests.envelope.measured import write_measured
from tests.trust.conftest import World
from tests.trust.records import Signed, assert_rejected, encode, with_bundle

PAST = {"start": "2001-01-01T00:00:00Z", "end": "2019-01-01T00:00:00Z"}
INVALID = FailureClass.SIGNATURE_INVALID


def another_trust(world: World, change: Callable[[dict[str, Any]], None]) -> Any:
    document = json.loads(world.trust_config.read_text())
    change(document["trustedRoot"])
    return parse_trust(json.dumps(document).encode(), where="the test")


class TestTrustRoot:
    """Every key counts only in its own time, and only if it is there."""

    def test_a_log_of_another_sigstore_is_named_with_what_its_record_needs(
        self, world: World, signed: Signed
    ) -> None:
        verdict = world.verify(signed.data, signed.traces, trust=shipped_trust())
        assert_rejected(verdict, "bundle_verifies", INVALID)
        log = world.verify(signed.data, signed.traces).log
        assert log is not None
        assert f"the entry names log {log.log_id}, which the trust root" in verdict.reason
        assert f"({shipped_trust().origin.name}) does not know" in verdict.reason
        assert "(--trust-config)" in verdict.reason

    @pytest.mark.parametrize(
        ("part", "check"),
        [
            ("tlogs", "key_windows"),
            ("ctlogs", "key_windows"),
            ("certificateAuthorities", "key_windows"),
            ("timestampAuthorities", "bundle_verifies|timestamps_verify"),
        ],
    )
    def test_a_key_whose_time_was_over(
        self, world: World, signed: Signed, part: str, check: str
    ) -> None:
        def end(root: dict[str, Any]) -> None:
            for item in root[part]:
                item.get("publicKey", item)["validFor"] = PAST

        verdict = world.verify(signed.data, signed.traces, trust=another_trust(world, end))
        failed = next(item.name for item in verdict.checks if item.status == "failed")
        assert failed in check.split("|"), verdict.reason
        assert verdict.failure_class == INVALID

    @pytest.mark.parametrize(
        "part", ["tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"]
    )
    def test_keys_of_another_deployment(
        self, world: World, signed: Signed, part: str, shared_data: Path
    ) -> None:
        path = shared_data / "sigstore-bundles/roots/public-good.trusted_root.json"
        theirs = json.loads(path.read_bytes())

        def swap(root: dict[str, Any]) -> None:
            root[part] = theirs[part]

        verdict = world.verify(signed.data, signed.traces, trust=another_trust(world, swap))
        assert not verdict.ok
        assert verdict.failure_class == INVALID

    def test_nothing_is_trusted_without_keys(self, world: World, signed: Signed) -> None:
        for part in ("tlogs", "ctlogs", "certificateAuthorities"):
            empty = another_trust(world, lambda root, part=part: root.update({part: []}))
            assert not world.verify(signed.data, signed.traces, trust=empty).ok


def entry(bundle: dict[str, Any]) -> dict[str, Any]:
    return bundle["verificationMaterial"]["tlogEntries"][0]


def grow_tree(bundle: dict[str, Any]) -> None:
    proof = entry(bundle)["inclusionProof"]
    proof["treeSize"] = str(int(proof["treeSize"]) + 1)


def move_entry(bundle: dict[str, Any]) -> None:
    entry(bundle)["logIndex"] = str(int(entry(bundle)["logIndex"]) + 1)


def move_proof(bundle: dict[str, Any]) -> None:
    proof = entry(bundle)["inclusionProof"]
    proof["logIndex"] = str(int(proof["logIndex"]) + 1)


def rename_log(bundle: dict[str, Any]) -> None:
    raw = bytearray(base64.b64decode(entry(bundle)["logId"]["keyId"]))
    raw[20] ^= 1
    entry(bundle)["logId"]["keyId"] = base64.b64encode(raw).decode()


def reclock(bundle: dict[str, Any]) -> None:
    entry(bundle)["integratedTime"] = str(int(entry(bundle).get("integratedTime", 0)) + 86_400)


def drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(bundle: dict[str, Any]) -> None:
        parent: Any = bundle
        for part in path[:-1]:
            parent = parent[part][0] if part == "tlogEntries" else parent[part]
        parent.pop(path[-1])

    return change


def repeat_timestamp(bundle: dict[str, Any]) -> None:
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamps *= 40


def note_of_nobody(bundle: dict[str, Any]) -> None:
    checkpoint = entry(bundle)["inclusionProof"]["checkpoint"]
    checkpoint["envelope"] = checkpoint["envelope"].split("\n\n")[0] + "\n\n"


BUNDLE_CHANGES = {
    "tree size": grow_tree,
    "log index": move_entry,
    "proof's index": move_proof,
    "log id": rename_log,
    "no proof": drop("verificationMaterial", "tlogEntries", "inclusionProof"),
    "no checkpoint": drop("verificationMaterial", "tlogEntries", "inclusionProof", "checkpoint"),
    "no signature on the checkpoint": note_of_nobody,
    "no entry": drop("verificationMaterial", "tlogEntries"),
    "no body": drop("verificationMaterial", "tlogEntries", "canonicalizedBody"),
    "no certificate": drop("verificationMaterial", "certificate"),
    "no signature": drop("messageSignature", "signature"),
    "forty timestamps": repeat_timestamp,
}


@pytest.mark.parametrize("name", BUNDLE_CHANGES)
def test_a_bundle_with_a_part_changed_or_missing(world: World, signed: Signed, name: str) -> None:
    verdict = world.verify(with_bundle(signed, BUNDLE_CHANGES[name]), signed.traces)
    assert not verdict.ok, name
    assert verdict.failure_class == INVALID


def test_a_time_the_log_did_not_promise(world: World, signed: Signed) -> None:
    bundle = json.loads(base64.b64decode(signed.document["signature"]["bundle"]))
    if "inclusionPromise" not in entry(bundle):
        pytest.skip("Rekor v2 states no time")
    assert not world.verify(with_bundle(signed, reclock), signed.traces).ok
    broken = with_bundle(
        signed, lambda bundle: entry(bundle)["inclusionPromise"].update(signedEntryTimestamp="AAAA")
    )
    assert not world.verify(broken, signed.traces).ok


@pytest.mark.parametrize("time", [None, "0"])
@pytest.mark.parametrize("moved", [True, False])
def test_a_promise_without_its_time_is_refused(
    world: World, signed: Signed, time: str | None, moved: bool
) -> None:
    """Nobody can verify such a promise, and stock passes over it."""

    def unpromise(bundle: dict[str, Any]) -> None:
        if moved:
            move_entry(bundle)
        entry(bundle)["inclusionPromise"] = {"signedEntryTimestamp": "AAAA"}
        entry(bundle).pop("integratedTime", None)
        if time is not None:
            entry(bundle)["integratedTime"] = time

    document = json.loads(with_bundle(signed, unpromise))
    document["signature"]["rekor_log_index"] += moved
    verdict = world.verify(encode(document), signed.traces)
    assert_rejected(verdict, "bundle_verifies", INVALID)
    assert "without the integrated time" in verdict.reason


def another_record(world: World, folder: Path, version: int) -> dict[str, Any]:
    run = RunStore(folder).run(new_run_id())
    run.path.mkdir(parents=True)
    write_measured(run)
    sign_run(run, world.signer(rekor_version=version), verify=world.verify)
    document = json.loads(run.read(RunFile.ENVELOPE))
    return json.loads(base64.b64decode(document["signature"]["bundle"]))


@pytest.mark.parametrize("part", ["tlogEntries", "timestampVerificationData", "certificate"])
def test_a_part_of_another_genuine_bundle(
    world: World, signed: Signed, tmp_path: Path, part: str
) -> None:
    own = json.loads(base64.b64decode(signed.document["signature"]["bundle"]))
    version = 1 if "inclusionPromise" in entry(own) else 2
    other = another_record(world, tmp_path, version)

    def swap(bundle: dict[str, Any]) -> None:
        bundle["verificationMaterial"][part] = other["verificationMaterial"][part]

    assert not world.verify(with_bundle(signed, swap), signed.traces).ok


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.dev.sigstore.bundle.v0.4+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/json",
        "",
        None,
    ],
)
def test_a_bundle_of_another_version(world: World, signed: Signed, media_type: str | None) -> None:
    data = with_bundle(signed, lambda bundle: bundle.update(mediaType=media_type))
    verdict = world.verify(data, signed.traces)
    assert not verdict.ok
    assert verdict.failure_class == INVALID


def certificate_with(key: Any) -> x509.Certificate:
    name = x509.Name([])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(minutes=5))
        .add_extension(
            x509.SubjectAlternativeName([x509.RFC822Name("a@example.org")]), critical=True
        )
        .sign(key, hashes.SHA256())
    )


@pytest.mark.parametrize("kind", ["rsa", "p-384", "p-256", "garbage"])
def test_a_certificate_that_no_authority_issued(world: World, signed: Signed, kind: str) -> None:
    if kind == "garbage":
        der = b"\x30\x03\x02\x01\x01"
    else:
        key: Any = {
            "rsa": lambda: rsa.generate_private_key(65537, 2048),
            "p-384": lambda: ec.generate_private_key(ec.SECP384R1()),
            "p-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        }[kind]()
        der = certificate_with(key).public_bytes(Encoding.DER)

    def swap(bundle: dict[str, Any]) -> None:
        certificate = bundle["verificationMaterial"]["certificate"]
        certificate["rawBytes"] = base64.b64encode(der).decode()

    verdict = world.verify(with_bundle(signed, swap), signed.traces)
    assert not verdict.ok
    assert verdict.failure_class == INVALID


@pytest.mark.parametrize(
    "error", [TypeError, AttributeError, KeyError, RecursionError, MemoryError, RuntimeError]
)
@pytest.mark.parametrize("method", ["verify", "_beyond_stock", "_log_of"])
def test_whatever_goes_wrong_is_a_rejection_with_its_class(
    world: World,
    signed: Signed,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    error: type[Exception],
) -> None:
    def fail(*_arguments: object) -> None:
        raise error("unexpected")

    monkeypatch.setattr(BundleVerifier, method, fail)
    verdict = world.verify(signed.data, signed.traces)
    assert not verdict.ok
    assert verdict.failure_class == INVALID
    failed = next(item for item in verdict.checks if item.status == "failed")
    assert failed.evidence["error"] == error.__name__


def test_every_passed_check_says_what_it_rests_on(world: World, signed: Signed) -> None:
    verdict = world.verify(signed.data, signed.traces)
    assert verdict.ok
    bare = [item.name for item in verdict.checks if not item.evidence]
    assert bare in ([], ["signature_present"])
    evidence = {item.name: item.evidence for item in verdict.checks}
    assert evidence["certificate_identity"]["identity"] == world.policy.signers[0].identity
    assert int(evidence["checkpoint_size"]["tree_size"]) > 0
    assert verdict.signed_at is not None
    assert verdict.signed_at.isoformat() in evidence["timestamps_verify"]["signed_at"]


class TestBadInput:
    """Whatever comes in, one verdict comes out, soon and in bounded memory."""

    def judged(self, world: World, data: bytes) -> Verdict:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        verdict = world.verify(data, None)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300_000
        assert not verdict.ok
        return verdict

    @pytest.mark.parametrize(
        "data",
        [
            b"{" + b" " * (3 << 20) + b"}",
            b'{"a":' * 200_000,
            b'{"a":' * 100 + b"1" + b"}" * 100,
            b"[" * 1_000_000,
            b'{"suite_id": "' + b"x" * (1 << 20) + b'"}',
            b'{"seed": ' + b"9" * 1_000_000 + b"}",
            b'{"metrics": {' + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}}",
            b"\xff\xfe{}",
            b"\xef\xbb\xbf{}",
            b'{"a": "\xed\xa0\x80"}',
            b"NaN",
            b'{"metrics": NaN}',
            os.urandom(4096),
        ],
        ids=[
            "giant",
            "deep",
            "deeper than allowed",
            "deep arrays",
            "long string",
            "long number",
            "many metrics",
            "utf-16",
            "byte-order mark",
            "surrogate",
            "nan",
            "nan metrics",
            "noise",
        ],
    )
    def test_documents(self, world: World, data: bytes) -> None:
        assert self.judged(world, data).failure_class == FailureClass.MALFORMED

    def test_a_repeated_key_is_refused_though_the_last_one_would_verify(
        self, world: World, signed: Signed
    ) -> None:
        text = signed.data.decode()
        doubled = text.replace('"metrics": {', '"metrics": {"ttft_p50_ms": 0.1}, "metrics": {', 1)
        assert doubled != text
        assert json.loads(doubled) == signed.document
        verdict = self.judged(world, doubled.encode())
        assert_rejected(verdict, "schema", FailureClass.MALFORMED)
        assert "'metrics' appears twice" in verdict.reason

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
    def test_a_number_that_is_not_finite_is_refused_wherever_it_stands(
        self, world: World, signed: Signed, number: str
    ) -> None:
        text = signed.data.decode()
        for place in ('"metrics": {', '"driver_options": {', "{"):
            changed = text.replace(place, f'{place}"extra": {number}, ', 1)
            assert changed != text
            verdict = self.judged(world, changed.encode())
            assert_rejected(verdict, "schema", FailureClass.MALFORMED)
            assert f"'{number}' is not finite" in verdict.reason

    @pytest.mark.parametrize(
        "run_id", ["../../etc/passwd", "/etc/passwd", "a/b", "..", "", "\x00", "C:\\x", "x" * 9999]
    )
    def test_a_run_id_with_path_characters_touches_nothing(
        self, world: World, signed: Signed, run_id: str, tmp_path: Path
    ) -> None:
        document = copy.deepcopy(signed.document)
        document["run_id"] = run_id
        before = sorted(tmp_path.rglob("*"))
        assert self.judged(world, encode(document)).failure_class == FailureClass.TAMPERED
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_traces_file_without_end(self, world: World, signed: Signed, tmp_path: Path) -> None:
        path = tmp_path / "traces.parquet"
        with path.open("wb") as file:
            file.truncate((1 << 30) + 2)
        verdict = world.verify(signed.data, path)
        assert_rejected(verdict, "traces_hash", FailureClass.TRACES_MISMATCH)
        assert "more than is read" in verdict.reason
