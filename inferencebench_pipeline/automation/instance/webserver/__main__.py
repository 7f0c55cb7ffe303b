"""The command ``python -m inferencebench_pipeline.automation.instance.webserver``."""

from __future__ import annotations

from .server import main

main()
