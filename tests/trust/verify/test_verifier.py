"""Verification: every way to tamper is refused, at the check that should refuse it."""

from __future__ import annotations

import base64
import copy
import gc
import hashlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inferencebench_pipeline.envelope.canonical import content_hash, parse_envelope
from inferencebench_pipeline.measure.run.trace_writer import TRACES_SCHEMA_VERSION
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy, parse_policy
from inferencebench_pipeline.trust.verify.verdict import FailureClass, Verdict
from tests.chance import examples
from tests.envelope.measured import traces_bytes, write_measured
from tests.trust.conftest import World
from tests.trust.records import Signed, assert_rejected, encode, with_bundle


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        parent: Any = document
        *parts, last = path.split("/")
        for part in parts:
            parent = parent[part]
        parent[last] = value

    return change


TAMPERINGS = {
    "metric": put("metrics/ttft_p50_ms", 1.0),
    "metric_null": put("metrics/ttft_p50_ms", None),
    "metric_added": put("metrics/score", 1.0),
    "run_id": put("run_id", "0199d3c0-0000-7000-8000-000000000009"),
    "suite_id": put("suite_id", "llm.inference.code"),
    "suite_version": put("suite_version", "1.0.1"),
    "timestamp": put("timestamp", "2026-05-15T10:31:03Z"),
    "model_id": put("model/id", "example/huge"),
    "model_revision": put("model/revision", "0123456"),
    "engine": put("engine/version", "b7001"),
    "quantization": put("quantization", None),
    "git_commit": put("software_provenance/git_commit", "fedcba9"),
    "dataset": put("dataset/hash", "e" * 64),
    "seed": put("seed", 43),
    "load": put("driver_options/load/concurrency", 1),
    "binding": put(
        "distributions/traces.parquet", f"sha256:{'a' * 64};rows=13;schema={TRACES_SCHEMA_VERSION}"
    ),
    "distribution_added": put("distributions/other", "x"),
    "slo": put("slo_template", ""),
    "warnings": put("warnings", []),
    "extension": put("inferencebench_pipeline/hardware_class", "h100"),
    "slo_bound": put("inferencebench_pipeline/slo/ttft_ms", 1000.0),
    "new_field": put("verified", True),
    "hardware_extra": put("hardware_fingerprint/cpu/cores", 64),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_changed_document_is_tampered(world: World, signed: Signed, name: str) -> None:
    document = signed.document
    TAMPERINGS[name](document)
    verdict = world.verify(encode(document), signed.traces)
    assert_rejected(verdict, "bundle_covers_content_hash", FailureClass.TAMPERED)


def test_the_same_statement_in_other_bytes_still_verifies(world: World, signed: Signed) -> None:
    document = dict(reversed(list(signed.document.items())))
    verdict = world.verify(encode(document), signed.traces)
    assert verdict.ok, verdict.reason


def test_changed_hardware_does_not_parse(world: World, signed: Signed) -> None:
    document = signed.document
    document["hardware_fingerprint"]["cpu"]["model"] = "Faster CPU"
    verdict = world.verify(encode(document), signed.traces)
    assert_rejected(verdict, "schema", FailureClass.MALFORMED)
    assert verdict.content_hash is None


def test_an_unsigned_envelope_is_unsigned(world: World, signed: Signed) -> None:
    document = signed.document
    document["signature"] = None
    verdict = world.verify(encode(document), signed.traces)
    assert_rejected(verdict, "signature_present", FailureClass.UNSIGNED)
    assert verdict.content_hash == content_hash(parse_envelope(signed.data))


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_envelope_is_malformed(world: World, data: bytes) -> None:
    assert_rejected(world.verify(data, None), "schema", FailureClass.MALFORMED)


@pytest.mark.parametrize(
    ("field", "value", "check"),
    [
        ("certificate", "not a certificate", "envelope_names_certificate"),
        ("rekor_log_index", 987_654, "envelope_names_log_index"),
        ("rekor_log_index", -1, "envelope_names_log_index"),
        ("bundle", "", "bundle_format"),
        ("bundle", "!!!", "bundle_format"),
        ("bundle", "e30=", "bundle_format"),
    ],
)
def test_the_block_around_the_bundle_must_say_what_the_bundle_proves(
    world: World, signed: Signed, field: str, value: object, check: str
) -> None:
    document = signed.document
    document["signature"][field] = value
    verdict = world.verify(encode(document), signed.traces)
    assert_rejected(verdict, check, FailureClass.SIGNATURE_INVALID)


def test_a_second_certificate_beside_the_real_one_is_refused(world: World, signed: Signed) -> None:
    document = signed.document
    document["signature"]["certificate"] *= 2
    verdict = world.verify(encode(document), signed.traces)
    assert_rejected(verdict, "envelope_names_certificate", FailureClass.SIGNATURE_INVALID)


def test_every_value_in_the_bundle_counts(world: World, signed: Signed) -> None:
    original = json.loads(base64.b64decode(signed.document["signature"]["bundle"]))
    for path in leaves(original):

        def change(bundle: dict[str, Any], path: tuple[Any, ...] = path) -> None:
            parent: Any = bundle
            for part in path[:-1]:
                parent = parent[part]
            parent[path[-1]] = another(parent[path[-1]])

        if original_value(original, path) == "0" and path[-1] == "integratedTime":
            continue  # Rekor v2 states no time; nothing reads it there
        verdict = world.verify(with_bundle(signed, change), signed.traces)
        assert not verdict.ok, path
        assert verdict.failure_class in (FailureClass.SIGNATURE_INVALID, FailureClass.TAMPERED)


def original_value(document: Any, path: tuple[Any, ...]) -> Any:
    for part in path:
        document = document[part]
    return document


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*path, key))]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in leaves(item, (*path, i))]
    return [path]


