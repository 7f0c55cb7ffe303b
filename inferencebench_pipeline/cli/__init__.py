"""The command line ``inferencebench``: the same domain for people without Dagster."""

from inferencebench_pipeline.cli.app import main

__all__ = ["main"]
