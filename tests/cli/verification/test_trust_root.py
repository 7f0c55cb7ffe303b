"""``trust show``, ``trust refresh`` and ``trust pin`` as a person runs them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from inferencebench_pipeline import __version__
from inferencebench_pipeline.trust.root import store
from inferencebench_pipeline.trust.root.store import SHIPPED_SHA256
from inferencebench_pipeline.trust.root.trusted_keys import trusted_keys
from tests.cli.verification.test_verify_and_explain import Bench, bench  # noqa: F401  # a fixture
from tests.trust.conftest import World, running_world, world  # noqa: F401  # fixtures
from tests.trust.tuf_repository import Publisher, serving


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data/inferencebench/trust"


def test_show_names_the_shipped_root_and_every_key_in_it(bench: Bench) -> None:  # noqa: F811
    done = bench("trust", "show")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"public good, shipped with {__version__}"
    assert lines[1].split() == ["sha256", SHIPPED_SHA256]
    assert "transparency log https://rekor.sigstore.dev" in lines
    # The log id that Sigstore publishes for its first log is the digest of its key.
    log_id = "c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d"
    assert f"  from 2021-01-12 until further notice, sha256 {log_id}" in lines
    assert any("from 2021-03-07 until 2022-12-31" in line for line in lines)


def test_show_as_json_holds_the_same(bench: Bench, world: World) -> None:  # noqa: F811
    done = bench("trust", "show", "--json", "--trust-config", world.trust_config)
    shown = json.loads(done.stdout)
    assert shown["trust_root"]["name"] == "named by --trust-config"
    assert shown["trust_root"]["sha256"] == world.trust.sha256
    assert shown["trust_root"]["age_days"] is None
    assert len(shown["keys"]) == len(trusted_keys(world.trust))
    said = bench("trust", "show", "--trust-config", world.trust_config).stdout
    assert "confirmed  unknown" in said


def test_a_file_is_pinned_and_a_digest_leads_back(
    bench: Bench,  # noqa: F811
    world: World,  # noqa: F811
    data_folder: Path,
) -> None:
    done = bench("trust", "pin", world.trust_config)
    assert done.returncode == 0, done.stderr
    assert f"pinned {world.trust.sha256}, was {SHIPPED_SHA256}" in done.stdout
    assert "transparency log https://rekor.sigstore.dev" in done.stdout
    assert (data_folder / f"{world.trust.sha256}.json").is_file()
    shown = bench("trust", "show").stdout
    assert shown.startswith("yours, pinned from a file\n")

    assert "was pinned from a file" in bench("trust", "refresh").stderr

    back = bench("trust", "pin", SHIPPED_SHA256)
    assert f"pinned {SHIPPED_SHA256}, was {world.trust.sha256}" in back.stdout
    assert bench("trust", "show").stdout.startswith("public good, shipped with")


@pytest.mark.parametrize(
    ("target", "said"),
    [("nowhere.json", "cannot read nowhere.json"), ("0" * 64, "is not kept"), (".", "cannot read")],
)
def test_what_cannot_be_pinned_is_wrong_input_and_changes_nothing(
    bench: Bench,  # noqa: F811
    data_folder: Path,
    target: str,
    said: str,
) -> None:
    done = bench("trust", "pin", target)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (data_folder / "pin.json").exists()


def test_a_named_file_that_counts_in_place_of_the_pin_is_mentioned(
    bench: Bench,  # noqa: F811
    world: World,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("INFERENCEBENCH_TRUST_CONFIG", str(world.trust_config))
    done = bench("trust", "pin", SHIPPED_SHA256)
    assert f"unchanged: {SHIPPED_SHA256}" in done.stdout
    assert "INFERENCEBENCH_TRUST_CONFIG names" in done.stderr


def test_refresh_renews_the_users_root_and_refuses_a_rollback(
    bench: Bench,  # noqa: F811
    world: World,  # noqa: F811
    tmp_path: Path,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document = json.loads(world.trust_config.read_text())
    publisher = Publisher(tmp_path / "published")
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    with serving(publisher) as repository:
        monkeypatch.setattr(store, "public_good_repository", lambda: repository)
        publisher.publish(document)
        first = bench("trust", "refresh")
        assert first.returncode == 0, first.stderr
        assert "pinned " in first.stdout
        assert "public good, refreshed through TUF, in " in first.stdout
        publisher.publish(document)
        assert "unchanged: " in bench("trust", "refresh").stdout
        before = (data_folder / "pin.json").read_bytes()
        (data_folder / "tuf").rename(tmp_path / "lost")
        publisher.version = 0
        publisher.publish(document)
        rolled_back = bench("trust", "refresh")
    assert rolled_back.returncode == 2
    assert "serves an older trust root than it did before" in rolled_back.stderr
    assert (data_folder / "pin.json").read_bytes() == before


def test_an_old_root_is_warned_of(
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "SHIPPED_CHECKED_AT", datetime.now(UTC) - timedelta(days=181))
    done = bench("trust", "show")
    assert done.returncode == 0
    assert "warning: the trust root (public good, shipped with" in done.stderr
    assert "181 days ago" in done.stderr
    assert done.stderr.rstrip().endswith("renew it: inferencebench trust refresh")
    assert json.loads(bench("trust", "show", "--json").stdout)["trust_root"]["old"] is True
