"""A log id that stands for two keys of the trust root: only the log that signed counts."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inferencebench_pipeline.trust.log.checkpoints import SignedNote
from inferencebench_pipeline.trust.root.trust_root import TrustRoot, parse_trust
from inferencebench_pipeline.trust.verify.bundle import BundleRejectedError, VerifiedBundle
from tests.trust.verify.test_bundles import cases, examine

V1 = "good-pg-hashedrekord-v1-cosign3"
V2 = "good-staging-dsse-v2"
OTHER_ID = base64.b64encode(b"another id of thirty-two bytes..").decode()


def setting(shared_data: Path, name: str) -> tuple[dict[str, Any], Path, dict[str, Any], int]:
    """A case, its folder, its trust root, and which log of the root has made its entry."""
    folder = shared_data / "sigstore-bundles"
    case = next(item for item in cases(shared_data) if item["id"] == name)
    root = json.loads((folder / case["trusted_root"]).read_text())
    bundle = json.loads((folder / case["bundle"]).read_text())
    named = bundle["verificationMaterial"]["tlogEntries"][0]["logId"]
    (position,) = [n for n, log in enumerate(root["tlogs"]) if log["logId"] == named]
    return case, folder, root, position


def examined(case: dict[str, Any], folder: Path, root: dict[str, Any]) -> VerifiedBundle:
    trust: TrustRoot = parse_trust(json.dumps(root).encode(), where="the test")
    return examine(case, folder, trust=trust)


def with_another_key(log: dict[str, Any], url: str) -> dict[str, Any]:
    """A log under the same id whose key is another, of the same kind."""
    changed = copy.deepcopy(log)
    is_ed25519 = "ED25519" in log["publicKey"]["keyDetails"]
    key = (
        ed25519.Ed25519PrivateKey.generate()
        if is_ed25519
        else ec.generate_private_key(ec.SECP256R1())
    )
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    changed["publicKey"]["rawBytes"] = base64.b64encode(der).decode()
    changed["baseUrl"] = url
    return changed


@pytest.mark.parametrize("name", [V1, V2])
@pytest.mark.parametrize("first", [True, False])
def test_of_two_logs_of_one_id_the_one_that_signed_is_named(
    shared_data: Path, name: str, first: bool
) -> None:
    case, folder, root, position = setting(shared_data, name)
    genuine = root["tlogs"][position]
    impostor = with_another_key(genuine, "https://impostor.example")
    root["tlogs"].insert(position if first else position + 1, impostor)
    assert examined(case, folder, root).log_url == genuine["baseUrl"]


@pytest.mark.parametrize("name", [V1, V2])
@pytest.mark.parametrize("impostors", [1, 2])
def test_a_log_that_did_not_sign_is_not_believed_because_it_has_the_id(
    shared_data: Path, name: str, impostors: int
) -> None:
    case, folder, root, position = setting(shared_data, name)
    genuine = root["tlogs"][position]
    others = [with_another_key(genuine, f"https://impostor-{n}.example") for n in range(impostors)]
    # The key that did sign is trusted too, under another id: stock sigstore finds it.
    root["tlogs"][position] = genuine | {"logId": {"keyId": OTHER_ID}}
    root["tlogs"] += others
    with pytest.raises(BundleRejectedError) as caught:
        examined(case, folder, root)
    assert caught.value.check in ("log_known", "bundle_verifies")
    if impostors == 2:
        assert caught.value.check == "log_known"
        assert "did not sign this checkpoint" in str(caught.value)


def test_an_id_that_no_log_has_is_refused_even_when_a_trusted_key_signed(shared_data: Path) -> None:
    case, folder, root, position = setting(shared_data, V2)
    root["tlogs"][position]["logId"] = {"keyId": OTHER_ID}
    with pytest.raises(BundleRejectedError, match="which the trust root does not know") as caught:
        examined(case, folder, root)
    assert caught.value.check == "log_known"


def test_an_id_may_be_that_of_the_checkpoints(shared_data: Path) -> None:
    case, folder, root, position = setting(shared_data, V2)
    log = root["tlogs"][position]
    log["checkpointKeyId"], log["logId"] = log["logId"], {"keyId": OTHER_ID}
    assert examined(case, folder, root).log_url == log["baseUrl"]


def test_the_promise_must_be_of_the_log_too(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, folder, root, position = setting(shared_data, V1)
    genuine = root["tlogs"][position]
    root["tlogs"].insert(position, with_another_key(genuine, "https://impostor.example"))
    # The first line of defence taken away: a note that verifies under any key.
    monkeypatch.setattr(SignedNote, "verify", lambda *_: None)
    assert examined(case, folder, root).log_url == genuine["baseUrl"]
