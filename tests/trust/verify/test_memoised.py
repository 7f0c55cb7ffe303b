"""What the sharing verifier abbreviates of stock sigstore, and that it comes to the same end."""

from __future__ import annotations

import base64
import gc
import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sigstore._internal import rekor
from sigstore._internal.trust import Keyring, KeyringPurpose
from sigstore.hashes import Hashed
from sigstore.models import TransparencyLogEntry, TrustedRoot
from sigstore.verify import verifier
from sigstore.verify.policy import UnsafeNoOp
from sigstore_models.common.v1 import HashAlgorithm

from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import content_hash, serialise
from inferencebench_pipeline.runs.run_directory import new_run_id
from inferencebench_pipeline.sandbox.sigstore.trust_config import keys_folder
from inferencebench_pipeline.trust.root.trust_root import TrustRoot, parse_trust
from inferencebench_pipeline.trust.verify import memoised
from inferencebench_pipeline.trust.verify.bundle import (
    BundleRejectedError,
    BundleVerifier,
    parse_bundle,
)
from inferencebench_pipeline.trust.verify.memoised import SharedRoot
from inferencebench_pipeline.trust.verify.rekor_bodies import SigningCertificate, promised
from inferencebench_pipeline.trust.verify.verifier import EnvelopeVerifier
from tests.envelope.measured import measurement_of, traces_bytes
from tests.trust.conftest import World
from tests.trust.keyholder import Keyholder

ABBREVIATED: list[tuple[Callable[..., Any], str]] = [
    (
        verifier.Verifier._verify_common_signing_cert,
        "16b63434286ce627adf0c262d5fb083f5f75e0022a19c5ae74289c6cb9330d8a",
    ),
    (
        verifier.Verifier.verify_artifact,
        "b1eb20381e5447596ce36f10ff35563b3bba7ebdf4983520b1c3047995031994",
    ),
    (
        verifier._validate_hashedrekord_v001_entry_body,
        "a082074034f3a023eebeb2a88b795d9ff5d5b1bb4b5bb88a1b9e70821676b424",
    ),
    (
        verifier._validate_hashedrekord_v002_entry_body,
        "8d0fd35cb7d67d5b6e78de59e429e62346122e0be95e67ef42017f0f2896e785",
    ),
    (
        rekor._hashedrekord_from_parts,
        "bc2467a18dd117bab452dc574088ae193c8b6b90ca85805d841ede32750f9620",
    ),
    (
        TransparencyLogEntry._verify,
        "965aa6db40093d10d49bfcd153e600480966e40b1d8e30c686084affbc7ede4a",
    ),
    (
        TransparencyLogEntry._verify_set,
        "f7139f22a44535ee6401758524ff092f9646fb025696e3ca296ee09299f8b0b9",
    ),
    (
        TransparencyLogEntry._encode_canonical,
        "792b5271e6bd21ae31d8480824e42e7dbfc030a8229fd2fb6cc4151cf3bc66d8",
    ),
    (Keyring.verify, "a92578c1e7317a8d0b8c7bed1d60d38b76cc600ea571464fafc11386c33a626c"),
]


@pytest.mark.parametrize(
    ("stock", "sha256"), ABBREVIATED, ids=[stock.__qualname__ for stock, _ in ABBREVIATED]
)
def test_what_is_abbreviated_is_still_what_was_read(stock: Callable[..., Any], sha256: str):
    actual = hashlib.sha256(inspect.getsource(stock).encode()).hexdigest()

    assert actual == sha256, "read the new source, change SharedVerifier to match, then this digest"


@pytest.fixture(scope="module", params=[1, 2])
def signed(running_world: World, request: pytest.FixtureRequest) -> tuple[bytes, dict[str, Any]]:
    """A content hash and the bundle that signs it, in the log of each version."""
    run_id = new_run_id()
    envelope = build_envelope(measurement_of(run_id, traces_bytes(run_id)))
    block = running_world.signer(rekor_version=request.param).sign(envelope).signature
    assert block is not None
    return content_hash(envelope).encode(), json.loads(base64.b64decode(block.bundle))


