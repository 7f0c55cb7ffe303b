"""A record that is really signed: verified, published, and verified again by a stranger."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from inferencebench_pipeline.envelope.canonical import parse_envelope, serialise
from inferencebench_pipeline.hub.dataset.listing import fetch_file, list_published
from inferencebench_pipeline.hub.dataset.publication import publish
from inferencebench_pipeline.hub.dataset.rendered_record import NotPublishableError
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.trust.root.trust_root import load_trust
from inferencebench_pipeline.trust.sign.identity_token import file_identity
from inferencebench_pipeline.trust.sign.signer import SigstoreSigner
from inferencebench_pipeline.trust.verify.policy import load_policy
from inferencebench_pipeline.trust.verify.verdict import Verdict, Verify
from inferencebench_pipeline.trust.verify.verifier import verify_envelope
from tests.hub.conftest import ORGANISATION, World
from tests.hub.records import traces_bytes, unsigned_envelope


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


def test_the_command_on_the_card_works_for_a_stranger_and_for_no_other_signer(
    world: World, run: RunDirectory, verify: Verify, tmp_path: Path
) -> None:
    receipt = publish(
        world.hub(), run, organisation=ORGANISATION, verify=verify, on_stage=lambda _: None
    )
    card = fetch_file(world.hub(None), receipt.repo_id, receipt.commit, "README.md").decode()
    shown = re.search(r"^(inferencebench verify (?:.*\\\n)*.*)$", card, re.MULTILINE)
    assert shown is not None
    program, *arguments = shlex.split(shown[1].replace("\\\n", ""))
    assert program == "inferencebench"
    ours = ("INFERENCEBENCH_POLICY", "HF_TOKEN", "HF_TOKEN_PATH")
    known = os.environ | world.sandbox.environ | {"INFERENCEBENCH_HOME": str(tmp_path)}
    environ = {name: value for name, value in known.items() if name not in ours}

    def outcome_of(*words: str) -> int:
        command = [sys.executable, "-c", "from inferencebench_pipeline.cli import main; main()"]
        done = subprocess.run(
            [*command, *words], env=environ, capture_output=True, timeout=60, check=False
        )
        return done.returncode

    assert outcome_of(*arguments) == 0
    assert outcome_of(*arguments[:-1], f"{arguments[-1]}.example") == 1


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
