"""``policy init``, ``policy check`` and ``policy explain`` as a person runs them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from inferencebench_pipeline.trust.verify.dev_key import create_dev_key
from inferencebench_pipeline.trust.verify.policy import load_policy
from inferencebench_pipeline.trust.verify.required_signer import GITHUB_ISSUER
from tests.cli.verification.test_verify_and_explain import Bench, bench, folder  # noqa: F401  # fixtures
from tests.trust.conftest import World, running_world, signed  # noqa: F401  # fixtures

IDENTITY = (
    "--certificate-identity",
    "bench@acme.org",
    "--certificate-oidc-issuer",
    "https://a.org",
)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (IDENTITY, {"issuer": "https://a.org", "identity": "bench@acme.org"}),
        (
            ("--repo", "acme/bench"),
            {
                "issuer": GITHUB_ISSUER,
                "workflow": {"source_repository_uri": "https://github.com/acme/bench"},
            },
        ),
    ],
)
def test_init_writes_a_policy_that_can_be_used_and_read(
    options: tuple[str, ...],
    rule: dict[str, object],
    bench: Bench,  # noqa: F811
    tmp_path: Path,
) -> None:
    printed = bench("policy", "init", "--organisation", "acme-hub", *options)
    assert printed.returncode == 0, printed.stderr
    path = tmp_path / "new.yaml"
    asked = ("--organisation", "acme-hub", "--suite", "llm.*", *options)
    assert bench("policy", "init", path, *asked).returncode == 0
    text = path.read_text()
    assert printed.stdout.replace("'*'", "llm.*") == text
    assert text.startswith("# Who may sign for whom.")
    (written,) = yaml.safe_load(text)["signers"]
    assert written == {
        "organisation": "acme-hub",
        "suites": ["llm.*"],
        "valid_from": f"{datetime.now(UTC).date().isoformat()}T00:00:00Z",
        **rule,
    }
    for name in written:
        (line,) = [line for line in text.splitlines() if line.lstrip("- ").startswith(f"{name}:")]
        assert "  # " in line
    assert "1 signers, 0 development keys" in bench("policy", "check", path).stdout
    said = bench("policy", "explain", path).stdout
    assert "may sign llm.* for acme-hub." in said
    assert "Nobody else may sign." in said
    assert load_policy(path).sha256 in said
    again = bench("policy", "init", path, *asked)
    assert again.returncode == 2
    assert "name a file that does not exist yet" in again.stderr
    assert path.read_text() == text


def test_init_needs_to_know_the_signer(bench: Bench) -> None:  # noqa: F811
    done = bench("policy", "init", "--organisation", "acme")
    assert done.returncode == 2
    assert "name the signer: --repo OWNER/REPO" in done.stderr


def test_a_record_verifies_under_the_policy_that_init_wrote(
    running_world: World,  # noqa: F811
    folder: Path,  # noqa: F811
    bench: Bench,  # noqa: F811
    tmp_path: Path,
) -> None:
    rule = running_world.policy.signers[0]
    signer = (
        "--certificate-identity",
        str(rule.identity),
        "--certificate-oidc-issuer",
        rule.issuer,
    )
    path = tmp_path / "new.yaml"
    assert bench("policy", "init", path, "--organisation", "me", *signer).returncode == 0
    trust = ("--trust-config", running_world.trust_config)
    assert bench("verify", folder, *trust, "--policy", path).returncode == 0


def test_check_says_line_by_line_what_is_wrong(bench: Bench, tmp_path: Path) -> None:  # noqa: F811
    path = tmp_path / "policy.yaml"
    path.write_text(
        "version: 2\n"
        "signers:\n"
        "  - organisation: '*'\n"
        "    suites: []\n"
        "    isuer: https://a.org\n"
        "    identity: bench@acme.org\n"
        "    valid_from: 2026-01-01T00:00:00\n"
        "  - organisation: acme\n"
        "    suites: ['*']\n"
        "    issuer: https://a.org\n"
        "    valid_from: 2026-01-01T00:00:00Z\n"
        "signer: []\n"
    )
    done = bench("policy", "check", path)
    assert done.returncode == 2
    lines = [line.removeprefix(f"{path}:") for line in done.stderr.splitlines()]
    assert [line.partition(": ")[0] for line in lines] == ["1", "3", "4", "3", "7", "5", "8", "12"]
    assert "3: signers.0.issuer: Field required" in lines
    assert any("the issuer alone would let every user" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [("signers: [", "not valid YAML"), ("- 1", "must be a mapping"), (None, "cannot read")],
)
def test_what_is_no_policy_at_all_is_said_in_one_line(
    text: str | None,
    said: str,
    bench: Bench,  # noqa: F811
    tmp_path: Path,
) -> None:
    path = tmp_path / "policy.yaml"
    if text is not None:
        path.write_text(text)
    done = bench("policy", "check", path)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_explain_says_who_may_sign_what_and_when(bench: Bench, tmp_path: Path) -> None:  # noqa: F811
    pem = create_dev_key(tmp_path / "key")
    signer = {
        "organisation": "acme",
        "suites": ["llm.*"],
        "issuer": GITHUB_ISSUER,
        "identity": "https://github.com/acme/x",
        "workflow": {"runner_environment": "github-hosted"},
        "valid_from": "2026-01-01T00:00:00+02:00",
        "valid_until": "2027-01-01T00:00:00Z",
    }
    keys = [
        {"organisation": organisation, "suites": ["llm.*"], "public_key_pem": pem}
        for organisation in ("acme", "laptop")
    ]
    path = tmp_path / "policy.yaml"
    path.write_text(json.dumps({"version": 1, "signers": [signer], "dev_keys": keys}))
    first, second, third, *_ = bench("policy", "explain", path).stdout.splitlines()
    assert first == (
        "From 2025-12-31T22:00:00+00:00 until 2027-01-01T00:00:00+00:00, https://github.com/acme/x "
        "whose certificate says runner_environment github-hosted, vouched for by "
        f"{GITHUB_ISSUER}, may sign llm.* for acme."
    )
    assert "counts for nothing for acme where a signer above may sign (llm.*)." in second
    assert "may sign llm.* for laptop, in no log and with nobody vouching for it." in third
    path.write_text("version: 1\n")
    assert "Nobody may sign." in bench("policy", "explain", path).stdout


def test_init_without_a_signer_says_where_an_owner_is_believed(bench: Bench) -> None:  # noqa: F811
    nobody = bench("policy", "init", "--organisation", "acme-hub")
    assert nobody.returncode == 2
    assert "--repo OWNER/REPO" in nobody.stderr
    assert "`inferencebench verify --owner ORG` does" in nobody.stderr
    assert "--owner" in bench("policy", "init", "--help").stdout