def body_of(bundle: dict[str, Any]) -> bytes:
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    return base64.b64decode(entry["canonicalizedBody"])


def test_the_expected_body_is_the_one_the_log_wrote(signed: tuple[bytes, dict[str, Any]]):
    message, document = signed
    bundle = parse_bundle(json.dumps(document).encode())
    certificate = SigningCertificate.of(bundle.signing_certificate)
    assert certificate is not None

    body = certificate.entry_body(
        bundle.log_entry._inner.kind_version.version,
        bundle.signature,
        hashlib.sha256(message).digest(),
    )

    assert body == body_of(document)
    assert certificate.entry_body("0.0.3", b"signature", b"digest") is None


@pytest.mark.parametrize("number", [0, 1, 10**12, 2**53 - 1])
def test_the_promised_text_is_what_stock_puts_together(
    signed: tuple[bytes, dict[str, Any]], number: int
):
    entry = parse_bundle(json.dumps(signed[1]).encode()).log_entry
    entry._inner = entry._inner.model_copy(update={"integrated_time": number, "log_index": number})

    assert promised(entry._inner) == entry._encode_canonical()


def test_a_number_beyond_the_canonical_form_is_refused_as_stock_does(
    signed: tuple[bytes, dict[str, Any]],
):
    entry = parse_bundle(json.dumps(signed[1]).encode()).log_entry
    for changed in ({"log_index": 2**53}, {"integrated_time": None}):
        entry._inner = entry._inner.model_copy(update={"integrated_time": 1} | changed)
        with pytest.raises(ValueError, match=r"integrated time|max|range|domain|exceeds"):
            promised(entry._inner)


def test_a_body_spelt_otherwise_goes_the_stock_way(
    running_world: World, signed: tuple[bytes, dict[str, Any]]
):
    """Equal as JSON, other bytes: stock compares, and finds that the log has no such leaf."""
    message, document = signed
    changed = json.loads(json.dumps(document))
    (entry,) = changed["verificationMaterial"]["tlogEntries"]
    spaced = json.dumps(json.loads(body_of(document)), indent=1).encode()
    entry["canonicalizedBody"] = base64.b64encode(spaced).decode()
    together = BundleVerifier(running_world.trust)
    together.verify(message, parse_bundle(json.dumps(document).encode()))

    with pytest.raises(BundleRejectedError, match="inclusion proof"):
        together.verify(message, parse_bundle(json.dumps(changed).encode()))


@pytest.mark.parametrize("version", [1, 2])
def test_a_body_spelt_otherwise_that_the_log_took_in_is_stocks_to_judge(
    running_world: World, tmp_path: Path, version: int
):
    keys = keys_folder(running_world.trust_config.parents[1])
    keyholder = Keyholder(keys, tmp_path, version)
    person = keyholder.person()
    signature = person.sign(keyholder.message)
    body = json.loads(keyholder.body(keyholder.message, signature, person))
    entry = keyholder.entry(json.dumps(body, indent=1).encode())

    record = keyholder.record(person, entry, signature=signature)

    verdict = running_world.verify(record.data, record.traces)
    assert verdict.ok, verdict.reason


@pytest.mark.parametrize("version", [1, 2])
def test_a_signature_that_the_key_did_not_make_is_refused_whatever_the_log_holds(
    running_world: World, tmp_path: Path, version: int
):
    keys = keys_folder(running_world.trust_config.parents[1])
    keyholder = Keyholder(keys, tmp_path, version)
    person, stranger = keyholder.person(), keyholder.person()

    record = keyholder.record(person, signature=stranger.sign(keyholder.message))

    verdict = running_world.verify(record.data, record.traces)
    assert not verdict.ok
    assert "Signature is invalid for input" in verdict.reason