def another(value: Any) -> Any:
    if isinstance(value, str) and value.isdigit():
        return str(int(value) + 1)
    if isinstance(value, str):
        middle = 3 if "\n\n" in value else len(value) // 2
        return value[:middle] + ("A" if value[middle] != "A" else "B") + value[middle + 1 :]
    return value


def test_the_bundle_of_another_record_is_refused(
    world: World, signed: Signed, tmp_path: Path
) -> None:
    run = RunStore(tmp_path).run(new_run_id())
    run.path.mkdir(parents=True)
    write_measured(run)
    sign_run(run, world.signer(), verify=world.verify)
    document = signed.document
    document["signature"] = json.loads(run.read(RunFile.ENVELOPE))["signature"]
    verdict = world.verify(encode(document), signed.traces)
    assert_rejected(verdict, "bundle_covers_content_hash", FailureClass.TAMPERED)
    # Nor does hiding which digest the bundle signs help.
    hidden = Signed(encode(document), signed.traces)
    data = with_bundle(hidden, lambda bundle: bundle["messageSignature"].pop("messageDigest"))
    verdict = world.verify(data, signed.traces)
    assert_rejected(verdict, "bundle_verifies", FailureClass.SIGNATURE_INVALID)


def policy_with(world: World, **changes: Any) -> IdentityPolicy:
    rule = world.policy.signers[0].model_dump(mode="json") | changes
    text = yaml.safe_dump({"version": 1, "signers": [rule]})
    return parse_policy(text.encode(), where="the test")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"identity": "somebody@example.org"}, "may not sign"),
        ({"identity": "PIPELINE@inferencebench.sandbox"}, "may not sign"),
        ({"issuer": "https://accounts.example.org"}, "may not sign"),
        ({"organisation": "acme"}, "names no signer for"),
        ({"suites": ["vision.*"]}, "names no signer for"),
        ({"suites": ["llm.inference.chat.*"]}, "names no signer for"),
        ({"valid_from": "2099-01-01T00:00:00Z"}, "outside its time"),
        ({"valid_until": "2026-01-01T00:00:01Z", "valid_from": "2020-01-01T00:00:00Z"}, "outside"),
    ],
)
def test_a_signer_the_policy_does_not_allow_is_refused(
    world: World, signed: Signed, changes: dict[str, Any], said: str
) -> None:
    verdict = world.verify(signed.data, signed.traces, policy=policy_with(world, **changes))
    assert_rejected(verdict, "identity_policy", FailureClass.IDENTITY_NOT_ALLOWED)
    assert said in verdict.reason
    assert verdict.signer is not None
    assert verdict.signer.identity == world.policy.signers[0].identity


