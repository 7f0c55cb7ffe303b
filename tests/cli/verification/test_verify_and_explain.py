"""``verify`` and ``explain`` as a stranger runs them: exit code, output, no network."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from inferencebench_pipeline.cli import main
from inferencebench_pipeline.cli.verification.check_words import ASKED, QUESTIONS
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from inferencebench_pipeline.trust.verify.dev_key import DevKeySigner, create_dev_key
from inferencebench_pipeline.trust.verify.policy import parse_policy
from inferencebench_pipeline.trust.verify.required_signer import Name, RequiredSigner, policy_for
from inferencebench_pipeline.trust.verify.verdict import FailureClass
from tests.envelope.measured import write_measured
from tests.trust.conftest import World, running_world, signed, world  # noqa: F401  # fixtures
from tests.trust.records import Signed

NOWHERE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "HF_ENDPOINT"), "http://127.0.0.1:9")


@pytest.fixture
def folder(signed: Signed, tmp_path: Path) -> Path:  # noqa: F811
    path = tmp_path / "record"
    path.mkdir()
    (path / "envelope.json").write_bytes(signed.data)
    (path / "traces.parquet").write_bytes(signed.traces)
    return path


@pytest.fixture
def policy_file(running_world: World, tmp_path: Path) -> Path:  # noqa: F811
    path = tmp_path / "policy.yaml"
    rule = running_world.policy.signers[0]
    document = {"version": 1, "signers": [json.loads(rule.model_dump_json(exclude_defaults=True))]}
    path.write_text(json.dumps(document))
    return path


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Bench = Callable[..., Done]


@pytest.fixture
def bench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Bench:
    """The command line with an environment of its own, in which no network is reachable."""
    for name in list(os.environ):
        if name.startswith(("INFERENCEBENCH", "HF_")):
            monkeypatch.delenv(name)
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("INFERENCEBENCH_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["inferencebench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return run


def test_a_record_on_disk_verifies_and_is_explained_without_a_network(
    running_world: World,  # noqa: F811
    folder: Path,
    policy_file: Path,
    bench: Bench,
) -> None:
    trust = ("--trust-config", running_world.trust_config, "--policy", policy_file, "--offline")
    done = bench("verify", folder, *trust, "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["outcome"] == "verified"
    assert {check["status"] for check in verdict["checks"]} == {"passed"}

    explained = bench("explain", folder / "envelope.json", *trust)
    assert explained.returncode == 0, explained.stderr
    assert explained.stdout.startswith("VERIFIED")
    for question in QUESTIONS:
        assert (question.asked in explained.stdout) is (question is not ASKED)
    for check in verdict["checks"]:
        assert f"✓ {check['name']}" in explained.stdout


def test_a_tampered_record_is_explained_in_words(
    running_world: World,  # noqa: F811
    folder: Path,
    policy_file: Path,
    bench: Bench,
) -> None:
    path = folder / "envelope.json"
    path.write_text(path.read_text().replace('"seed": 42', '"seed": 43'))
    trust = ("--trust-config", running_world.trust_config, "--policy", policy_file)
    done = bench("explain", folder, *trust)
    assert done.returncode == 1
    assert done.stdout.startswith("REJECTED  tampered")
    assert "The record differs from the one that was signed." in done.stdout


def test_a_stranger_without_a_policy_names_whom_to_believe(
    running_world: World,  # noqa: F811
    folder: Path,
    bench: Bench,
) -> None:
    rule = running_world.policy.signers[0]
    trust = ("--trust-config", running_world.trust_config)
    issuer = ("--certificate-oidc-issuer", rule.issuer)
    asked = ("--certificate-identity", str(rule.identity), *issuer)
    assert bench("verify", folder, *trust, *asked).returncode == 0
    assert bench("explain", folder, *trust, *asked).returncode == 0
    pattern = ("--certificate-identity-regexp", r".*@inferencebench\.sandbox", *issuer)
    assert bench("verify", folder, *trust, *pattern).returncode == 0
    done = bench("verify", folder, *trust, "--certificate-identity", "mallory@a.org", *issuer)
    assert done.returncode == 1
    assert "requires the identity mallory@a.org" in done.stdout
    # Cards that were published before these options were named as cosign names them.
    earlier = ("--require-issuer", rule.issuer, "--require-identity", str(rule.identity))
    assert bench("verify", folder, *trust, *earlier).returncode == 0


def test_without_a_policy_all_ways_to_name_a_signer_are_listed(
    running_world: World,  # noqa: F811
    folder: Path,
    bench: Bench,
) -> None:
    trust = ("--trust-config", running_world.trust_config)
    for command in ("verify", "explain"):
        nobody = bench(command, folder, *trust)
        assert nobody.returncode == 2
        half = bench(command, folder, *trust, "--certificate-identity", "a@b.org")
        assert half.returncode == 2
        for said in (nobody.stderr, half.stderr):
            for way in (
                *("--owner", "--repo", "--certificate-identity", "--certificate-oidc-issuer"),
                *("--policy", "INFERENCEBENCH_POLICY"),
            ):
                assert way in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hf://datasets/o/n", "--offline"), "which --offline does not allow"),
        (("record", "--revision", "main"), "is for hf:// targets"),
        (
            ("record", "--policy-from", "hf://datasets/o/n", "--owner", "o", "--offline"),
            "name the file by --policy",
        ),
        (("hf://datasets/o",), "is not of the form"),
        (("hf://datasets/o/n@v1", "--revision", "v2"), "two revisions"),
        (("nowhere",), "cannot read nowhere"),
    ],
)
def test_a_target_that_cannot_be_verified_is_wrong_input(
    arguments: tuple[str, ...], said: str, folder: Path, bench: Bench
) -> None:
    done = bench("verify", *arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_pinned_development_key_never_meets_a_required_signer(
    world: World,  # noqa: F811
    tmp_path: Path,
) -> None:
    pem = create_dev_key(tmp_path / "key")
    rule = {"organisation": "o", "suites": ["*"], "public_key_pem": pem}
    policy = parse_policy(json.dumps({"version": 1, "dev_keys": [rule]}).encode(), where="the test")
    run: RunDirectory = RunStore(tmp_path).run(new_run_id())
    run.path.mkdir(parents=True)
    write_measured(run)
    verdict = sign_run(
        run,
        DevKeySigner(tmp_path / "key"),
        verify=lambda data, traces: world.verify(data, traces, policy=policy, organisation="o"),
    )
    assert verdict.ok
    required = RequiredSigner(asked="the test", issuer=Name("policy"))
    for narrowed in (None, policy):
        data, traces = run.read(RunFile.ENVELOPE), run.read(RunFile.TRACES)
        refused = world.verify(
            data, traces, policy=policy_for(required, narrowed), organisation="o"
        )
        assert refused.failure_class == FailureClass.IDENTITY_NOT_ALLOWED


def test_a_named_signer_narrows_what_a_policy_allows(
    running_world: World,  # noqa: F811
    folder: Path,
    policy_file: Path,
    bench: Bench,
) -> None:
    rule = running_world.policy.signers[0]
    files = ("--trust-config", running_world.trust_config, "--policy", policy_file)
    issuer = ("--certificate-oidc-issuer", rule.issuer)
    same = ("--certificate-identity", str(rule.identity), *issuer)
    other = ("--certificate-identity", "mallory@example.org", *issuer)
    assert bench("verify", folder, *files, *same).returncode == 0
    done = bench("verify", folder, *files, *other)
    assert done.returncode == 1
    assert "requires the identity mallory@example.org" in done.stdout
    policy_file.write_text("version: 1\nsigners: []\n")
    done = bench("verify", folder, *files, *same)
    assert done.returncode == 1
    assert "The policy names no signer" in " ".join(done.stdout.split())


def test_missing_traces_excuse_nobody_from_a_required_signer(
    world: World,  # noqa: F811
    signed: Signed,  # noqa: F811
) -> None:
    rule = world.policy.signers[0]
    issuer, identity = Name(rule.issuer), Name(str(rule.identity))
    required = RequiredSigner(asked="it", issuer=issuer, identity=identity)
    met = world.verify(signed.data, None, policy=policy_for(required))
    assert met.outcome == "incomplete"
    other = RequiredSigner(asked="it", issuer=Name("x"))
    refused = world.verify(signed.data, None, policy=policy_for(other))
    assert (refused.outcome, refused.failure_class) == (
        "rejected",
        FailureClass.IDENTITY_NOT_ALLOWED,
    )
