"""Development keys: for one's own machine only, whatever the policy says elsewhere."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.envelope.models import SignatureBlock
from inferencebench_pipeline.hub.dataset.rendered_record import NotPublishableError, prepare
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile
from inferencebench_pipeline.trust.errors import SigningRefusedError
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from inferencebench_pipeline.trust.verify.dev_key import (
    DevKeySigner,
    WrongSignatureError,
    create_dev_key,
    verify_dev_key,
)
from inferencebench_pipeline.trust.verify.policy import IdentityPolicy, parse_policy
from inferencebench_pipeline.trust.verify.verdict import FailureClass
from tests.trust.conftest import World

ORGANISATION = "my-laptop"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "dev.key"
    create_dev_key(path)
    return path


def policy(key: Path, world: World, *, keyless_too: bool = False) -> IdentityPolicy:
    from inferencebench_pipeline.trust.verify.dev_key import _private_key, public_pem

    rule = {
        "organisation": ORGANISATION,
        "suites": ["llm.*"],
        "public_key_pem": public_pem(_private_key(key).public_key()),
    }
    document: dict[str, Any] = {"version": 1, "dev_keys": [rule]}
    if keyless_too:
        signer = world.policy.signers[0].model_dump(mode="json")
        document["signers"] = [signer | {"organisation": ORGANISATION}]
    return parse_policy(yaml.safe_dump(document).encode(), where="the test")


def signed_with(run: RunDirectory, key: Path, world: World) -> Any:
    return sign_run(
        run,
        DevKeySigner(key),
        verify=lambda data, traces: world.verify(
            data, traces, policy=policy(key, world), organisation=ORGANISATION
        ),
    )


def test_a_run_is_signed_without_any_service(world: World, run: RunDirectory, key: Path) -> None:
    verdict = signed_with(run, key, world)
    assert verdict.ok, verdict.reason
    assert verdict.signer.method == "dev-key"
    assert verdict.log is None
    assert world.faults.requests(method="POST") == []


def test_it_never_takes_the_place_of_a_keyless_signer(
    world: World, run: RunDirectory, key: Path
) -> None:
    signed_with(run, key, world)
    for organisation in (ORGANISATION, None):
        verdict = world.verify(
            run.read(RunFile.ENVELOPE),
            None,
            policy=policy(key, world, keyless_too=True),
            organisation=organisation,
        )
        assert verdict.failure_class == FailureClass.IDENTITY_NOT_ALLOWED, verdict.reason


def test_it_is_never_published(world: World, run: RunDirectory, key: Path) -> None:
    verdict = signed_with(run, key, world)
    assert verdict.ok
    with pytest.raises(NotPublishableError, match="development key"):
        prepare(run, ORGANISATION, lambda _data, _traces: verdict, "https://hub.example")


def test_a_key_is_never_replaced_and_only_its_owner_reads_it(key: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(SigningRefusedError, match="never replaced"):
        create_dev_key(key)
    assert key.read_bytes() == before
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_key_that_others_can_read_is_refused(world: World, run: RunDirectory, key: Path) -> None:
    key.chmod(0o644)
    with pytest.raises(SigningRefusedError, match="chmod 600"):
        signed_with(run, key, world)


@pytest.mark.parametrize("content", [b"", b"junk", b"p256"])
def test_what_is_no_ed25519_key_is_refused(
    world: World, run: RunDirectory, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "other.key"
    if content == b"p256":
        content = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    path.write_bytes(content)
    path.chmod(0o600)
    unsigned = json.loads(run.read(RunFile.UNSIGNED_ENVELOPE))
    with pytest.raises(SigningRefusedError, match="not an unencrypted Ed25519 key"):
        sign_run(run, DevKeySigner(path), verify=world.verify)
    assert unsigned["signature"] is None
    with pytest.raises(SigningRefusedError, match="INFERENCEBENCH_DEV_KEY"):
        sign_run(run, DevKeySigner(tmp_path / "none"), verify=world.verify)


@pytest.mark.parametrize("junk", ["\n", " ", "-", "!", "\u00e9", "=", "AAAA"])
def test_a_signature_has_one_spelling(key: Path, junk: str) -> None:
    from inferencebench_pipeline.trust.verify.dev_key import _private_key

    private = _private_key(key)
    signature = base64.b64encode(private.sign(b"message")).decode()
    block = SignatureBlock(method="dev-key", certificate="x", rekor_log_index=-1, bundle=signature)
    verify_dev_key(b"message", block, private.public_key())
    for changed in (signature[:20] + junk + signature[20:], signature + junk, junk + signature):
        with pytest.raises(ValueError):
            other = block.model_copy(update={"bundle": changed})
            verify_dev_key(b"message", other, private.public_key())
    with pytest.raises(WrongSignatureError):
        verify_dev_key(b"another message", block, private.public_key())


def test_a_signed_envelope_is_not_signed_again(world: World, run: RunDirectory, key: Path) -> None:
    assert signed_with(run, key, world).ok
    signed = parse_envelope(run.read(RunFile.ENVELOPE))
    with pytest.raises(SigningRefusedError, match="is already signed"):
        DevKeySigner(key).sign(signed)
    assert DevKeySigner(key).finish(signed, None) is None
    assert not DevKeySigner(key).logs
