"""Trust roots: what is read, what is refused, and that the digest names the file."""

from __future__ import annotations

import hashlib
import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sigstore_models.common.v1 import TimeRange

from inferencebench_pipeline.trust.errors import TrustConfigError
from inferencebench_pipeline.trust.root.trust_root import (
    MAX_TRUST_BYTES,
    load_trust,
    parse_trust,
    within,
)
from tests.trust.conftest import World


def test_a_client_trust_config_verifies_and_signs(world: World) -> None:
    trust = load_trust(world.trust_config)
    assert trust.sha256 == hashlib.sha256(world.trust_config.read_bytes()).hexdigest()
    assert trust.require_signing() is not None
    assert len(trust.logs) == 2


def test_a_bare_trusted_root_only_verifies(shared_data: Path) -> None:
    trust = load_trust(shared_data / "sigstore-bundles/roots/public-good.trusted_root.json")
    assert trust.logs[0].base_url == "https://rekor.sigstore.dev"
    with pytest.raises(TrustConfigError, match="signing needs a ClientTrustConfig"):
        trust.require_signing()


def test_a_trust_root_crosses_to_another_process(world: World) -> None:
    copied = pickle.loads(pickle.dumps(world.trust))
    assert copied.sha256 == world.trust.sha256
    assert len(copied.logs) == len(world.trust.logs)


def without_starts(document: dict[str, Any]) -> None:
    for log in document["trustedRoot"]["tlogs"]:
        log["publicKey"]["validFor"] = {}


def newer(document: dict[str, Any]) -> None:
    document["trustedRoot"]["mediaType"] = "application/vnd.dev.sigstore.trustedroot.v0.2+json"


def unknown_field(document: dict[str, Any]) -> None:
    document["trustedRoot"]["extra"] = 1


@pytest.mark.parametrize("change", [without_starts, newer, unknown_field])
def test_a_configuration_this_client_does_not_fully_know_is_refused(
    world: World, change: Any
) -> None:
    document = json.loads(world.trust_config.read_text())
    change(document)
    with pytest.raises(TrustConfigError, match=r"odd\.json is not a Sigstore"):
        parse_trust(json.dumps(document).encode(), where="odd.json")


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_nonsense_is_no_trust_root(data: bytes) -> None:
    with pytest.raises(TrustConfigError, match=r"odd\.json"):
        parse_trust(data, where="odd.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrustConfigError, match=r"nowhere\.json.*INFERENCEBENCH_TRUST_CONFIG"):
        load_trust(tmp_path / "nowhere.json")


def test_both_ends_of_a_window_belong_to_it() -> None:
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
    window = TimeRange(start=start, end=end)
    assert within(window, start)
    assert within(window, end)
    assert not within(window, datetime(2025, 12, 31, tzinfo=UTC))
    assert not within(window, datetime(2026, 2, 1, 0, 0, 1, tzinfo=UTC))
    assert within(TimeRange(start=start), datetime(2099, 1, 1, tzinfo=UTC))
    assert within(None, start)


def test_a_trust_configuration_without_end_is_not_read() -> None:
    with pytest.raises(TrustConfigError, match="exceeds"):
        parse_trust(b" " * (MAX_TRUST_BYTES + 1), where="the test")
