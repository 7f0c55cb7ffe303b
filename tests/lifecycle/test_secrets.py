"""No token is in anything the pipeline leaves: files, events, logs, repositories, command lines."""

from __future__ import annotations

import base64
import gzip
import os
import sqlite3
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.lifecycle.conftest import World, ask_for, failed_steps, serving, spec_for
from tests.lifecycle.secret_search import leaks, spellings

_SECRET = "hf_0123456789abcdefghijABCDEFGHIJ"
_TELLS_EVERYTHING = "Forbidden. You sent: authorization: Bearer {token}"
_COMMAND = "from inferencebench_pipeline.cli import main; main()"
_LISTENER = """\
import os, sys

def listen(event, args):
    if event in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}:
        with open(os.environ["COMMAND_LINES"], "a") as log:
            log.write(f"{args[:2]!r}\\n")

sys.addaudithook(listen)
"""


@pytest.fixture
def command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that every Python process below this one adds to: what it starts, with arguments."""
    folder = tmp_path / "listener"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_LISTENER)
    log = folder / "command-lines"
    search_path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", search_path)
    monkeypatch.setenv("COMMAND_LINES", str(log))
    _listen_here(log)
    return log


_listening_to: list[Path] = []


def _listen_here(log: Path) -> None:
    """Note what this process starts as well; a hook stays for the life of the process."""
    if not _listening_to:
        sys.addaudithook(_listen)
    _listening_to[:] = [log]


def _listen(event: str, args: tuple[object, ...]) -> None:
    if event in {"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}:
        with _listening_to[0].open("a") as log:
            log.write(f"{args[:2]!r}\n")


@pytest.fixture
def kept(world: World, tmp_path: Path) -> Iterator[World]:
    """The world with a Dagster instance on disk, whose storage can be searched afterwards."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield replace(world, instance=instance)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where everything is that a program leaves in its user's home, and in temporary files."""
    home = tmp_path / "user"
    (home / "tmp").mkdir(parents=True)
    for name, folder in {"HOME": "", "XDG_CACHE_HOME": ".cache", "TMPDIR": "tmp"}.items():
        monkeypatch.setenv(name, str(home / folder))
    monkeypatch.setenv("HF_HOME", str(home / "hf"))
    return home


def test_the_search_finds_a_secret_in_whatever_holds_it(tmp_path: Path) -> None:
    long = f"{'.' * 9000}{_SECRET}{'.' * 9000}"
    (tmp_path / "plain.log").write_bytes(f"authorization: Bearer {_SECRET}".encode())
    (tmp_path / "object").write_bytes(zlib.compress(f"blob 9\0{_SECRET}".encode()))
    (tmp_path / "log.gz").write_bytes(gzip.compress(_SECRET.encode()))
    with zipfile.ZipFile(tmp_path / "archive", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", _SECRET)
    table = pa.table({"text": [long] * 3})
    pq.write_table(table, tmp_path / "column.parquet", compression="zstd")
    noted = pa.table({"text": ["x"]}).replace_schema_metadata({"note": _SECRET})
    pq.write_table(noted, tmp_path / "metadata.parquet", compression="zstd")
    with sqlite3.connect(tmp_path / "events.db") as connection:
        connection.execute("create table events (body text)")
        connection.execute("insert into events values (?)", (long,))
    for number, prefix in enumerate(("", "a", "ab")):
        encoded = base64.b64encode(f"{prefix}:{_SECRET}:x".encode())
        (tmp_path / f"basic-{number}").write_bytes(encoded)
    expected = {path.name for path in tmp_path.iterdir()}
    (tmp_path / "clean").write_bytes(b"hf_0123456789")
    assert len(expected) == 10
    assert leaks(tmp_path, [_SECRET]) == expected


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_tokens_are_in_nothing_that_is_left_behind(
    kept: World,
    requested_run,
    measured_run,
    command_lines: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    environ = kept.sandbox.environ
    identity = Path(environ["INFERENCEBENCH_IDENTITY_TOKEN_FILE"])
    secrets = [
        kept.sandbox.token("write"),
        kept.sandbox.token("read"),
        identity.read_text().strip(),
    ]
    # In the environment itself, where every child inherits it, not in a file.
    monkeypatch.setenv("HF_TOKEN", secrets[0])
    monkeypatch.delenv("HF_TOKEN_PATH")

    with serving() as engine:
        ask_for(requested_run, spec_for(engine.base_url))
        assert kept.materialise(requested_run).success
    # Servers that repeat in their answers what they were sent.
    kept.sigstore_faults.add(
        "status", method="POST", status=400, body=_TELLS_EVERYTHING.format(token=secrets[2])
    )
    assert failed_steps(kept.materialise(measured_run)) == ["signature"]
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
            env={**os.environ, "INFERENCEBENCH_HOME": str(kept.settings.home)},
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
    secrets.append(identity.read_text().strip())  # it is renewed now and then

    started = command_lines.read_text()
    assert "cli" in started
    assert not any(secret in started for secret in secrets)
    printed = [text for done in said for text in (done.stdout.decode(), done.stderr.decode())]
    printed += capfd.readouterr()
    wanted = [spelling.decode("latin-1") for secret in secrets for spelling in spellings(secret)]
    told = [
        line for text in printed for line in text.splitlines() if any(w in line for w in wanted)
    ]
    assert told == []
    assert leaks(tmp_path, secrets) == set()
    assert (tmp_path / "dagster").is_dir()
    assert home.is_relative_to(tmp_path)
    holders = leaks(kept.sandbox.state, secrets)
    assert holders <= {"hub/tokens/write", "hub/tokens/read", "sigstore/identity-token"}
    events = "".join(
        repr(entry)
        for run in kept.instance.get_runs()
        for entry in kept.instance.all_logs(run.run_id)
    )
    assert "Published:" in events
    assert not any(secret in events for secret in secrets)


def test_the_log_of_command_lines_sees_children_and_grandchildren(
    command_lines: Path,
) -> None:
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '# {_SECRET}'])"
    subprocess.run([sys.executable, "-c", inner], check=True, timeout=60)
    assert sum(_SECRET in line for line in command_lines.read_text().splitlines()) == 2
