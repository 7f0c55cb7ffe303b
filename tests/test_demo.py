"""``make demo``: the whole life of a run with the real engine, and what Ctrl-C leaves behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.leaderboard.index.build import load_leaderboard
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore
from inferencebench_pipeline.sandbox.process import running_sandbox
from tests.chance import parametrized
from tests.paths import REPOSITORY as CLONE

pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(300)]

STAGES = [
    "benchmark_run",
    "traces",
    "envelope",
    "signature",
    "hub_dataset",
    "model_card_backlink",
    "published_corpus",
    "corpus_verification",
    "leaderboard_index",
]
STOPPED_BY = [signal.SIGINT, signal.SIGTERM]


def _start(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "inferencebench_pipeline.demo"],
        cwd=CLONE,
        env=os.environ | {"INFERENCEBENCH_HOME": str(home), "COLUMNS": "300"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _processes_naming(text: str) -> list[str]:
    """Command lines of live processes that mention ``text``, ours excepted."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and int(entry.parent.name) != os.getpid():
            found.append(line)
    return found


def test_the_demo_takes_a_run_through_its_whole_life_and_says_where_to_look(tmp_path):
    process = _start(tmp_path)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    lines = [line.strip() for line in output.splitlines()]
    assert [stage for stage in lines if stage in STAGES] == STAGES
    assert "✗" not in output
    assert not _processes_naming(str(tmp_path))

    (run_id,) = RunStore(tmp_path / "store").run_ids()
    run = RunStore(tmp_path / "store").run(run_id)
    receipt = Receipt.model_validate_json(run.read(RunFile.PUBLICATION))
    (row,) = load_leaderboard(LeaderboardStore(tmp_path / "store")).runs
    assert (row.repo_id, row.revision) == (receipt.repo_id, receipt.commit)
    for promised in (str(run.path), receipt.url, "leaderboard/site/index.html", "make ui"):
        assert promised in output

    command = next(line for line in lines if line.startswith("verify it")).split("verify it")[1]
    offline = subprocess.run(shlex.split(command), cwd=CLONE, capture_output=True, text=True)
    assert offline.returncode == 0, offline.stdout + offline.stderr
    assert "VERIFIED" in offline.stdout

    with running_sandbox(tmp_path / "sandbox") as sandbox:
        from_the_hub = subprocess.run(
            [
                sys.executable,
                "-c",
                "from inferencebench_pipeline.cli import main; main()",
                "verify",
                f"hf://datasets/{receipt.repo_id}",
            ],
            env=os.environ | sandbox.environ | {"COLUMNS": "80"},
            capture_output=True,
            text=True,
        )
    assert from_the_hub.returncode == 0, from_the_hub.stdout + from_the_hub.stderr
    assert f"{receipt.commit}/envelope.json" in from_the_hub.stdout


@pytest.mark.parametrize("number", parametrized("end of the demo", STOPPED_BY, 1), ids=str)
def test_stopping_the_demo_while_it_measures_leaves_nothing_running(tmp_path, number):
    process = _start(tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if "measuring" in line:
            break
    process.send_signal(number)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "Nothing is left running" in output
    deadline = time.monotonic() + 5
    while _processes_naming(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _processes_naming(str(tmp_path))
