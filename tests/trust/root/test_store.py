"""The kept trust roots: pinned by hash, refreshed through TUF only, each version stays usable."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from securesystemslib.signer import CryptoSigner

from inferencebench_pipeline import __version__
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.lifecycle.corpus.trust_root import trust_root
from inferencebench_pipeline.resources import StepRetryPolicy
from inferencebench_pipeline.settings import Settings
from inferencebench_pipeline.trust.errors import (
    TrustConfigError,
    TrustRefreshError,
    TrustRollbackError,
)
from inferencebench_pipeline.trust.root import store
from inferencebench_pipeline.trust.root.store import (
    SHIPPED_CHECKED_AT,
    SHIPPED_SHA256,
    KeptRoots,
)
from inferencebench_pipeline.trust.root.tuf_repository import TufRepository
from tests.paths import REPOSITORY
from tests.trust.conftest import World
from tests.trust.tuf_repository import Publisher, serving


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path / "published")


@pytest.fixture
def repository(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> Iterator[TufRepository]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(publisher) as served:
        yield served


@pytest.fixture
def kept(tmp_path: Path, repository: TufRepository) -> KeptRoots:
    return KeptRoots(tmp_path / "trust", repository)


@pytest.fixture
def document(running_world: World) -> dict[str, Any]:
    return json.loads(running_world.trust_config.read_text())


def test_before_any_refresh_the_shipped_public_good_root_counts_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    trust = KeptRoots(tmp_path / "nothing").current()
    assert trust.sha256 == SHIPPED_SHA256
    assert {log.base_url for log in trust.logs} >= {"https://rekor.sigstore.dev"}
    assert trust.require_signing() is not None
    assert not (tmp_path / "nothing").exists()


def test_a_refresh_pins_what_tuf_vouches_for_and_says_what_changed(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any]
) -> None:
    publisher.publish(document)
    first = kept.refresh()
    assert first.changed
    assert first.previous_sha256 == SHIPPED_SHA256
    assert any("rekor.sigstore.dev" in change and "went" in change for change in first.changes)
    assert kept.current().sha256 == first.current.sha256

    again = kept.refresh()
    assert not again.changed
    assert again.changes == ()
    pin = kept.pin()
    assert pin is not None
    assert len(pin.versions) == 1
    assert pin.checked_at == again.checked_at


def test_every_version_stays_usable_and_the_end_of_a_key_is_shown(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any]
) -> None:
    publisher.publish(document)
    old = kept.refresh().current
    ended = copy.deepcopy(document)
    ended["trustedRoot"]["tlogs"][0]["publicKey"]["validFor"]["end"] = "2031-01-01T00:00:00Z"
    publisher.publish(ended)
    refreshed = kept.refresh()
    assert [change for change in refreshed.changes if "2031-01-01" in change] == list(
        refreshed.changes
    )
    assert kept.version(old.sha256).sha256 == old.sha256 == refreshed.previous_sha256
    assert kept.current().sha256 != old.sha256
    pin = kept.pin()
    assert pin is not None
    assert [version.sha256 for version in pin.versions] == [old.sha256, pin.sha256]


def test_metadata_that_another_key_signed_is_refused_and_the_pin_stays(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any]
) -> None:
    publisher.publish(document)
    before = kept.refresh().current.sha256
    publisher.publish(document | {"signingConfig": {}}, signer=CryptoSigner.generate_ed25519())
    with pytest.raises(TrustRefreshError, match="UnsignedMetadataError"):
        kept.refresh()
    assert kept.current().sha256 == before


def test_an_older_state_served_again_is_refused(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any]
) -> None:
    publisher.publish(document)
    kept.refresh()
    publisher.publish(document)
    kept.refresh()
    publisher.version = 0
    publisher.publish(document)
    with pytest.raises(TrustRefreshError, match="BadVersionNumberError"):
        kept.refresh()


def changed(document: dict[str, Any], end: str) -> dict[str, Any]:
    """Return a trust configuration whose first log ends at another time."""
    other = copy.deepcopy(document)
    other["trustedRoot"]["tlogs"][0]["publicKey"]["validFor"]["end"] = end
    return other


@pytest.mark.parametrize("lost", ["tuf", "tuf/metadata", "tuf/metadata/timestamp.json"])
def test_older_metadata_is_refused_although_the_state_of_tuf_was_lost(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any], tmp_path: Path, lost: str
) -> None:
    """The older metadata has not expired, so that only the pin knows that it is older."""
    publisher.publish(document)
    kept.refresh()
    publisher.publish(changed(document, "2031-01-01T00:00:00Z"))
    newest = kept.refresh().current.sha256
    before = (tmp_path / "trust/pin.json").read_bytes()
    place = tmp_path / "trust" / lost
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
        (tmp_path / "trust/tuf/metadata/snapshot.json").unlink()
        (tmp_path / "trust/tuf/metadata/targets.json").unlink()
    publisher.version = 0
    publisher.publish(document)

    with pytest.raises(TrustRollbackError, match="timestamp 1, was 2; snapshot 1, was 2; targets"):
        kept.refresh()

    assert (tmp_path / "trust/pin.json").read_bytes() == before
    assert kept.current().sha256 == newest


def test_a_lost_state_of_tuf_stops_no_refresh_that_goes_forward(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any], tmp_path: Path
) -> None:
    publisher.publish(document)
    kept.refresh()
    shutil.rmtree(tmp_path / "trust/tuf")
    publisher.publish(changed(document, "2031-01-01T00:00:00Z"))
    assert kept.refresh().changed
    pin = kept.pin()
    assert pin is not None
    assert pin.tuf is not None
    assert pin.tuf.model_dump() == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}


def test_an_older_root_of_trust_is_refused_although_the_state_of_tuf_was_lost(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any], tmp_path: Path
) -> None:
    first_key = publisher.signer
    publisher.publish(document)
    publisher.rotate()
    publisher.publish(document)
    kept.refresh()
    shutil.rmtree(tmp_path / "trust/tuf")
    (publisher.folder / "2.root.json").unlink()
    publisher.signer = first_key
    publisher.publish(document)
    with pytest.raises(TrustRollbackError, match=r"\(root 1, was 2\)"):
        kept.refresh()


def test_a_pin_of_an_earlier_release_knows_the_order_of_its_versions(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any], tmp_path: Path
) -> None:
    publisher.publish(document)
    old = kept.refresh().current.sha256
    publisher.publish(changed(document, "2031-01-01T00:00:00Z"))
    newest = kept.refresh().current.sha256
    path = tmp_path / "trust/pin.json"
    pin = json.loads(path.read_text())
    del pin["tuf"]
    for version in pin["versions"]:
        del version["origin"]
    path.write_text(json.dumps(pin))
    shutil.rmtree(tmp_path / "trust/tuf")
    publisher.version = 0
    publisher.publish(document)

    with pytest.raises(TrustRollbackError, match=f"names {old} of .* again"):
        kept.refresh()

    assert kept.current().sha256 == newest
    publisher.publish(changed(document, "2031-01-01T00:00:00Z"))
    assert not kept.refresh().changed


def test_a_version_that_comes_back_with_higher_numbers_is_followed(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any]
) -> None:
    publisher.publish(document)
    first = kept.refresh().current.sha256
    publisher.publish(changed(document, "2031-01-01T00:00:00Z"))
    kept.refresh()
    publisher.publish(document)
    assert kept.refresh().current.sha256 == first
    pin = kept.pin()
    assert pin is not None
    assert len(pin.versions) == 2


def test_the_trust_root_says_how_it_came_to_count(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any], world: World
) -> None:
    assert kept.current().origin.name == f"public good, shipped with {__version__}"
    assert kept.current().origin.checked_at == SHIPPED_CHECKED_AT
    publisher.publish(changed(document, "2031-01-01T00:00:00Z"))
    refreshed = kept.refresh()
    assert kept.current().origin.name == "public good, refreshed through TUF"
    assert kept.current().origin.checked_at == refreshed.checked_at
    pinned = kept.pin_file(world.trust_config.read_bytes(), where="a file")
    assert pinned.previous_sha256 == refreshed.current.sha256
    assert kept.current().sha256 == world.trust.sha256
    assert kept.current().origin.name == "yours, pinned from a file"


def test_a_root_that_a_person_pinned_is_not_replaced_by_a_refresh(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any], world: World
) -> None:
    publisher.publish(document)
    kept.pin_file(world.trust_config.read_bytes(), where="a file")
    with pytest.raises(TrustConfigError, match="was pinned from a file"):
        kept.refresh()
    assert kept.current().sha256 == world.trust.sha256
    assert kept.pin_digest(SHIPPED_SHA256).changed
    assert kept.refresh().changed


def test_a_bare_trusted_root_can_be_pinned(kept: KeptRoots, shared_data: Path) -> None:
    data = (shared_data / "sigstore-bundles/roots/public-good.trusted_root.json").read_bytes()
    assert any("to sign with" in change for change in kept.pin_file(data, where="it").changes)
    assert kept.pin_digest(SHIPPED_SHA256).changed


def test_an_earlier_version_is_pinned_by_its_digest_and_stays_as_old_as_it_is(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any], tmp_path: Path
) -> None:
    publisher.publish(document)
    first = kept.refresh()
    publisher.publish(changed(document, "2031-01-01T00:00:00Z"))
    kept.refresh()
    assert kept.pin_digest(first.current.sha256).current.sha256 == first.current.sha256
    pin = kept.pin()
    assert pin is not None
    assert pin.checked_at == first.checked_at
    assert pin.tuf is not None
    assert pin.tuf.targets == 2
    with pytest.raises(TrustConfigError, match="is not kept"):
        kept.pin_digest("0" * 64)
    stray = (tmp_path / "trust" / f"{first.current.sha256}.json").read_bytes() + b"\n"
    sha256 = hashlib.sha256(stray).hexdigest()
    (tmp_path / "trust" / f"{sha256}.json").write_bytes(stray)
    with pytest.raises(TrustConfigError, match=r"pin\.json does not know it"):
        kept.pin_digest(sha256)


def test_the_shipped_root_was_compared_on_the_day_of_the_release() -> None:
    """``shipped with X`` and the age of the root are claims about the release in the changelog."""
    heading = f"## {__version__} - {SHIPPED_CHECKED_AT.date().isoformat()}\n"
    assert heading in (REPOSITORY / "CHANGELOG.md").read_text()


def test_a_new_root_of_trust_is_followed_when_the_last_one_vouches_for_it(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any]
) -> None:
    publisher.publish(document)
    first = kept.refresh().current.sha256
    publisher.rotate()
    publisher.rotate()
    ended = copy.deepcopy(document)
    ended["trustedRoot"]["tlogs"][0]["publicKey"]["validFor"]["end"] = "2031-01-01T00:00:00Z"
    publisher.publish(ended)

    refreshed = kept.refresh()

    assert refreshed.changed
    assert kept.version(first).sha256 == first


def test_a_new_root_of_trust_that_only_vouches_for_itself_is_refused(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any]
) -> None:
    publisher.publish(document)
    before = kept.refresh().current.sha256
    publisher.rotate(vouched_for=False)
    publisher.publish(document | {"signingConfig": {}})

    with pytest.raises(TrustRefreshError, match="UnsignedMetadataError"):
        kept.refresh()
    assert kept.current().sha256 == before


def test_metadata_that_has_expired_is_refused_and_the_pin_stays_in_use(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any]
) -> None:
    """A frozen repository: what it serves was true once, and nobody says that it still is."""
    publisher.publish(document)
    before = kept.refresh()
    yesterday = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    publisher.publish(document, timestamp_expires=yesterday)

    with pytest.raises(TrustRefreshError, match="ExpiredMetadataError"):
        kept.refresh()

    pin = kept.pin()
    assert pin is not None
    assert pin.checked_at == before.checked_at
    assert kept.current().sha256 == before.current.sha256


@pytest.mark.parametrize("lost", ["snapshot.json", "targets.json", "signing_config.v0.2.json"])
def test_an_outage_half_way_changes_nothing_and_the_next_refresh_goes_on(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any], lost: str
) -> None:
    publisher.publish(document)
    before = kept.refresh().current.sha256
    ended = copy.deepcopy(document)
    ended["trustedRoot"]["tlogs"][0]["publicKey"]["validFor"]["end"] = "2031-01-01T00:00:00Z"
    ended["signingConfig"]["tsaUrls"] = ended["signingConfig"]["tsaUrls"][:1]
    ended["signingConfig"]["tsaUrls"][0]["url"] += "/moved"
    publisher.publish(ended)
    publisher.failing = {lost}
    with pytest.raises(TrustRefreshError, match="503"):
        kept.refresh()
    assert kept.current().sha256 == before

    publisher.failing = set()
    refreshed = kept.refresh()

    assert refreshed.changed
    assert any("2031-01-01" in change for change in refreshed.changes)
    pin = kept.pin()
    assert pin is not None
    assert [version.sha256 for version in pin.versions] == [before, refreshed.current.sha256]


def test_the_asset_shows_what_changed_and_every_version_and_survives_a_bad_repository(
    publisher: Publisher,
    repository: TufRepository,
    document: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "public_good_repository", lambda: repository)

    def refreshed() -> dg.ExecuteInProcessResult:
        deployment = Deployment(
            Settings.from_environment(
                {"HF_ENDPOINT": "http://127.0.0.1:9", "INFERENCEBENCH_HOME": str(tmp_path)}
            )
        )
        return dg.materialize(
            [trust_root],
            resources={"deployment": deployment, "retry_policy": StepRetryPolicy(retries=0)},
            raise_on_error=False,
        )

    publisher.publish(document)
    first = shown(refreshed())
    publisher.publish(document | {"signingConfig": document["signingConfig"] | {"oidcUrls": []}})
    second = shown(refreshed())
    publisher.version = 0
    publisher.publish(document)
    rolled_back = refreshed()

    assert "went" in str(first["changes"].value)
    assert first["previous_sha256"].value == SHIPPED_SHA256
    assert second["previous_sha256"].value == first["sha256"].value
    assert "went" in str(second["changes"].value)
    assert [row.data["sha256"] for row in second["versions_kept"].value.records] == [
        first["sha256"].value,
        second["sha256"].value,
    ]
    assert not rolled_back.success
    assert KeptRoots(tmp_path / "trust").current().sha256 == second["sha256"].value


def shown(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success
    (event,) = result.get_asset_materialization_events()
    return dict(event.materialization.metadata)


def test_a_changed_target_is_refused(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any]
) -> None:
    publisher.publish(document)
    path = publisher.folder / "targets" / "trusted_root.json"
    path.write_bytes(path.read_bytes().replace(b"SHA2_256", b"SHA2_512"))
    with pytest.raises(TrustRefreshError, match="the pinned one stays in use"):
        kept.refresh()
    assert kept.current().sha256 == SHIPPED_SHA256


@pytest.mark.parametrize("part", ["trusted_root.json", "signing_config.v0.2.json"])
def test_a_repository_that_lacks_a_part_is_refused_and_the_part_is_named(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any], part: str
) -> None:
    publisher.publish(document, without=part)
    with pytest.raises(TrustRefreshError, match=f"the repository has no {part}"):
        kept.refresh()
    assert kept.pin() is None
    assert kept.current().sha256 == SHIPPED_SHA256


def test_the_shipped_version_stays_usable_after_a_refresh(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any]
) -> None:
    publisher.publish(document)
    assert kept.refresh().current.sha256 != SHIPPED_SHA256
    assert kept.version(SHIPPED_SHA256).sha256 == SHIPPED_SHA256


def test_a_root_this_client_does_not_know_is_not_pinned(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any]
) -> None:
    document["trustedRoot"]["unheard_of"] = 1
    publisher.publish(document)
    with pytest.raises(TrustConfigError, match="is not a Sigstore"):
        kept.refresh()
    assert kept.current().sha256 == SHIPPED_SHA256


def test_nobody_answering_is_an_outage(tmp_path: Path, publisher: Publisher) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = TufRepository(f"http://127.0.0.1:{port}", publisher.bootstrap)
    with pytest.raises(TrustRefreshError, match="check the network"):
        KeptRoots(tmp_path / "trust", gone).refresh()


def test_bytes_that_are_not_those_of_the_hash_are_refused(
    kept: KeptRoots, publisher: Publisher, document: dict[str, Any], tmp_path: Path
) -> None:
    publisher.publish(document)
    sha256 = kept.refresh().current.sha256
    path = tmp_path / "trust" / f"{sha256}.json"
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(TrustConfigError, match="its bytes were changed"):
        kept.current()
    path.unlink()
    with pytest.raises(TrustConfigError, match="is not kept"):
        kept.current()


def test_a_pin_that_cannot_be_read_is_not_passed_over(kept: KeptRoots, tmp_path: Path) -> None:
    (tmp_path / "trust").mkdir()
    for content in ("", "{}", '{"sha256": "../../etc/passwd"}'):
        (tmp_path / "trust" / "pin.json").write_text(content)
        with pytest.raises(TrustConfigError, match=r"pin\.json"):
            kept.current()
