"""Dagster's migration scripts, which each process of the tests reads from the disk once.

Every storage that Dagster opens asks for the newest migration, a run's own event log too, and
Alembic then reads and executes a hundred files each time: a quarter of the time of the tests that
have an instance.
"""

from __future__ import annotations

import sys


def read_once() -> None:
    """Let Alembic keep what it read of a folder of scripts, if this process has Alembic."""
    if "alembic.script" not in sys.modules:
        return
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    if hasattr(ScriptDirectory, "_read_once"):
        return
    read = ScriptDirectory.from_config
    kept: dict[str | None, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in kept:
            kept[location] = read(config)
        return kept[location]

    ScriptDirectory._read_once = True  # type: ignore[attr-defined]
    ScriptDirectory.from_config = from_config  # type: ignore[method-assign]
