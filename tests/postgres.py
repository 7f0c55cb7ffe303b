"""A real PostgreSQL of one's own: made in a temporary folder, stopped and removed at the end."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_UNPRIVILEGED = ("postgres", "nobody")
"""PostgreSQL refuses to run as root; as root it is run as the first of these that exists."""


@dataclass(frozen=True)
class Postgres:
    """One server on loopback with one database that asks for a password."""

    programs: Path
    folder: Path
    port: int
    password: str

    @property
    def environ(self) -> dict[str, str]:
        """What ``deploy/dagster.postgres.yaml`` reads."""
        return {
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(self.port),
            "DAGSTER_POSTGRES_DB": "postgres",
            "DAGSTER_POSTGRES_USER": "dagster",
            "DAGSTER_POSTGRES_PASSWORD": self.password,
        }

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder}"
        self._run("pg_ctl", "start", "-w", "-t", "60", "-l", self.folder / "log", "-o", options)

    def stop(self) -> None:
        """Stop at once, as a crash would: open transactions are lost."""
        self._run("pg_ctl", "stop", "-w", "-t", "60", "-m", "immediate")

    def restart(self) -> None:
        self.stop()
        self.start()

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments, "-D", self.folder / "data"],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            timeout=120,
            **_identity(),
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _identity() -> dict[str, Any]:
    """Whom to run the server as, for ``subprocess``."""
    if os.getuid() != 0:
        return {}
    for name in _UNPRIVILEGED:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    pytest.skip(f"PostgreSQL does not run as root, and there is no user {_UNPRIVILEGED}")


def _programs() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "pg_ctl").is_file():
            return folder
    pytest.skip("PostgreSQL is not installed (initdb, pg_ctl): apt-get install postgresql")


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server; skips, by name, where PostgreSQL is not installed."""
    programs, identity = _programs(), _identity()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not below pytest's own folder, which only its owner may enter.
    with tempfile.TemporaryDirectory(prefix="inferencebench-postgres-") as name:
        folder = Path(name)
        server = Postgres(programs, folder, port, secrets.token_urlsafe(16))
        secret = folder / "password"
        secret.write_text(server.password)
        if identity:
            for path in (folder, secret):
                os.chown(path, identity["user"], identity["group"])
        server._run(
            "initdb", "-A", "scram-sha-256", "-U", "dagster", f"--pwfile={secret}", "--no-sync"
        )
        secret.unlink()
        server.start()
        try:
            yield server
        finally:
            # A test may have stopped it itself.
            if (folder / "data/postmaster.pid").is_file():
                server.stop()
