"""``make ui``: the Dagster UI on the demo's state, with the sandbox up for as long as it runs."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

from inferencebench_pipeline.demo.local import CLONE, local_deployment


def main() -> int:
    """Run ``dagster dev`` until it ends or Ctrl-C; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=3000, help="port of the UI on 127.0.0.1")
    port = parser.parse_args().port
    with local_deployment() as sandbox:
        print(f"Hub (sandbox)  {sandbox.hub_url}")
        print(
            f"Dagster UI     http://127.0.0.1:{port}  (ready in 10-15 s; Ctrl-C stops everything)"
        )
        command = [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(port)]
        command += ["-w", str(CLONE / "workspace.yaml")]
        # Not in the clone: its dagster.yaml would be reported as the one that is not used.
        with subprocess.Popen(command, cwd=os.environ["DAGSTER_HOME"]) as dagster:  # noqa: S603  (our own arguments)
            try:
                return dagster.wait()
            except KeyboardInterrupt:
                # The terminal has sent it the signal too; a second one would cut its clean-up.
                dagster.send_signal(signal.SIGINT)
                return dagster.wait(timeout=30)


if __name__ == "__main__":
    sys.exit(main())
