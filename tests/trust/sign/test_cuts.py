"""Signing cut off at each worst moment, then finished: always one log entry, never a second."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inferencebench_pipeline.files.atomic_writes import StoreError
from inferencebench_pipeline.runs.run_directory import DamagedRunFileError, RunDirectory, RunFile
from inferencebench_pipeline.trust.errors import SigningRefusedError, SigningUnavailableError
from inferencebench_pipeline.trust.sign.pending_signature import PreparedSignature
from inferencebench_pipeline.trust.sign.run_signature import RunState, sign_run, state_of
from inferencebench_pipeline.trust.verify.verdict import Verdict
from tests.envelope.measured import measure_otherwise
from tests.trust.conftest import World

FULCIO = "/api/v2/signingCert"
TSA = "/api/v1/timestamp"
REKOR = "/log/entries"
VERSIONS = pytest.mark.parametrize("version", [1, 2], ids=["rekor-v1", "rekor-v2"])


def sign(world: World, run: RunDirectory, version: int) -> Verdict:
    return sign_run(run, world.signer(rekor_version=version), verify=world.verify)


def finished(world: World, run: RunDirectory, version: int, *, before: dict[int, int]) -> Verdict:
    """Sign again with everything whole: the run is signed and the log has grown by one."""
    world.faults.clear()
    verdict = sign(world, run, version)
    assert verdict.ok, verdict.reason
    assert state_of(run) == RunState.LOGGED
    assert world.log_sizes() == before | {version: before[version] + 1}
    assert verdict == world.verify(run.read(RunFile.ENVELOPE), run.read(RunFile.TRACES))
    return verdict


@VERSIONS
@pytest.mark.parametrize("kind", ["drop", "lost_response"], ids=["before", "after"])
@pytest.mark.parametrize(
    ("path", "left"),
    [(FULCIO, RunState.UNSIGNED), (TSA, RunState.UNSIGNED), (REKOR, RunState.SIGNED)],
    ids=["fulcio", "tsa", "rekor"],
)
def test_a_service_cut_before_or_after_it_acted(
    world: World, run: RunDirectory, path: str, left: RunState, kind: str, version: int
) -> None:
    before = world.log_sizes()
    world.faults.add(kind, path=path, times=None)
    with pytest.raises(SigningUnavailableError):
        sign(world, run, version)
    logged = path == REKOR and kind == "lost_response"
    assert world.log_sizes() == before | {version: before[version] + logged}
    assert state_of(run) == left
    finished(world, run, version, before=before)


def full_disk(monkeypatch: pytest.MonkeyPatch, name: str, then: Callable[[], None]) -> None:
    """Make writing the file ``name`` end in ``then``, after its bytes and before its rename."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{descriptor}")).name.startswith(f".{name}."):
            then()
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def no_space() -> None:
    raise OSError(28, "No space left on device")


@VERSIONS
@pytest.mark.parametrize(
    ("name", "logged", "left"),
    [("signature.json", 0, RunState.UNSIGNED), ("envelope.json", 1, RunState.SIGNED)],
)
def test_the_disk_full_before_or_after_logging(
    world: World,
    run: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    logged: int,
    left: RunState,
    version: int,
) -> None:
    before = world.log_sizes()
    with monkeypatch.context() as patched:
        full_disk(patched, name, no_space)
        with pytest.raises(StoreError, match="No space left"):
            sign(world, run, version)
    assert world.log_sizes()[version] == before[version] + logged
    assert state_of(run) == left
    finished(world, run, version, before=before)