def test_a_signer_of_one_organisation_does_not_speak_for_another(
    world: World, signed: Signed
) -> None:
    verdict = world.verify(signed.data, signed.traces, organisation="acme")
    assert_rejected(verdict, "identity_policy", FailureClass.IDENTITY_NOT_ALLOWED)
    assert world.verify(signed.data, signed.traces, organisation=None).ok


@pytest.mark.parametrize("collects", [True, False])
def test_a_program_keeps_its_own_way_to_collect_garbage(
    world: World, signed: Signed, collects: bool
) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        for data in (signed.data, b"no envelope"):
            assert world.verify(data, signed.traces).ok is (data == signed.data)
            assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()


def test_the_verdict_names_what_it_was_made_under(world: World, signed: Signed) -> None:
    verdict = world.verify(signed.data, signed.traces)
    assert verdict.ok, verdict.reason
    assert verdict.policy_sha256 == world.policy.sha256
    assert verdict.trust_root_sha256 == hashlib.sha256(world.trust_config.read_bytes()).hexdigest()
    assert verdict.signer is not None
    assert verdict.signer.issuer in verdict.reason
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict


DEV_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def pem(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def dev_signed(document: dict[str, Any], key: Ed25519PrivateKey = DEV_KEY) -> dict[str, Any]:
    message = content_hash(parse_envelope(encode(document))).encode()
    signature = {
        "method": "dev-key",
        "certificate": pem(key),
        "rekor_log_index": -1,
        "bundle": base64.b64encode(key.sign(message)).decode(),
    }
    return document | {"signature": signature}


def dev_policy(world: World, **changes: Any) -> IdentityPolicy:
    rule = {"organisation": world.organisation, "suites": ["llm.*"], "public_key_pem": pem(DEV_KEY)}
    text = yaml.safe_dump({"version": 1, "dev_keys": [rule | changes]})
    return parse_policy(text.encode(), where="the test")


def test_downgrading_to_a_development_key_is_refused(world: World, signed: Signed) -> None:
    document = dev_signed(signed.document)
    verdict = world.verify(encode(document), signed.traces)
    assert_rejected(verdict, "identity_policy", FailureClass.IDENTITY_NOT_ALLOWED)
    assert "policy pins none" in verdict.reason


def test_a_pinned_development_key_verifies_and_says_so(world: World, signed: Signed) -> None:
    document = dev_signed(signed.document)
    verdict = world.verify(encode(document), signed.traces, policy=dev_policy(world))
    assert verdict.ok, verdict.reason
    assert verdict.signer is not None
    assert (verdict.signer.method, verdict.signer.issuer) == ("dev-key", "policy")
    assert verdict.log is None


@pytest.mark.parametrize("changes", [{"organisation": "acme"}, {"suites": ["vision.*"]}])
def test_a_development_key_counts_only_where_it_is_pinned(
    world: World, signed: Signed, changes: dict[str, Any]
) -> None:
    document = dev_signed(signed.document)
    verdict = world.verify(encode(document), None, policy=dev_policy(world, **changes))
    assert_rejected(verdict, "identity_policy", FailureClass.IDENTITY_NOT_ALLOWED)


def test_an_attackers_own_development_key_is_refused(world: World, signed: Signed) -> None:
    document = signed.document
    document["metrics"]["ttft_p50_ms"] = 0.1
    attacked = dev_signed(document, Ed25519PrivateKey.generate())
    verdict = world.verify(encode(attacked), None, policy=dev_policy(world))
    assert_rejected(verdict, "identity_policy", FailureClass.IDENTITY_NOT_ALLOWED)
    attacked["signature"]["certificate"] = pem(DEV_KEY)
    verdict = world.verify(encode(attacked), None, policy=dev_policy(world))
    assert_rejected(verdict, "dev_key_signature", FailureClass.TAMPERED)


def test_the_formats_own_verify_cases_agree(world: World, shared_data: Path) -> None:
    """Upstream accepts whoever signs itself; with the key pinned we agree, without it never."""
    folder = shared_data / "envelope-vectors"
    pinned = dev_policy(world, organisation="any", suites=["*"])
    for path in sorted(folder.glob("verify_*.json")):
        case = json.loads(path.read_text())
        data = encode(case["envelope"])
        alone = world.verify(data, None, organisation="any", policy=policy_with(world))
        assert not alone.ok
        verdict = world.verify(data, None, organisation="any", policy=pinned)
        resigned_by_another = case["name"] == "verify_resigned_by_attacker"
        wrong_pin = case.get("with_public_key") is not None
        if wrong_pin:
            continue
        assert verdict.ok == (case["result"]["ok"] and not resigned_by_another), case["name"]


def test_the_formats_own_signed_example_verifies(world: World, shared_data: Path) -> None:
    case = json.loads((shared_data / "envelope-vectors" / "sign_dev_key.json").read_text())
    assert bytes.fromhex(case["private_seed_hex"]) == DEV_KEY.private_bytes_raw()
    data = case["signed_envelope_text"].encode()
    verdict = world.verify(data, None, policy=dev_policy(world))
    assert verdict.ok, verdict.reason
    assert verdict.content_hash == case["message_ascii"]


def test_the_corpus_verifies_under_its_pinned_key(world: World, shared_data: Path) -> None:
    folder = shared_data / "corpus"
    key = (folder / "cosign-2026-05-18-marathon.pub").read_text()
    policy = dev_policy(world, organisation="yobitel", suites=["*"], public_key_pem=key)
    for item in json.loads((folder / "manifest.json").read_text())["envelopes"]:
        data = (folder / item["path"]).read_bytes()
        verdict = world.verify(data, None, organisation="yobitel", policy=policy)
        assert verdict.ok, verdict.reason
        assert verdict.content_hash == item["content_hash"]


SURE = {"low": 58.0, "high": 58.1, "confidence": 0.95, "method": "repeats", "n": 5.0}
"""An interval that twelve requests cannot give."""


class TestTraces:
    """What the signature covers must be what the traces give."""

    def resigned(self, world: World, signed: Signed, **changes: Any) -> Verdict:
        """The verdict on a changed document that its own signer signed: only traces can tell."""
        document = copy.deepcopy(signed.document)
        traces = changes.pop("traces", signed.traces)
        for path, value in changes.items():
            put(path.replace("__", "/"), value)(document)
        return world.verify(encode(dev_signed(document)), traces, policy=dev_policy(world))

    def test_a_metric_that_does_not_follow_is_refused_to_the_last_digit(
        self, world: World, signed: Signed
    ) -> None:
        value = signed.document["metrics"]["ttft_p50_ms"]
        verdict = self.resigned(world, signed, metrics__ttft_p50_ms=value * (1 + 2**-52))
        assert_rejected(verdict, "metrics_rederive", FailureClass.METRICS_DO_NOT_REDERIVE)
        assert "ttft_p50_ms" in verdict.reason

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"metrics__extra_ms": 1.0}, "extra_ms is stated, but"),
            ({"metrics__ttft_p50_ms": None}, "ttft_p50_ms"),
            ({"metrics__ttft_p50_ms": "58.5"}, "stated as '58.5'"),
            ({"inferencebench_pipeline__metric_definitions": "0"}, "definitions '0'"),
            ({"inferencebench_pipeline__slo__ttft_ms": 1.0}, "slo_attainment|goodput"),
            ({"inferencebench_pipeline__metric_notes__ttft_p50_ms__n": 9000}, "n=9000"),
            ({"inferencebench_pipeline__metric_notes": {}}, "has no note"),
            ({"inferencebench_pipeline__metric_notes__ttft_p50_ms__interval": SURE}, "noted with"),
            ({"inferencebench_pipeline": None}, "no inferencebench_pipeline field"),
        ],
    )
    def test_statements_about_metrics_must_follow_too(
        self, world: World, signed: Signed, changes: dict[str, Any], said: str
    ) -> None:
        verdict = self.resigned(world, signed, **changes)
        assert_rejected(verdict, "metrics_rederive", FailureClass.METRICS_DO_NOT_REDERIVE)
        assert any(part in verdict.reason for part in said.split("|")), verdict.reason

    def test_a_metric_left_out_is_noticed(self, world: World, signed: Signed) -> None:
        document = signed.document
        del document["metrics"]["error_rate"]
        verdict = world.verify(
            encode(dev_signed(document)), signed.traces, policy=dev_policy(world)
        )
        assert_rejected(verdict, "metrics_rederive", FailureClass.METRICS_DO_NOT_REDERIVE)

    @pytest.mark.parametrize("kind", ["flipped", "truncated", "empty", "others"])
    def test_other_traces_are_refused(self, world: World, signed: Signed, kind: str) -> None:
        middle = len(signed.traces) // 2
        traces = {
            "flipped": signed.traces[:middle]
            + bytes([signed.traces[middle] ^ 1])
            + signed.traces[middle + 1 :],
            "truncated": signed.traces[:-9],
            "empty": b"",
            "others": traces_bytes("another run", rows=12),
        }[kind]
        verdict = world.verify(signed.data, traces)
        assert_rejected(verdict, "traces_hash", FailureClass.TRACES_MISMATCH)

    def test_a_bound_file_that_is_no_traces_file_is_refused(
        self, world: World, signed: Signed
    ) -> None:
        junk = b"PAR1 not really"
        bound = f"sha256:{hashlib.sha256(junk).hexdigest()};rows=13;schema={TRACES_SCHEMA_VERSION}"
        verdict = self.resigned(world, signed, distributions={"traces.parquet": bound}, traces=junk)
        assert_rejected(verdict, "traces_readable", FailureClass.TRACES_MISMATCH)

    @pytest.mark.parametrize(("rows", "schema"), [(12, TRACES_SCHEMA_VERSION), (13, "1")])
    def test_rows_and_schema_are_bound(
        self, world: World, signed: Signed, rows: int, schema: str
    ) -> None:
        bound = f"sha256:{hashlib.sha256(signed.traces).hexdigest()};rows={rows};schema={schema}"
        verdict = self.resigned(world, signed, distributions={"traces.parquet": bound})
        assert_rejected(verdict, "traces_readable", FailureClass.TRACES_MISMATCH)

    def test_traces_that_nothing_binds_prove_nothing(self, world: World, signed: Signed) -> None:
        verdict = self.resigned(world, signed, distributions={})
        assert_rejected(verdict, "traces_hash", FailureClass.TRACES_MISMATCH)

    def test_traces_that_are_bound_in_a_form_nobody_reads_are_missing_all_the_same(
        self, world: World, signed: Signed
    ) -> None:
        verdict = self.resigned(
            world, signed, distributions={"traces.parquet": "ipfs://there"}, traces=None
        )
        assert (verdict.outcome, verdict.failure_class) == ("incomplete", "traces_missing")

    def test_a_record_that_binds_no_traces_verifies_and_says_so(
        self, world: World, signed: Signed
    ) -> None:
        verdict = self.resigned(world, signed, distributions={}, traces=None)
        assert verdict.ok
        assert verdict.reason.endswith(
            "; no metric was re-derived, because the record binds no traces"
        )

    def test_traces_may_be_a_path(self, world: World, signed: Signed, tmp_path: Path) -> None:
        path = tmp_path / "traces.parquet"
        verdict = world.verify(signed.data, path)
        assert_rejected(verdict, "traces_hash", FailureClass.TRACES_MISMATCH)
        path.write_bytes(signed.traces)
        assert world.verify(signed.data, path).ok


def test_verification_needs_no_network(
    world: World, signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert world.verify(signed.data, signed.traces).ok


@settings(
    max_examples=examples(150),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_flipping_any_bit_never_raises_and_never_changes_what_is_verified(
    running_world: World, signed: Signed, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(signed.data) - 1))
    bit = data.draw(st.integers(0, 7))
    flipped = bytearray(signed.data)
    flipped[position] ^= 1 << bit
    verdict = running_world.verify(bytes(flipped), signed.traces)
    if verdict.ok:
        assert verdict.content_hash == content_hash(parse_envelope(signed.data))
