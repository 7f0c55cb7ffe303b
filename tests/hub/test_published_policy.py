"""A policy that an organisation publishes: signed, fetched by name, and believed of nobody else."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from inferencebench_pipeline.cli.app import app
from inferencebench_pipeline.corpus.statement.statement import STATEMENT_FILE
from inferencebench_pipeline.envelope.canonical import parse_envelope, serialise
from inferencebench_pipeline.hub.client.repo import Repo
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from inferencebench_pipeline.trust.root.trust_root import load_trust
from inferencebench_pipeline.trust.sign.identity_token import file_identity
from inferencebench_pipeline.trust.sign.signer import SigstoreSigner
from inferencebench_pipeline.trust.verify.corpus_statement import (
    STATEMENT_SUITE,
    TABLE_FILE,
    build_statement,
)
from inferencebench_pipeline.trust.verify.policy import load_policy
from tests.cli.verification.test_verify_corpus import ROWS, write_table
from tests.envelope.measured import write_measured
from tests.hub.conftest import ORGANISATION, World

OWNER = "acme-policies"
WORKFLOW = f"{OWNER}/rules/.github/workflows/sign.yml@refs/heads/main"


def typed(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def record(world: World, tmp_path: Path) -> Path:
    """A record that the sandbox's own identity has signed."""
    environ = world.sandbox.environ
    signer = SigstoreSigner(
        trust=load_trust(Path(environ["INFERENCEBENCH_TRUST_CONFIG"])),
        identity=file_identity(Path(environ["INFERENCEBENCH_IDENTITY_TOKEN_FILE"])),
    )
    run = RunStore(tmp_path / "runs").run(new_run_id())
    run.path.mkdir(parents=True)
    write_measured(run)
    unsigned = parse_envelope(run.read(RunFile.UNSIGNED_ENVELOPE))
    run.write(RunFile.ENVELOPE, serialise(signer.sign(unsigned)))
    return run.path


@pytest.fixture
def policy(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A policy file in the hands of a workflow that signs policies."""
    for name in ("HF_ENDPOINT", "INFERENCEBENCH_TRUST_CONFIG"):
        monkeypatch.setenv(name, world.sandbox.environ[name])
    for name in ("INFERENCEBENCH_POLICY", "HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    sigstore = world.sandbox.environ["INFERENCEBENCH_SANDBOX_SIGSTORE"]
    form = urllib.parse.urlencode({"workflow": WORKFLOW}).encode()
    with urllib.request.urlopen(f"{sigstore}/oidc/token", form, timeout=30) as answer:
        token = tmp_path / "token"
        token.write_text(json.load(answer)["id_token"])
    monkeypatch.setenv("INFERENCEBENCH_IDENTITY_TOKEN_FILE", str(token))
    path = tmp_path / "policy.yaml"
    path.write_bytes(Path(world.sandbox.environ["INFERENCEBENCH_POLICY"]).read_bytes())
    return path


def published(world: World, policy: Path, signature: bytes) -> str:
    """Put a policy and a signature on the Hub, and return the address."""
    repo = Repo("dataset", f"{ORGANISATION}/policy-{new_run_id()}")
    hub = world.hub()
    assert hub.create(repo)
    files = {"policy.yaml": policy.read_bytes(), "policy.yaml.sigstore.json": signature}
    hub.commit(repo, files, message="a policy", parent=hub.head(repo).commit)
    return f"hf://datasets/{repo.id}"


def test_a_reader_names_a_published_policy_and_who_must_have_signed_it(
    world: World, record: Path, policy: Path
) -> None:
    signed = typed("policy", "sign", policy)
    assert signed.exit_code == 0, signed.output
    signature = policy.with_name("policy.yaml.sigstore.json").read_bytes()
    address = published(world, policy, signature)
    asked = ("verify", record, "--policy-from", address)

    done = typed(*asked, "--owner", OWNER, "--json")
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)["policy"]
    assert shown["name"].startswith(f"{address.replace('@main', '')}/policy.yaml@")
    assert f"signed by https://github.com/{WORKFLOW} on " in shown["name"]
    assert "(0 days ago)" in shown["name"]

    other = typed(*asked, "--owner", "somebody-else")
    assert "does not count: it was signed by" in str(other.exception)
    nobody = typed(*asked)
    assert "nobody who must have signed it" in str(nobody.exception)
    both = typed(*asked, "--owner", OWNER, "--policy", policy)
    assert "exclude each other" in str(both.exception)
    wrong = typed("verify", record, "--policy-from", "policy.yaml", "--owner", OWNER)
    assert "is not of the form hf://" in str(wrong.exception)
    gone = typed("verify", record, "--policy-from", f"{address}-x@main", "--owner", OWNER)
    assert gone.exception is not None


def test_a_policy_that_was_changed_after_it_was_signed_is_refused(
    world: World, record: Path, policy: Path
) -> None:
    assert typed("policy", "sign", policy).exit_code == 0
    signature = policy.with_name("policy.yaml.sigstore.json").read_bytes()
    policy.write_bytes(policy.read_bytes() + b"# one more line\n")
    address = published(world, policy, signature)
    done = typed("verify", record, "--policy-from", address, "--owner", OWNER)
    assert "is not proven by its signature: no subject of the statement" in str(done.exception)


@pytest.fixture
def corpus(world: World, policy: Path, tmp_path: Path) -> Path:
    """The copy of an index whose statement was made under the policy in the hands of its owner."""
    folder = tmp_path / "index"
    folder.mkdir()
    environ = world.sandbox.environ
    trust = load_trust(Path(environ["INFERENCEBENCH_TRUST_CONFIG"]))
    signer = SigstoreSigner(
        trust=trust, identity=file_identity(Path(environ["INFERENCEBENCH_IDENTITY_TOKEN_FILE"]))
    )
    statement = build_statement(
        ROWS,
        {},
        organisation=ORGANISATION,
        policy_sha256=load_policy(policy).sha256,
        trust_root_sha256=trust.sha256,
        verified_at=datetime(2026, 11, 30, tzinfo=UTC),
    )
    bundle = signer.sign_statement(statement, suite_id=STATEMENT_SUITE)
    (folder / STATEMENT_FILE).write_bytes(bundle)
    write_table(folder, ROWS)
    assert (folder / TABLE_FILE).is_file()
    return folder


def test_a_corpus_verifies_under_the_policy_that_its_owner_publishes(
    world: World, policy: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader who knows only who signs an organisation's policy needs nothing else."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert typed("policy", "sign", policy).exit_code == 0
    signature = policy.with_name("policy.yaml.sigstore.json").read_bytes()
    asked = ("verify", "--corpus", corpus, "--organisation", ORGANISATION, "--owner", OWNER)

    done = typed(*asked, "--policy-from", published(world, policy, signature), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["policy"]["sha256"] == load_policy(policy).sha256

    # Another policy of the same signer is not the one that the records were judged under.
    policy.write_bytes(policy.read_bytes() + b"# one more line\n")
    assert typed("policy", "sign", policy).exit_code == 0
    later = policy.with_name("policy.yaml.sigstore.json").read_bytes()
    done = typed(*asked, "--policy-from", published(world, policy, later), "--json")
    assert (done.exit_code, json.loads(done.stdout)["outcome"]) == (10, "other_policy")
    assert "name that policy with --policy or --policy-from" in json.loads(done.stdout)["reason"]