@VERSIONS
def test_the_process_killed_after_logging(
    world: World, run: RunDirectory, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    before = world.log_sizes()
    with monkeypatch.context() as patched:
        full_disk(patched, "envelope.json", lambda: os._exit(9))
        child = multiprocessing.get_context("fork").Process(
            target=sign, args=(world, run, version), daemon=True
        )
        child.start()
        child.join(60)
    assert child.exitcode == 9
    assert world.log_sizes()[version] == before[version] + 1
    finished(world, run, version, before=before)
    assert world.faults.requests(method="POST", path=FULCIO)[1:] == []


@VERSIONS
def test_a_lost_envelope_comes_back_from_its_signature_without_another_entry(
    world: World, run: RunDirectory, version: int
) -> None:
    before = world.log_sizes()
    first = sign(world, run, version)
    run.remove(RunFile.ENVELOPE)
    again = finished(world, run, version, before=before)
    assert first.log is not None
    assert again.log is not None
    assert again.log.index == first.log.index


@VERSIONS
@pytest.mark.parametrize("logged", [True, False], ids=["logged", "not-logged"])
def test_finished_after_the_certificate_ran_out(
    world: World,
    run: RunDirectory,
    monkeypatch: pytest.MonkeyPatch,
    version: int,
    logged: bool,
) -> None:
    before = world.log_sizes()
    world.faults.add("lost_response" if logged else "drop", path=REKOR, times=None)
    with pytest.raises(SigningUnavailableError):
        sign(world, run, version)
    prepared = run.read(RunFile.SIGNATURE)
    monkeypatch.setattr(PreparedSignature, "covers", lambda self, moment: False)
    finished(world, run, version, before=before)
    # Rekor v1 would date a new entry after the certificate's end, so a new signature is made.
    assert (run.read(RunFile.SIGNATURE) == prepared) == (logged or version == 2)


@VERSIONS
@pytest.mark.parametrize("damage", [b"", b"{}", b'{"version": 1}', b"\xff"])
def test_a_damaged_signature_on_its_way_is_made_again(
    world: World, run: RunDirectory, version: int, damage: bytes
) -> None:
    before = world.log_sizes()
    run.write(RunFile.SIGNATURE, damage)
    finished(world, run, version, before=before)


def test_a_run_is_not_signed_with_another_statement_than_its_signature_is_over(
    world: World, run: RunDirectory
) -> None:
    sign(world, run, 1)
    run.remove(RunFile.ENVELOPE)
    before = world.log_sizes()
    measure_otherwise(run)
    with pytest.raises(SigningRefusedError, match=r"signature\.json is over another content hash"):
        sign(world, run, 1)
    assert world.log_sizes() == before
    assert not run.has(RunFile.ENVELOPE)


@VERSIONS
@pytest.mark.parametrize("damage", [b"", b"{}", b"not json", b"{", None])
def test_a_damaged_envelope_comes_back_from_its_signature(
    world: World, run: RunDirectory, version: int, damage: bytes | None
) -> None:
    before = world.log_sizes()
    sign(world, run, version)
    data = bytearray(run.read(RunFile.ENVELOPE))
    data[len(data) // 2] ^= 1
    run.file(RunFile.ENVELOPE).write_bytes(data if damage is None else damage)
    finished(world, run, version, before=before)


def test_what_was_signed_is_not_signed_again_when_its_signature_is_lost_too(
    world: World, run: RunDirectory
) -> None:
    sign(world, run, 2)
    before = world.log_sizes()
    run.file(RunFile.ENVELOPE).write_bytes(b"{}")
    run.file(RunFile.SIGNATURE).unlink()
    with pytest.raises(SigningRefusedError, match="restore either from a backup"):
        sign(world, run, 2)
    assert world.log_sizes() == before


def test_a_signature_that_the_disk_damaged_is_named_and_nothing_is_signed(
    world: World, run: RunDirectory
) -> None:
    world.faults.add("lost_response", path=REKOR, times=None)
    with pytest.raises(SigningUnavailableError):
        sign(world, run, 2)
    world.faults.clear()
    before = world.log_sizes()
    data = run.read(RunFile.SIGNATURE)
    run.file(RunFile.SIGNATURE).write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedRunFileError, match=r"signature\.json has changed"):
        sign(world, run, 2)
    assert world.log_sizes() == before


def test_a_signature_of_somebody_the_policy_no_longer_allows_is_not_finished(
    world: World, run: RunDirectory
) -> None:
    world.faults.add("drop", path=REKOR, times=None)
    signer = world.signer(identity=world.identity("mallory@example.org"), policy=None)
    with pytest.raises(SigningUnavailableError):
        sign_run(run, signer, verify=world.verify)
    before = world.log_sizes()
    verdict = finished(world, run, 2, before=before)
    assert verdict.signer is not None
    assert verdict.signer.identity == world.policy.signers[0].identity
