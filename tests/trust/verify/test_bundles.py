"""Genuine bundles of the public instances, conformance cases, and mutations of all of them."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from sigstore.errors import VerificationError

from inferencebench_pipeline.trust.errors import TrustConfigError
from inferencebench_pipeline.trust.root.trust_root import TrustRoot, load_trust, parse_trust
from inferencebench_pipeline.trust.verify.bundle import (
    _HAS_IDENTITY,
    BundleRejectedError,
    SignerIdentity,
    VerifiedBundle,
    log_index,
    parse_bundle,
    require_subject,
    signature_digest,
    verify_bundle,
    verify_statement,
)
from tests.trust.verify.test_certificates import certificate


def cases(shared_data: Path) -> list[dict[str, Any]]:
    return json.loads((shared_data / "sigstore-bundles" / "manifest.json").read_text())["cases"]


def examine(
    case: dict[str, Any],
    folder: Path,
    *,
    bundle: bytes | None = None,
    trust: TrustRoot | None = None,
) -> VerifiedBundle:
    trust = trust or load_trust(folder / case["trusted_root"])
    parsed = parse_bundle(bundle or (folder / case["bundle"]).read_bytes())
    artifact = (folder / case["artifact"]).read_bytes() if case.get("artifact") else None
    if case["content"] == "dsse":
        statement, verified = verify_statement(parsed, trust)
        if artifact is not None:
            require_subject(statement, artifact)
    else:
        verified = verify_bundle(artifact or b"", parsed, trust)
    if verified.signer != SignerIdentity(
        case["identity"], case["issuer"], kind=verified.signer.kind
    ):
        raise BundleRejectedError("certificate_identity", f"signed by {verified.signer}")
    return verified


def test_every_case_gets_the_verdict_it_should(shared_data: Path) -> None:
    folder = shared_data / "sigstore-bundles"
    accepted = 0
    for case in cases(shared_data):
        supported = case["supported_by_sigstore_python"]
        expected = case["expect"] == "pass" and supported
        try:
            examine(case, folder)
        except (BundleRejectedError, TrustConfigError) as error:
            assert not expected, f"{case['id']}: {error}"
        else:
            assert expected, case["id"]
            accepted += 1
    assert accepted >= 20


def good_cases(shared_data: Path) -> list[dict[str, Any]]:
    return [case for case in cases(shared_data) if case["observed_sigstore_python_4_5_1"] == "pass"]


def changed_value(value: Any) -> Any:
    if isinstance(value, str) and value.isdigit():
        return str(int(value) + 1)
    if isinstance(value, str):
        # Of a checkpoint, the signed text; the names beside its signatures are hints.
        middle = 3 if "\n\n" in value else len(value) // 2
        return value[:middle] + ("A" if value[middle] != "A" else "B") + value[middle + 1 :]
    return value + 1 if isinstance(value, int) else value


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path


def mutated(document: Any, path: tuple[Any, ...]) -> bytes:
    copied = copy.deepcopy(document)
    parent = copied
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = changed_value(parent[path[-1]])
    return json.dumps(copied).encode()


def carries_no_claim(path: tuple[Any, ...]) -> bool:
    """Parts that no check rests on: what they hold is proven by something else in the bundle."""
    names = [part for part in path if isinstance(part, str)]
    return (
        # The rest of an old bundle's chain; the trust root's own certificates are used.
        ("x509CertificateChain" in names and path[-2] != 0)
        # A timestamp that does not verify does not count; the others, or the log's time, must.
        # Of a record every one must: see the mutations of envelopes.
        or "rfc3161Timestamps" in names
        # The DSSE key hint: the certificate decides.
        or names[-1] == "keyid"
    )


def test_changing_any_part_of_a_genuine_bundle_is_refused(shared_data: Path) -> None:
    folder = shared_data / "sigstore-bundles"
    tried = 0
    for case in good_cases(shared_data):
        document = json.loads((folder / case["bundle"]).read_bytes())
        trust = load_trust(folder / case["trusted_root"])
        for path in leaves(document):
            if carries_no_claim(path):
                continue
            data = mutated(document, path)
            if json.loads(data) == document:
                continue
            tried += 1
            try:
                examine(case, folder, bundle=data, trust=trust)
            except BundleRejectedError:
                continue
            pytest.fail(f"{case['id']}: {path} can be changed")
    assert tried > 500


def with_windows(root: Any, *, part: str, end: str) -> TrustRoot:
    document = copy.deepcopy(root)
    for item in document[part]:
        holder = item.get("publicKey", item)
        holder["validFor"] = {"start": "2001-01-01T00:00:00Z", "end": end}
    return parse_trust(json.dumps(document).encode(), where="the test")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("tlogs", r"log .* was not trusted at"),
        ("ctlogs", r"no trusted certificate log .* was trusted at"),
        ("certificateAuthorities", r"no certificate authority .* was trusted at"),
    ],
)
def test_a_key_used_outside_its_window_is_refused(shared_data: Path, part: str, said: str) -> None:
    folder = shared_data / "sigstore-bundles"
    case = next(c for c in good_cases(shared_data) if c["id"] == "good-pg-hashedrekord-v1-cosign3")
    root = json.loads((folder / case["trusted_root"]).read_text())
    examine(case, folder, trust=with_windows(root, part=part, end="2099-01-01T00:00:00Z"))
    with pytest.raises(BundleRejectedError, match=said) as caught:
        examine(case, folder, trust=with_windows(root, part=part, end="2019-01-01T00:00:00Z"))
    assert caught.value.check == "key_windows"


def test_a_proof_for_another_log_size_than_the_checkpoint_is_refused(shared_data: Path) -> None:
    folder = shared_data / "sigstore-bundles"
    refused_by_us = 0
    for case in good_cases(shared_data):
        document = json.loads((folder / case["bundle"]).read_bytes())
        entry = document["verificationMaterial"]["tlogEntries"][0]
        entry["inclusionProof"]["treeSize"] = str(int(entry["inclusionProof"]["treeSize"]) + 1)
        with pytest.raises(BundleRejectedError) as caught:
            examine(case, folder, bundle=json.dumps(document).encode())
        refused_by_us += caught.value.check == "checkpoint_size"
    assert refused_by_us > 0, "stock sigstore now refuses all of them; drop our own check"


def test_a_bundle_larger_than_any_is_not_read() -> None:
    with pytest.raises(BundleRejectedError, match="at most"):
        parse_bundle(b"{" + b" " * (1 << 20))


def test_nonsense_is_refused_as_a_bundle() -> None:
    for data in (b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000):
        with pytest.raises(BundleRejectedError):
            parse_bundle(data)


def test_a_statement_is_about_each_of_its_subjects_and_nothing_else() -> None:
    def about(*artifacts: bytes) -> bytes:
        digests = [hashlib.sha256(artifact).hexdigest() for artifact in artifacts]
        subjects = [{"name": "x", "digest": {"sha256": digest}} for digest in digests]
        return json.dumps({"subject": subjects}).encode()

    require_subject(about(b"one", b"two"), b"one")
    require_subject(about(b"one", b"two"), b"two")
    for statement in (about(b"one", b"two"), about(), b"{}", b"x", b'{"subject": [{}]}'):
        with pytest.raises(BundleRejectedError) as caught:
            require_subject(statement, b"three")
        assert caught.value.check == "bundle_verifies"


def test_a_certificate_without_one_identity_is_refused_before_anything_else() -> None:
    with pytest.raises(VerificationError, match="must name one identity"):
        _HAS_IDENTITY.verify(certificate(x509.DNSName("example.org")))
    with pytest.raises(VerificationError):
        _HAS_IDENTITY.verify(certificate())
    _HAS_IDENTITY.verify(certificate(x509.RFC822Name("a@example.org")))


def test_what_a_bundle_says_it_signs_is_read_unverified(shared_data: Path) -> None:
    folder = shared_data / "sigstore-bundles"
    for case in good_cases(shared_data):
        bundle = parse_bundle((folder / case["bundle"]).read_bytes())
        stated = json.loads((folder / case["bundle"]).read_bytes())
        signature = stated.get("messageSignature")
        expected = signature and base64.b64decode(signature["messageDigest"]["digest"])
        assert signature_digest(bundle) == (expected or None)
        entry = stated["verificationMaterial"]["tlogEntries"][0]
        assert log_index(bundle) == int(entry["logIndex"])