def test_a_warm_verifier_still_refuses_another_message_and_another_signature(
    running_world: World, signed: tuple[bytes, dict[str, Any]]
):
    message, document = signed
    together = BundleVerifier(running_world.trust)
    together.verify(message, parse_bundle(json.dumps(document).encode()))
    forged = json.loads(json.dumps(document))
    signature = bytearray(base64.b64decode(forged["messageSignature"]["signature"]))
    signature[-1] ^= 1
    forged["messageSignature"]["signature"] = base64.b64encode(signature).decode()

    for artifact, bundle in ((b"0" * 64, document), (message, forged)):
        with pytest.raises(BundleRejectedError):
            together.verify(artifact, parse_bundle(json.dumps(bundle).encode()))


def test_verdicts_share_no_evidence(running_world: World):
    run_ids = [new_run_id(), new_run_id()]
    data = []
    for run_id in run_ids:
        envelope = build_envelope(measurement_of(run_id, traces_bytes(run_id)))
        data.append(serialise(running_world.signer().sign(envelope)))
    together = EnvelopeVerifier(running_world.trust, running_world.policy)

    first, second = (
        together.verify(one, organisation=running_world.organisation, traces=None) for one in data
    )

    assert first.signature_holds and second.signature_holds
    assert first.checks != second.checks


def test_a_checkpoint_is_given_of_the_bundle_that_verified_last_only(
    running_world: World, signed: tuple[bytes, dict[str, Any]]
):
    message, document = signed
    together = BundleVerifier(running_world.trust)
    bundle, other = (parse_bundle(json.dumps(document).encode()) for _ in range(2))
    with pytest.raises(ValueError, match="another one"):
        together._stock.checkpoint(bundle)
    verified = together.verify(message, bundle)
    assert together._stock.checkpoint(bundle) == verified.checkpoint
    with pytest.raises(ValueError, match="another one"):
        together._stock.checkpoint(other)


def root_with(trust: TrustRoot, change: Callable[[dict[str, Any]], None]) -> TrustRoot:
    """The trust root with every one of its logs changed."""
    document = json.loads(trust.trusted_root._inner.to_json())
    for log in document["tlogs"]:
        change(log)
    return parse_trust(json.dumps(document).encode(), where="the test")


def test_keys_are_found_for_other_purposes_as_stock_finds_them(running_world: World):
    inner = running_world.trust.trusted_root._inner
    stock, shared = TrustedRoot(inner), SharedRoot(inner)

    for purpose in KeyringPurpose:
        for keyring in ("rekor_keyring", "ct_keyring"):
            expected = getattr(stock, keyring)(purpose)._keyring
            assert getattr(shared, keyring)(purpose)._keyring.keys() == expected.keys()


def starts_later(log: dict[str, Any]) -> None:
    log["publicKey"]["validFor"] = {"start": "2999-01-01T00:00:00Z"}


def has_no_key(log: dict[str, Any]) -> None:
    log["publicKey"]["rawBytes"] = base64.b64encode(b"no key").decode()


@pytest.mark.parametrize("change", [starts_later, has_no_key])
def test_a_root_without_a_usable_log_verifies_nothing(
    running_world: World, signed: tuple[bytes, dict[str, Any]], change: Callable[..., None]
):
    message, document = signed
    verifier = BundleVerifier(root_with(running_world.trust, change))

    with pytest.raises(BundleRejectedError, match="no usable log keys"):
        verifier.verify(message, parse_bundle(json.dumps(document).encode()))


