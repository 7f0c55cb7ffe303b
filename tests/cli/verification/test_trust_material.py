"""No file in the current directory decides whom ``verify`` trusts: only the user and the release.

The record is genuine for the sandbox's certificate authority, which plays the attacker's here: it
must be rejected unless the user has named that authority.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.settings import Settings, SettingsError, user_data
from inferencebench_pipeline.trust.root.store import SHIPPED_SHA256
from tests.cli.verification.test_verify_and_explain import Bench, bench  # noqa: F401  # a fixture
from tests.trust.conftest import World, running_world, signed, world  # noqa: F401  # fixtures
from tests.trust.records import Signed


def keep(store: Path, config: bytes) -> None:
    """Write a trust store that pins a trust configuration."""
    store.mkdir(parents=True)
    sha256 = hashlib.sha256(config).hexdigest()
    (store / f"{sha256}.json").write_bytes(config)
    pin = {"sha256": sha256, "checked_at": "2026-11-30T00:00:00Z", "versions": []}
    (store / "pin.json").write_text(json.dumps(pin))


@pytest.fixture
def policy(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    path = tmp_path_factory.mktemp("reviewed") / "policy.yaml"
    rule = json.loads(world.policy.signers[0].model_dump_json(exclude_defaults=True))
    path.write_text(json.dumps({"version": 1, "signers": [rule]}))
    return path


@pytest.fixture
def checkout(
    signed: Signed,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A stranger's folder with a record, in which the user stands; the home lies elsewhere."""
    path = tmp_path / "checkout"
    path.mkdir()
    (path / "envelope.json").write_bytes(signed.data)
    (path / "traces.parquet").write_bytes(signed.traces)
    monkeypatch.chdir(path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("INFERENCEBENCH_HOME", raising=False)
    return path


def in_the_default_home(checkout: Path, config: bytes, environ: dict[str, str]) -> None:
    keep(checkout / ".inferencebench/trust", config)


def by_a_link(checkout: Path, config: bytes, environ: dict[str, str]) -> None:
    keep(checkout / "elsewhere", config)
    (checkout / ".inferencebench").mkdir()
    (checkout / ".inferencebench/trust").symlink_to(checkout / "elsewhere")


def in_a_relative_home(checkout: Path, config: bytes, environ: dict[str, str]) -> None:
    keep(checkout / "state/trust", config)
    environ["INFERENCEBENCH_HOME"] = "state"


def in_a_home_inside_the_checkout(checkout: Path, config: bytes, environ: dict[str, str]) -> None:
    keep(checkout / "state/trust", config)
    environ["INFERENCEBENCH_HOME"] = str(checkout / "state")


def in_a_relative_data_folder(checkout: Path, config: bytes, environ: dict[str, str]) -> None:
    keep(checkout / "data/inferencebench/trust", config)
    environ["XDG_DATA_HOME"] = "data"


def in_a_dotenv(checkout: Path, config: bytes, environ: dict[str, str]) -> None:
    (checkout / "root.json").write_bytes(config)
    (checkout / ".env").write_text(
        f"INFERENCEBENCH_TRUST_CONFIG={checkout / 'root.json'}\n"
        f"INFERENCEBENCH_HOME={checkout}\nXDG_DATA_HOME={checkout}\n"
    )
    keep(checkout / "trust", config)
    keep(checkout / "inferencebench/trust", config)


def in_the_cache_of_sigstore(checkout: Path, config: bytes, environ: dict[str, str]) -> None:
    root = json.dumps(json.loads(config)["trustedRoot"])
    for name in (".local/share", ".cache", ".sigstore"):
        folder = checkout / name / "sigstore-python/tuf/https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
        folder.mkdir(parents=True)
        (folder / "trusted_root.json").write_text(root)


Plant = Callable[[Path, bytes, dict[str, str]], None]
PLANTS = [
    in_the_default_home,
    by_a_link,
    in_a_relative_home,
    in_a_home_inside_the_checkout,
    in_a_relative_data_folder,
    in_a_dotenv,
    in_the_cache_of_sigstore,
]


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_checkout_cannot_bring_its_own_certificate_authority(
    plant: Plant,
    checkout: Path,
    policy: Path,
    world: World,  # noqa: F811
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environ: dict[str, str] = {}
    plant(checkout, world.trust_config.read_bytes(), environ)
    monkeypatch.delenv("INFERENCEBENCH_HOME")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(checkout)
    for command in ("verify", "explain"):
        done = bench(command, "envelope.json", "--policy", policy)
        assert done.returncode == 1, done.stdout
        assert "VERIFIED" not in done.stdout
    # The same record is good once the user has named the authority, so nothing else rejected it.
    named = ("--trust-config", world.trust_config)
    assert bench("verify", "envelope.json", "--policy", policy, *named).returncode == 0


@pytest.mark.parametrize("name", ["INFERENCEBENCH_TRUST_CONFIG", "INFERENCEBENCH_POLICY"])
def test_a_variable_that_depends_on_the_current_directory_is_refused(
    name: str,
    checkout: Path,
    policy: Path,
    world: World,  # noqa: F811
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (checkout / "planted").write_bytes(world.trust_config.read_bytes())
    monkeypatch.setenv(name, "planted")
    monkeypatch.chdir(checkout)
    done = bench("verify", "envelope.json", "--policy", policy)
    assert done.returncode == 2
    assert f"{name} cannot be used: planted is relative" in done.stderr


def test_the_user_keeps_a_trust_root_that_counts_everywhere(
    checkout: Path,
    policy: Path,
    tmp_path: Path,
    world: World,  # noqa: F811
    bench: Bench,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep(tmp_path / "data/inferencebench/trust", world.trust_config.read_bytes())
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(checkout)
    assert bench("verify", "envelope.json", "--policy", policy).returncode == 0
    (tmp_path / "data/inferencebench/trust").chmod(0o777)
    done = bench("verify", "envelope.json", "--policy", policy)
    assert done.returncode == 2
    assert "is writable for everybody" in done.stderr


def root_of(environ: dict[str, str]) -> str:
    return Deployment(Settings.from_environment(environ)).trust().sha256


def test_a_deployment_has_its_own_trust_root_where_it_says_that_its_state_lies(
    checkout: Path,
    tmp_path: Path,
    world: World,  # noqa: F811
) -> None:
    """The same for signing: whoever names the certificate authority gets the identity token."""
    config = world.trust_config.read_bytes()
    keep(tmp_path / "state/trust", config)
    keep(checkout / ".inferencebench/trust", config)
    keep(checkout / "state/trust", config)
    assert root_of({"INFERENCEBENCH_HOME": str(tmp_path / "state")}) == world.trust.sha256
    assert root_of({}) == SHIPPED_SHA256
    assert root_of({"INFERENCEBENCH_HOME": "state"}) == SHIPPED_SHA256
    keep(tmp_path / "home/.local/share/inferencebench/trust", config)
    assert root_of({}) == world.trust.sha256


def test_the_folder_of_the_users_data_never_depends_on_the_current_directory(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "inferencebench_pipeline.settings.platformdirs.user_data_path",
        lambda *_, **__: Path("relative"),
    )
    with pytest.raises(SettingsError, match="depends on the current directory"):
        user_data()
