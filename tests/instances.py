"""Dagster instances with Dagster's real storage, each a copy of one that a process made once.

Creating the tables costs three times what copying the files does, and two hundred tests want an
instance of their own.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import dagster as dg


@cache
def _template() -> Path:
    """Return a folder with the files of an instance that nothing has happened in."""
    folder = Path(tempfile.mkdtemp(prefix="instance-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with dg.instance_for_test(temp_dir=str(folder)) as instance:
        # Each of these storages makes its tables when it is first asked.
        instance.get_runs()
        instance.event_log_storage.get_asset_records()
        instance.all_instigator_state()
    return folder


@contextmanager
def fresh_instance() -> Iterator[dg.DagsterInstance]:
    """Yield an instance of its own folder, with real storage and no history."""
    with tempfile.TemporaryDirectory(prefix="instance-", ignore_cleanup_errors=True) as folder:
        shutil.copytree(_template(), folder, dirs_exist_ok=True)
        with dg.instance_for_test(temp_dir=folder) as instance:
            yield instance