def test_a_key_of_a_kind_that_stock_cannot_use_is_passed_over(
    running_world: World, signed: tuple[bytes, dict[str, Any]]
):
    """The other logs of the root still count."""
    message, document = signed
    content = json.loads(running_world.trust.trusted_root._inner.to_json())
    unusable = json.loads(json.dumps(content["tlogs"][0]))
    unusable["publicKey"]["rawBytes"] = base64.b64encode(b"no key").decode()
    unusable["logId"]["keyId"] = base64.b64encode(b"another".ljust(32)).decode()
    content["tlogs"].append(unusable)
    trust = parse_trust(json.dumps(content).encode(), where="the test")

    assert BundleVerifier(trust).verify(message, parse_bundle(json.dumps(document).encode()))


def test_a_checkpoint_of_another_state_of_the_log_is_refused(
    running_world: World, signed: tuple[bytes, dict[str, Any]]
):
    """The log did sign it, and the proof leads to a root, but to another one."""
    message, document = signed
    (entry,) = document["verificationMaterial"]["tlogEntries"]
    version = 2 if entry["kindVersion"]["version"] == "0.0.2" else 1
    later = bundle_of(running_world, version)
    changed = json.loads(json.dumps(document))
    (mixed,) = changed["verificationMaterial"]["tlogEntries"]
    (other,) = later["verificationMaterial"]["tlogEntries"]
    mixed["inclusionProof"]["checkpoint"] = other["inclusionProof"]["checkpoint"]

    together = BundleVerifier(running_world.trust)
    for said in ("invalid root hash", "the checkpoint signs"):
        with pytest.raises(BundleRejectedError, match=said):
            together.verify(message, parse_bundle(json.dumps(changed).encode()))
        # From now on the certificate is known, and stock is asked no more.
        together.verify(message, parse_bundle(json.dumps(document).encode()))


def test_certificates_beyond_number_are_forgotten_and_nothing_else(
    running_world: World, signed: tuple[bytes, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(memoised, "REMEMBERED", 1)
    message, document = signed
    together = BundleVerifier(running_world.trust)
    for bundle in (bundle_of(running_world, 1), bundle_of(running_world, 1), document):
        digest = base64.b64decode(bundle["messageSignature"]["messageDigest"]["digest"])
        together._stock.verify_artifact(
            Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest),
            parse_bundle(json.dumps(bundle).encode()),
            UnsafeNoOp(),
        )
        assert len(together._stock._spans) == 1

    assert together.verify(message, parse_bundle(json.dumps(document).encode()))


def bundle_of(world: World, version: int) -> dict[str, Any]:
    """One more bundle in the log of a version, by a certificate of its own."""
    run_id = new_run_id()
    envelope = build_envelope(measurement_of(run_id, traces_bytes(run_id)))
    block = world.signer(rekor_version=version).sign(envelope).signature
    assert block is not None
    bundle: dict[str, Any] = json.loads(base64.b64decode(block.bundle))
    return bundle


@pytest.mark.parametrize("signed", [1], indirect=True)
def test_a_promise_must_be_the_logs_and_about_a_time(
    running_world: World, signed: tuple[bytes, dict[str, Any]]
):
    message, document = signed
    (entry,) = document["verificationMaterial"]["tlogEntries"]
    for change in (
        {"integratedTime": str(int(entry["integratedTime"]) + 1)},
        {"logIndex": str(int(entry["logIndex"]) + 1)},
    ):
        changed = json.loads(json.dumps(document))
        changed["verificationMaterial"]["tlogEntries"][0] |= change
        together = BundleVerifier(running_world.trust)
        together.verify(message, parse_bundle(json.dumps(document).encode()))
        with pytest.raises(BundleRejectedError, match="SET: invalid inclusion promise"):
            together.verify(message, parse_bundle(json.dumps(changed).encode()))


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_afterwards_as_it_was(running_world: World, enabled: bool):
    verifier = EnvelopeVerifier(running_world.trust, running_world.policy)
    before = gc.isenabled()
    try:
        if not enabled:
            gc.disable()
        assert not verifier.verify(b"{}", organisation=None, traces=None).ok
        assert gc.isenabled() == enabled
    finally:
        if before:
            gc.enable()
