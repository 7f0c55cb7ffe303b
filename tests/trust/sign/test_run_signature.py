"""The states of a run, and when a run that was signed once is not signed again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile
from inferencebench_pipeline.trust.errors import SigningRefusedError
from inferencebench_pipeline.trust.sign.run_signature import RunState, sign_run, state_of
from inferencebench_pipeline.trust.verify.dev_key import DevKeySigner, create_dev_key
from inferencebench_pipeline.trust.verify.policy import parse_policy
from tests.trust.conftest import World


def test_the_furthest_file_tells_the_state(run: RunDirectory) -> None:
    run.remove(RunFile.UNSIGNED_ENVELOPE)
    states = [state_of(run)]
    for name in (
        RunFile.UNSIGNED_ENVELOPE,
        RunFile.SIGNATURE,
        RunFile.ENVELOPE,
        RunFile.PUBLICATION,
    ):
        run.write(name, b"{}")
        states.append(state_of(run))
    assert states == list(RunState)


def test_what_does_not_verify_where_it_is_signed_is_not_kept(
    world: World, run: RunDirectory
) -> None:
    elsewhere = partial(world.verify, organisation="another")
    with pytest.raises(SigningRefusedError, match="was signed, but the result is not kept"):
        sign_run(run, world.signer(), verify=elsewhere)
    assert not run.has(RunFile.ENVELOPE)
    # The signature is in the log: it is finished, and not made again, where it does verify.
    logged = world.log_sizes()
    assert sign_run(run, world.signer(), verify=world.verify).ok
    assert world.log_sizes() == logged


def test_what_is_signed_stands_though_its_signer_may_not_sign_any_more(
    world: World, run: RunDirectory
) -> None:
    sign_run(run, world.signer(), verify=world.verify)
    signed, logged = run.read(RunFile.ENVELOPE), world.log_sizes()
    elsewhere = partial(world.verify, organisation="another")
    with pytest.raises(SigningRefusedError, match="is not signed again, but does not verify"):
        sign_run(run, world.signer(), verify=elsewhere)
    assert (run.read(RunFile.ENVELOPE), world.log_sizes()) == (signed, logged)


def test_a_published_run_that_lost_its_envelope_is_never_signed_again(
    world: World, run: RunDirectory
) -> None:
    sign_run(run, world.signer(), verify=world.verify)
    run.write(RunFile.PUBLICATION, b"{}")
    run.remove(RunFile.ENVELOPE)
    logged = world.log_sizes()
    with pytest.raises(SigningRefusedError, match=f"inferencebench publish {run.run_id}"):
        sign_run(run, world.signer(), verify=world.verify)
    assert world.log_sizes() == logged


def test_a_signature_that_nobody_can_read_or_vouch_for_is_not_signed_over(
    world: World, run: RunDirectory
) -> None:
    run.file(RunFile.SIGNATURE).write_bytes(b"{}")
    logged = world.log_sizes()
    with pytest.raises(SigningRefusedError, match="restore it from a backup"):
        sign_run(run, world.signer(), verify=world.verify)
    assert world.log_sizes() == logged


def test_a_development_signature_of_the_same_statement_is_kept(
    world: World, run: RunDirectory, tmp_path: Path
) -> None:
    pem = create_dev_key(tmp_path / "key")
    rule = {"organisation": world.organisation, "suites": ["*"], "public_key_pem": pem}
    pinned = parse_policy(json.dumps({"version": 1, "dev_keys": [rule]}).encode(), where="the test")
    signer, verify = DevKeySigner(tmp_path / "key"), partial(world.verify, policy=pinned)
    assert sign_run(run, signer, verify=verify).ok
    before = run.file(RunFile.ENVELOPE).stat()
    assert sign_run(run, signer, verify=verify).ok
    assert run.file(RunFile.ENVELOPE).stat() == before
