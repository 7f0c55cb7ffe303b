"""The command ``make ui``: the Dagster UI on the demo's state, while the sandbox runs."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from inferencebench_pipeline.demo.local import CLONE, local_deployment

_LONGEST_STOP_S = 30


def main() -> int:
    """Run the webserver and the daemon until Ctrl-C, and return 0, or 1 when one of them ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=3000, help="the port of the UI on 127.0.0.1")
    port = parser.parse_args().port
    workspace = ["-w", str(CLONE / "workspace.yaml")]
    # Not `dagster dev`: its webserver lets any page that is open in the same browser launch runs.
    webserver = [
        "inferencebench_pipeline.automation.instance.webserver",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    with local_deployment() as sandbox, ExitStack() as stack:
        # Before the daemon, which does not hold back the first runs in a pool that it never saw. It
        # also creates the database, over which two processes at once could collide.
        _hold_pools()
        print(f"Hub (sandbox)  {sandbox.hub_url}")
        print(
            f"Dagster UI     http://127.0.0.1:{port}  (ready in 10-15 s; Ctrl-C stops everything)",
            flush=True,
        )
        try:
            for module, *options in (webserver, ["dagster._daemon", "run"]):
                stack.enter_context(_running([module, *options, *workspace]))
            # Returns when the first part ends, and leaves that part for its own block to collect.
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        except KeyboardInterrupt:
            return 0
    print("A part of Dagster ended by itself; its messages are above.", file=sys.stderr)
    return 1


def _hold_pools() -> None:
    # Imported here, because Dagster reads the environment at its import.
    import dagster as dg

    from inferencebench_pipeline.automation.instance.pools import hold_pools

    with dg.DagsterInstance.get() as instance:
        hold_pools(instance)


@contextmanager
def _running(module: list[str]) -> Iterator[None]:
    """Run ``python -m module ...`` for the duration of the block, and stop it politely."""
    # It does not run in the clone, whose dagster.yaml Dagster would report as unused. It has a
    # session of its own, because the second of two signals (the terminal's and ours) would cut its
    # clean-up short.
    process = subprocess.Popen(  # noqa: S603  (our own arguments)
        [sys.executable, "-m", *module], cwd=os.environ["DAGSTER_HOME"], start_new_session=True
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=_LONGEST_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
