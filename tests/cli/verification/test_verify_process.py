"""``verify`` as a script runs it: a process of its own ends with the code of each outcome."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from inferencebench_pipeline.envelope.canonical import parse_envelope, serialise
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from tests.envelope.measured import write_measured
from tests.trust.conftest import World, running_world  # noqa: F401  # a fixture

PROGRAM = "from inferencebench_pipeline.cli import main; main()"
NOWHERE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "HF_ENDPOINT"), "http://127.0.0.1:9")
CARD = "---\ninferencebench:\n  model: somebody/another-model\n---\n# Results\n"

Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A measured run that nobody has signed."""
    run = RunStore(tmp_path_factory.mktemp("runs")).run(new_run_id())
    run.path.mkdir(parents=True)
    write_measured(run)
    return run.path


def signed_into(folder: Path, unsigned: Path, world: World, **stated: str) -> None:
    """Put a record into a folder, signed and logged by the sandbox, with versions as stated."""
    document = json.loads((unsigned / RunFile.UNSIGNED_ENVELOPE.value).read_bytes())
    document["inferencebench_pipeline"] |= stated
    envelope = world.signer().sign(parse_envelope(json.dumps(document).encode()))
    (folder / "envelope.json").write_bytes(serialise(envelope))
    (folder / "traces.parquet").write_bytes((unsigned / RunFile.TRACES.value).read_bytes())


def nothing(_folder: Path) -> None:
    pass


def number_changed(folder: Path) -> None:
    document = json.loads((folder / "envelope.json").read_bytes())
    document["metrics"]["output_tok_per_s"] = 99_999.0
    (folder / "envelope.json").write_text(json.dumps(document))


def traces_left_out(folder: Path) -> None:
    (folder / "traces.parquet").unlink()


def another_card(folder: Path) -> None:
    (folder / "README.md").write_text(CARD)


def nothing_there(folder: Path) -> None:
    (folder / "envelope.json").unlink()


CASES: dict[str, tuple[Change, dict[str, str], int, str]] = {
    "as it was signed": (nothing, {}, 0, "VERIFIED: "),
    "a number changed": (number_changed, {}, 1, "REJECTED: "),
    "nothing there": (nothing_there, {}, 2, ""),
    "no traces": (traces_left_out, {}, 4, "INCOMPLETE: "),
    "later definitions": (nothing, {"metric_definitions": "99"}, 5, "NEWER: "),
    "another card": (another_card, {}, 6, "REJECTED: the record is genuine, but another one "),
}


@pytest.mark.parametrize("case", CASES)
def test_a_process_ends_with_the_code_of_its_outcome(
    case: str,
    unsigned: Path,
    running_world: World,  # noqa: F811
    tmp_path: Path,
) -> None:
    change, stated, code, last = CASES[case]
    running_world.faults.clear()
    signed_into(tmp_path, unsigned, running_world, **stated)
    change(tmp_path)
    trust = running_world.trust_config
    rules = ("--trust-config", str(trust), "--policy", str(trust.with_name("policy.yaml")))
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("INFERENCEBENCH", "HF_", "XDG_"))
    }

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "verify", str(tmp_path), *rules],
        env=environ | NOWHERE | {"COLUMNS": "200", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout.rstrip("\n").split("\n")[-1].startswith(last)
    assert bool(done.stderr) == (code == 2), done.stderr
