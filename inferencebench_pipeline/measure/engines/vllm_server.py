"""Becomes ``vllm serve``, after asking the kernel to end it with the process that started it."""

from __future__ import annotations

import os
import sys

from inferencebench_pipeline.measure.child import die_with_parent


def main() -> None:
    """Replace this process by ``vllm serve`` with our arguments."""
    die_with_parent()
    os.execv(  # noqa: S606 - the death signal outlives exec, which a new process would not inherit
        sys.executable,
        [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", *sys.argv[1:]],
    )


if __name__ == "__main__":
    main()
