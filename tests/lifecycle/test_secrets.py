"""No token is in anything the pipeline leaves: files, events, logs, repositories, command lines."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from tests.lifecycle.conftest import World, ask_for, failed_steps, serving, spec_for

_BLOCK_BYTES = 1 << 20
_TELLS_EVERYTHING = "Forbidden. You sent: authorization: Bearer {token}"
_COMMAND = "from inferencebench_pipeline.cli import main; main()"
_COMMAND_LINES: list[str] = []
_listening = False


def _listen(event: str, args: tuple[object, ...]) -> None:
    if event in {"subprocess.Popen", "os.exec", "os.posix_spawn"}:
        _COMMAND_LINES.append(repr(args[:2]))


@pytest.fixture
def command_lines() -> list[str]:
    """Every program this process starts from now on, with its arguments (not its environment)."""
    global _listening
    if not _listening:
        sys.addaudithook(_listen)  # for the life of the process: there is no way to take it off
        _listening = True
    _COMMAND_LINES.clear()
    return _COMMAND_LINES


@pytest.fixture
def kept(world: World, tmp_path: Path) -> Iterator[World]:
    """The world with a Dagster instance on disk, whose storage can be searched afterwards."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield replace(world, instance=instance)


def leaks(folder: Path, secrets: list[bytes]) -> list[str]:
    """Return the files below ``folder`` that hold a secret, as text or in a packed git object."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        unpacked = b""
        if data[:1] == b"x":
            try:
                unpacked = zlib.decompressobj().decompress(data, 64 * _BLOCK_BYTES)
            except zlib.error:
                unpacked = b""
        if any(secret in data or secret in unpacked for secret in secrets):
            found.append(str(path.relative_to(folder)))
    return found


def holds_any(text: str, secrets: list[str]) -> bool:
    return any(secret in text for secret in secrets)


def test_the_search_finds_a_token_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "plain.log").write_bytes(b"authorization: Bearer hf_secret")
    (tmp_path / "object").write_bytes(zlib.compress(b"blob 9\0hf_secret"))
    (tmp_path / "clean").write_bytes(b"nothing")
    assert leaks(tmp_path, [b"hf_secret"]) == ["object", "plain.log"]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_tokens_are_in_nothing_that_is_left_behind(
    kept: World,
    requested_run,
    measured_run,
    command_lines: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    environ = kept.sandbox.environ
    identity = Path(environ["INFERENCEBENCH_IDENTITY_TOKEN_FILE"]).read_text().strip()
    secrets = [kept.sandbox.token("write"), kept.sandbox.token("read"), identity]

    with serving() as engine:
        ask_for(requested_run, spec_for(engine.base_url))
        assert kept.materialise(requested_run).success
    kept.hub_faults.add(
        "status",
        path="/commit/",
        status=403,
        body=_TELLS_EVERYTHING.format(token=secrets[0]),
    )
    assert failed_steps(kept.materialise(measured_run)) == ["hub_dataset"]
    assert kept.materialise(measured_run).success
    said = [
        subprocess.run(
            [sys.executable, "-c", _COMMAND, *arguments],
            env={**os.environ, **environ, "INFERENCEBENCH_HOME": str(kept.settings.home)},
            capture_output=True,
            timeout=120,
            check=True,
        )
        for arguments in (
            ["publish", measured_run.run_id, "--update-model-card", "--dry-run"],
            ["publish", measured_run.run_id, "--update-model-card"],
            ["takedown", "nobody/gone", "--reason", "asked", "--requested-by", "its author"],
        )
    ]

    wanted = [secret.encode() for secret in secrets]
    assert command_lines
    assert not any(holds_any(line, secrets) for line in command_lines)
    printed = [text for done in said for text in (done.stdout.decode(), done.stderr.decode())]
    printed += capfd.readouterr()
    told = [line for text in printed for line in text.splitlines() if holds_any(line, secrets)]
    assert told == []
    assert leaks(tmp_path, wanted) == []
    state = kept.sandbox.state
    assert leaks(state / "hub" / "repos", wanted) == []
    assert leaks(state / "sigstore" / "logs", wanted) == []
    assert not any(secret in (state / "serve.log").read_bytes() for secret in wanted)
    events = "".join(
        repr(entry)
        for run in kept.instance.get_runs()
        for entry in kept.instance.all_logs(run.run_id)
    )
    assert "Published:" in events
    assert not holds_any(events, secrets)
