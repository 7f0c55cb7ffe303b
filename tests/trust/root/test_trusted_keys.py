"""The keys of a trust root: every log and authority, with its digest and its time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inferencebench_pipeline.trust.root.store import shipped_trust
from inferencebench_pipeline.trust.root.trust_root import parse_trust
from inferencebench_pipeline.trust.root.trusted_keys import (
    CERTIFICATE_AUTHORITY,
    CERTIFICATE_LOG,
    LOG,
    TIMESTAMP_AUTHORITY,
    TrustedKey,
    trusted_keys,
)
from tests.trust.conftest import World


def test_every_log_and_authority_is_listed(world: World) -> None:
    document: dict[str, Any] = json.loads(world.trust_config.read_text())["trustedRoot"]
    counted = {
        LOG: len(document["tlogs"]),
        CERTIFICATE_LOG: len(document["ctlogs"]),
        CERTIFICATE_AUTHORITY: len(document["certificateAuthorities"]),
        TIMESTAMP_AUTHORITY: len(document["timestampAuthorities"]),
    }
    kinds = [key.kind for key in trusted_keys(world.trust)]
    assert {kind: kinds.count(kind) for kind in counted} == counted


def test_a_log_has_the_digest_that_it_is_known_by_and_an_ended_key_its_end() -> None:
    keys = trusted_keys(shipped_trust())
    (rekor,) = [key for key in keys if key.address == "https://rekor.sigstore.dev"]
    # The log id that Sigstore publishes for its first log is the digest of its key.
    assert rekor.sha256 == "c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d"
    assert rekor.valid_until is None
    ended = [key for key in keys if key.valid_until is not None]
    assert {key.kind for key in ended} == {CERTIFICATE_AUTHORITY, CERTIFICATE_LOG}


@pytest.mark.parametrize("part", ["uri", "validFor"])
def test_what_a_file_leaves_out_is_said_to_be_unknown(world: World, part: str) -> None:
    document: dict[str, Any] = json.loads(world.trust_config.read_text())
    root = document["trustedRoot"]
    if part == "uri":
        del root["certificateAuthorities"][0]["uri"]
    else:
        del root["ctlogs"][0]["publicKey"]["validFor"]
    keys: dict[str, TrustedKey] = {
        key.kind: key
        for key in trusted_keys(parse_trust(json.dumps(document).encode(), where="it"))
    }
    if part == "uri":
        assert keys[CERTIFICATE_AUTHORITY].address == "unnamed"
    else:
        assert keys[CERTIFICATE_LOG].valid_from is None
