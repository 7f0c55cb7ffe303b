"""The command ``python -m inferencebench_pipeline.sandbox serve --state DIR``."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from pathlib import Path

from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.sandbox.hub.quotas import Quotas
from inferencebench_pipeline.sandbox.serve import ServeOptions, serve

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = _parser().parse_args(arguments)
    if options.parent_pid is not None:
        _stop_with_parent(options.parent_pid)
    try:
        serve(
            ServeOptions(
                state=options.state,
                host=options.host,
                hub_port=options.hub_port,
                sigstore_port=options.sigstore_port,
                quotas=Quotas(options.commits_per_hour, options.repositories_per_hour),
            ),
            announce=_say,
        )
    except PipelineError as error:
        sys.stderr.write(f"sandbox: {error}\n")
        return 1
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _stop_with_parent(parent_pid: int) -> None:
    """Have the kernel send SIGTERM when the process that started us dies, however it dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # The parent may have died before the kernel was asked to watch it.
    if os.getppid() != parent_pid:
        raise SystemExit("sandbox: the process that started it is gone")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m inferencebench_pipeline.sandbox")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("serve", help="serve the Hub and Sigstore stand-ins on loopback")
    command.add_argument("--state", type=Path, required=True, help="folder that keeps everything")
    command.add_argument("--host", default="127.0.0.1", help="a loopback address")
    command.add_argument("--hub-port", type=int, help="default: as last time, else a free port")
    command.add_argument("--sigstore-port", type=int, help="default: as --hub-port")
    command.add_argument("--commits-per-hour", type=int, help="quota per user; default: none")
    command.add_argument("--repositories-per-hour", type=int, help="quota per user; default: none")
    command.add_argument("--parent-pid", type=int, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
