"""The local deployment: the folder of its state, and the environment that names its sandbox."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from inferencebench_pipeline.sandbox import SandboxEnvironment, running_sandbox

CLONE = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("INFERENCEBENCH_HOME") or CLONE / ".inferencebench").absolute()


@contextlib.contextmanager
def local_deployment(home: Path = HOME) -> Iterator[SandboxEnvironment]:
    """Start the sandbox and point this process's environment at it.

    Enter it before ``huggingface_hub`` or ``dagster`` is imported, because both read the
    environment at their import. The folder ``home`` is reused the next time. SIGTERM ends the block
    as Ctrl-C does, so that nothing is left running.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    # Dagster reads the file in DAGSTER_HOME and no other. It is
    # copied anew, since it may have changed.
    shutil.copyfile(CLONE / "dagster.yaml", dagster_home / "dagster.yaml")
    with running_sandbox(home / "sandbox") as sandbox:
        os.environ.update(sandbox.environ)
        os.environ["INFERENCEBENCH_HOME"] = str(home)
        os.environ["DAGSTER_HOME"] = str(dagster_home)
        # The cards are the sandbox's own, so the demo shows the
        # link that a deployment must ask for.
        os.environ.setdefault("INFERENCEBENCH_UPDATE_MODEL_CARD", "1")
        yield sandbox
