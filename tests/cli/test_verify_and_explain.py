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
from inferencebench_pipeline.cli.explaining import _QUESTIONS
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from inferencebench_pipeline.trust.verify.dev_key import DevKeySigner, create_dev_key
from inferencebench_pipeline.trust.verify.required_signer import require_signer
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
    for question, _ in _QUESTIONS:
        assert question in explained.stdout
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
    asked = ("--require-issuer", rule.issuer, "--require-identity", str(rule.identity))
    assert bench("verify", folder, *trust, *asked).returncode == 0
    other = ("--require-issuer", rule.issuer, "--require-identity", "mallory@example.org")
    done = bench("verify", folder, *trust, *other)
    assert done.returncode == 1
    assert "may not sign" in done.stdout
    nobody = bench("verify", folder, *trust)
    assert nobody.returncode == 2
    assert "INFERENCEBENCH_POLICY" in nobody.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hf://datasets/o/n", "--offline"), "which --offline does not allow"),
        (("record", "--revision", "main"), "is for hf:// targets"),
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


class TestRequirements:
    """A requirement narrows what the policy allows, and nothing goes around it."""

    def test_met_or_not(self, world: World, signed: Signed) -> None:  # noqa: F811
        verdict = world.verify(signed.data, signed.traces)
        rule = world.policy.signers[0]
        met = require_signer(verdict, issuer=rule.issuer, identity=rule.identity)
        assert met.ok
        assert met.checks[-1].status == "passed"
        for asked in ({"issuer": "x", "identity": None}, {"issuer": None, "identity": "x"}):
            refused = require_signer(verdict, **asked)
            assert not refused.ok
            assert refused.failure_class == FailureClass.IDENTITY_NOT_ALLOWED
            assert refused.reason.startswith("required_signer: ")
        assert require_signer(verdict, issuer=None, identity=None) == verdict

    def test_missing_traces_excuse_nobody_from_one(self, world: World, signed: Signed) -> None:  # noqa: F811
        verdict = world.verify(signed.data, None)
        assert verdict.outcome == "incomplete"
        rule = world.policy.signers[0]
        met = require_signer(verdict, issuer=rule.issuer, identity=rule.identity)
        assert (met.outcome, met.checks[-1].status) == ("incomplete", "passed")
        refused = require_signer(verdict, issuer="x", identity=None)
        assert (refused.outcome, refused.failure_class) == (
            "rejected",
            FailureClass.IDENTITY_NOT_ALLOWED,
        )

    def test_a_rejection_stays_what_it_was(self, world: World, signed: Signed) -> None:  # noqa: F811
        verdict = world.verify(signed.data[:-3], None)
        after = require_signer(verdict, issuer="x", identity="y")
        assert after.checks[-1].status == "skipped"
        assert after.checks[-1].evidence == {"issuer": "x", "identity": "y"}
        partly = require_signer(verdict, issuer=None, identity="y")
        assert partly.checks[-1].evidence == {"issuer": "any", "identity": "y"}
        assert (after.ok, after.failure_class, after.reason) == (
            False,
            verdict.failure_class,
            verdict.reason,
        )

    def test_a_pinned_development_key_never_meets_one(
        self,
        world: World,  # noqa: F811
        tmp_path: Path,
    ) -> None:
        pem = create_dev_key(tmp_path / "key")
        policy = {
            "version": 1,
            "dev_keys": [{"organisation": "o", "suites": ["*"], "public_key_pem": pem}],
        }
        (tmp_path / "policy.yaml").write_text(json.dumps(policy))
        run: RunDirectory = RunStore(tmp_path).run(new_run_id())
        run.path.mkdir(parents=True)
        write_measured(run)
        from inferencebench_pipeline.trust.verify.policy import load_policy

        loaded = load_policy(tmp_path / "policy.yaml")
        verdict = sign_run(
            run,
            DevKeySigner(tmp_path / "key"),
            verify=lambda data, traces: world.verify(data, traces, policy=loaded, organisation="o"),
        )
        assert verdict.ok
        assert run.has(RunFile.ENVELOPE)
        assert not require_signer(verdict, issuer="policy", identity=None).ok
