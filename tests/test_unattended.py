"""The unattended stretch leaves nothing behind, however it ends."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.paths import REPOSITORY as CLONE


def processes_of(home: Path) -> list[str]:
    """Return the command lines of all processes that live in ``home``, the sandbox included."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes()
            if str(home).encode() in line + (entry / "environ").read_bytes():
                found.append(line.decode(errors="replace"))
    return found


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_a_stretch_that_is_told_to_end_takes_everything_with_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "benchmarks/unattended.py", "--minutes", "9", "--home", str(home)]
    with (
        (tmp_path / "said").open("wb") as said,
        subprocess.Popen(
            command,
            cwd=CLONE,
            env={**os.environ, "PYTHONPATH": str(CLONE)},
            stdout=said,
            stderr=said,
        ) as stretch,
    ):
        deadline_s = time.monotonic() + 300
        while b"min left" not in (tmp_path / "said").read_bytes():
            assert stretch.poll() is None, (tmp_path / "said").read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.5)
        assert any("dagster._daemon" in line for line in processes_of(home))
        stretch.terminate()
        assert stretch.wait(240) == 128 + 15
    assert processes_of(home) == []
    assert "Traceback" not in (tmp_path / "said").read_text()
