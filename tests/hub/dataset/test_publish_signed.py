"""A record that is really signed: verified, published, and verified again by a stranger."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from inferencebench_pipeline.envelope.canonical import parse_envelope, serialise
from inferencebench_pipeline.hub.dataset.listing import fetch_file, list_published
from inferencebench_pipeline.hub.dataset.publication import publish
from inferencebench_pipeline.hub.dataset.rendered_record import NotPublishableError
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.trust.root.trust_root import load_trust
from inferencebench_pipeline.trust.sign.identity_token import file_identity, parse_token
from inferencebench_pipeline.trust.sign.signer import SigstoreSigner
from inferencebench_pipeline.trust.verify.policy import load_policy
from inferencebench_pipeline.trust.verify.required_signer import policy_for, signer_of_owner
from inferencebench_pipeline.trust.verify.verdict import Verdict, Verify
from inferencebench_pipeline.trust.verify.verifier import verify_envelope
from tests.hub.conftest import ORGANISATION, World
from tests.hub.records import traces_bytes, unsigned_envelope
from tests.paths import REPOSITORY


@pytest.fixture
def verify(world: World) -> Verify:
    environ = world.sandbox.environ
    trust = load_trust(Path(environ["INFERENCEBENCH_TRUST_CONFIG"]))
    policy = load_policy(Path(environ["INFERENCEBENCH_POLICY"]))

    def verified(envelope: bytes, traces: bytes | None) -> Verdict:
        return verify_envelope(
            envelope, trust=trust, policy=policy, organisation=ORGANISATION, traces=traces
        )

    return verified


@pytest.fixture
def run(world: World, store: Path) -> RunDirectory:
    environ = world.sandbox.environ
    signer = SigstoreSigner(
        trust=load_trust(Path(environ["INFERENCEBENCH_TRUST_CONFIG"])),
        identity=file_identity(Path(environ["INFERENCEBENCH_IDENTITY_TOKEN_FILE"])),
    )
    run = RunStore(store).run(new_run_id())
    traces = traces_bytes(run.run_id)
    run.write(RunFile.TRACES, traces)
    signed = signer.sign(unsigned_envelope(run.run_id, traces))
    run.write(RunFile.ENVELOPE, serialise(signed))
    return run


def test_a_stranger_verifies_what_the_hub_serves(
    world: World, run: RunDirectory, verify: Verify
) -> None:
    receipt = publish(
        world.hub(), run, organisation=ORGANISATION, verify=verify, on_stage=lambda _: None
    )
    stranger = world.hub(None)
    listed = {repo.repo_id: repo for repo in list_published(stranger, ORGANISATION)}
    revision = listed[receipt.repo_id].revision
    envelope = fetch_file(stranger, receipt.repo_id, revision, "envelope.json")
    traces = fetch_file(stranger, receipt.repo_id, revision, "traces.parquet")
    verdict = verify(envelope, traces)
    assert verdict.ok, verdict.reason
    stated = listed[receipt.repo_id].card["inferencebench"]
    signature = parse_envelope(envelope).signature
    assert signature is not None
    assert stated["signature_verified"] is True
    assert stated["rekor_log_index"] == signature.rekor_log_index


def command_of(text: str) -> str:
    """Return the command that a card prints, as it is printed."""
    found = re.search(r"^(?:HF_ENDPOINT=\S+ )?inferencebench verify (?:.*\\\n)*.*$", text, re.M)
    assert found is not None
    return found[0]


@pytest.fixture
def stranger(world: World, tmp_path: Path) -> Callable[[str], int]:
    """A reader with an empty environment who has done what the card asks for, and nothing else."""
    home = tmp_path / "stranger"
    home.mkdir()
    program = home / "inferencebench"
    program.write_text(
        f"#!{sys.executable}\nfrom inferencebench_pipeline.cli import main\nmain()\n"
    )
    program.chmod(0o755)
    trust = Path(world.sandbox.environ["INFERENCEBENCH_TRUST_CONFIG"])
    (home / "trust_config.json").write_bytes(trust.read_bytes())
    environ = {
        "PATH": f"{home}:/usr/bin:/bin",
        "HOME": str(home),
        "PYTHONPATH": str(REPOSITORY),
        "NO_PROXY": "127.0.0.1",
    }

    def run(command: str) -> int:
        done = subprocess.run(
            ["/bin/sh", "-c", command], cwd=home, env=environ, capture_output=True, timeout=60
        )
        return done.returncode

    return run


def test_the_command_on_the_card_works_as_printed_and_for_no_other_signer(
    world: World,
    run: RunDirectory,
    verify: Verify,
    stranger: Callable[[str], int],
) -> None:
    receipt = publish(
        world.hub(), run, organisation=ORGANISATION, verify=verify, on_stage=lambda _: None
    )
    card = fetch_file(world.hub(None), receipt.repo_id, receipt.commit, "README.md").decode()
    command = command_of(card)
    assert stranger(command) == 0
    assert stranger(f"{command}.example") == 1
    # The log is the sandbox's, so that the card has to say which trust root it needs.
    log = verify(run.read(RunFile.ENVELOPE), run.read(RunFile.TRACES)).log
    assert log is not None
    assert f"# The log {log.log_id[:16]}" in card
    assert "get the trust" in card.lower()
    assert "compare it" in card
    assert stranger(command.replace(" --trust-config trust_config.json \\\n", " ")) == 1


def test_the_command_asks_for_the_organisation_whose_own_workflow_signed(
    world: World, store: Path, stranger: Callable[[str], int]
) -> None:
    """Not for the signer that the card names: a forged card in the namespace would not verify."""
    workflow = f"{ORGANISATION}/bench/.github/workflows/publish.yml@refs/heads/main"
    sigstore = world.sandbox.environ["INFERENCEBENCH_SANDBOX_SIGSTORE"]
    form = urllib.parse.urlencode({"workflow": workflow}).encode()
    with urllib.request.urlopen(f"{sigstore}/oidc/token", form, timeout=30) as answer:
        token = parse_token(json.load(answer)["id_token"].encode(), where="the test")
    trust = load_trust(Path(world.sandbox.environ["INFERENCEBENCH_TRUST_CONFIG"]))
    policy = policy_for(signer_of_owner(ORGANISATION))

    def verify(envelope: bytes, traces: bytes | None) -> Verdict:
        return verify_envelope(
            envelope, trust=trust, policy=policy, organisation=ORGANISATION, traces=traces
        )

    own = RunStore(store).run(new_run_id())
    own.path.mkdir(parents=True)
    traces = traces_bytes(own.run_id)
    signer = SigstoreSigner(trust=trust, identity=lambda: token)
    envelope = signer.sign(unsigned_envelope(own.run_id, traces))
    own.write(RunFile.TRACES, traces)
    own.write(RunFile.ENVELOPE, serialise(envelope))
    receipt = publish(
        world.hub(), own, organisation=ORGANISATION, verify=verify, on_stage=lambda _: None
    )
    card = fetch_file(world.hub(None), receipt.repo_id, receipt.commit, "README.md").decode()
    command = command_of(card)
    assert command.endswith(f"    --owner {ORGANISATION}")
    assert "This page names the signer itself" not in card
    assert stranger(command) == 0
    assert stranger(command.replace(f"--owner {ORGANISATION}", "--owner somebody-else")) == 1


@pytest.mark.parametrize("tampered", ["metric", "traces", "unsigned"])
def test_a_record_that_was_tampered_with_is_not_sent(
    world: World, run: RunDirectory, verify: Verify, tampered: str
) -> None:
    envelope = parse_envelope(run.read(RunFile.ENVELOPE))
    if tampered == "metric":
        metrics = {**envelope.metrics, "output_tok_per_s": 99_999.0}
        run.write(RunFile.ENVELOPE, serialise(envelope.model_copy(update={"metrics": metrics})))
    elif tampered == "traces":
        run.write(RunFile.TRACES, traces_bytes(run.run_id, requests=23))
    else:
        run.write(RunFile.ENVELOPE, serialise(envelope.model_copy(update={"signature": None})))
    world.faults.clear_requests()
    with pytest.raises(NotPublishableError, match="nothing was sent"):
        publish(world.hub(), run, organisation=ORGANISATION, verify=verify, on_stage=lambda _: None)
    assert not world.faults.requests()
