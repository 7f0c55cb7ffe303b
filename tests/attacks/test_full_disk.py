"""A disk that is full, read-only or somebody else's, under everything that writes a store.

Every step over corpus and leaderboard runs on it, from an empty store on, so that a writer that a
later version adds is met too. What fails says so in one of the two families of errors; when the
disk is well again, every step runs, and the store holds what it would have held.
"""

from __future__ import annotations

import ast
import os
import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inferencebench_pipeline.files.atomic_writes import StoreError
from tests.attacks.corpus_store import (
    CorpusWorld,
    automation_state,
    built,
    differences,
    stopped_clock,
)
from tests.paths import PACKAGE

__all__ = ["stopped_clock"]
_HALF_WRITTEN = re.compile(r"\.(?!damaged$)[a-z0-9_]{8}$")
SIZES_KB = (0, 24, 60, 120, 240, 480)
"""Of what is left on the disk; the whole store takes somewhat more."""
LIMITS = (0, 400, 5_000, 20_000)
"""Bytes that a file may have: a limit that needs no rights to set, and that strikes each writer."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, stopped_clock: None) -> CorpusWorld:
    return built(tmp_path_factory.mktemp("world"))


@contextmanager
def tmpfs(folder: Path, size_kb: int) -> Iterator[Path]:
    """A disk of its own; a skip that says so where this host allows none."""
    folder.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)], check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no tmpfs can be mounted here, so no disk runs full: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def comes_back(world: CorpusWorld, ill: CorpusWorld) -> None:
    """The disk is well again: two passes, and the store is what it is elsewhere."""
    automation_state(ill.store)
    ill.run()
    assert not ill.run()
    known = {name: data for name, data in world.content().items() if not _of_its_own(name)}
    now = {name: data for name, data in ill.content().items() if not _of_its_own(name)}
    assert not differences(known, now)
    left = [path.name for path in ill.store.rglob(".*") if _HALF_WRITTEN.search(path.name)]
    assert not left, "half-written files are left behind"


def _of_its_own(name: str) -> bool:
    """Return whether a file says what only the first store saw: a record that vanished, times."""
    return name in {"nudge.json"} or name.startswith(("corpus/statement/",))


@needs_root
@pytest.mark.parametrize("size_kb", SIZES_KB)
def test_a_full_disk_is_said_and_heals_when_there_is_room(
    world: CorpusWorld, tmp_path: Path, size_kb: int
) -> None:
    with tmpfs(tmp_path / "disk", 1024) as disk:
        ill = CorpusWorld(world.hub, disk / "store")
        shutil.copytree(world.store / "corpus", ill.store / "corpus")
        used_kb = int(subprocess.check_output(["du", "-sk", str(disk)]).split()[0])
        shutil.rmtree(ill.store / "corpus/verdicts")
        (ill.store / "corpus/records.parquet").unlink()
        filler = disk / "filler"
        remount(disk, f"size={used_kb + size_kb}k")
        _fill(filler, leaving_kb=size_kb)
        failed = [ill.run(), ill.run()]
        _writes_fail_in_the_family(ill.store)
        assert size_kb > 240 or failed[1]
        remount(disk, "size=64m")
        filler.unlink(missing_ok=True)
        comes_back(world, ill)


def _fill(path: Path, *, leaving_kb: int) -> None:
    free = shutil.disk_usage(path.parent).free - leaving_kb * 1024
    if free > 0:
        path.write_bytes(bytes(free))


def _writes_fail_in_the_family(store: Path) -> None:
    try:
        automation_state(store)
    except StoreError as error:
        assert "free space or fix the permissions" in str(error)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Python ignores the signal, so that a write beyond the limit is an error of the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", LIMITS)
def test_a_limit_on_files_is_said_and_heals_when_it_is_lifted(
    world: CorpusWorld, tmp_path: Path, size: int
) -> None:
    ill = CorpusWorld(world.hub, tmp_path / "store")
    shutil.copytree(world.store / "corpus", ill.store / "corpus")
    shutil.rmtree(ill.store / "corpus/verdicts")
    with files_of_at_most(size):
        failed = ill.run()
        _writes_fail_in_the_family(ill.store)
    assert failed
    assert all(isinstance(error, Exception) for error in failed.values())
    comes_back(world, ill)


@needs_root
def test_a_disk_that_turned_read_only_is_said(world: CorpusWorld, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", 64 * 1024) as disk:
        ill = CorpusWorld(world.hub, disk / "store")
        shutil.copytree(world.store, ill.store)
        remount(disk, "ro")
        failed = ill.run()
        assert {"crawl", "verification", "index"} <= failed.keys()
        assert "Read-only file system" in str(failed["crawl"])
        with pytest.raises(StoreError, match="Read-only file system"):
            automation_state(ill.store)
        remount(disk, "rw")
        comes_back(world, ill)


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_store_of_somebody_else_is_said(world: CorpusWorld, mode: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        hub = Path(folder) / "hub"
        shutil.copytree(world.hub.folder, hub)
        ill = CorpusWorld(world.hub, Path(folder) / "store")
        shutil.copytree(world.store, ill.store)
        for path in (ill.store, *ill.store.rglob("*")):
            path.chmod(mode if path.is_dir() else mode & 0o644)
        world.hub.folder, before = hub, world.hub.folder
        os.seteuid(65534)
        try:
            failed = ill.run()
            with pytest.raises(StoreError, match="Permission denied"):
                automation_state(ill.store)
        finally:
            os.seteuid(0)
            world.hub.folder = before
        assert {"crawl", "verification", "index"} <= failed.keys()
        assert all("ermission denied" in str(error) for error in failed.values())
        assert not ill.run()


_WRITERS = {"write_text", "write_bytes", "write_table", "to_parquet", "write_parquet"}
_ALLOWED = {
    # The road itself.
    "files/atomic_writes.py": {"write_bytes"},
    # Into a buffer in memory, which is then written by the road.
    "corpus/inventory.py": {"write_table"},
    "corpus/statement/statement.py": {"write_table"},
    "leaderboard/index/parquet/tables.py": {"write_table"},
    "measure/telemetry/document.py": {"write_table"},
    # Into the temporary file that the road yields.
    "runs/run_directory.py": {"write_bytes"},
    "corpus/records.py": {"write_table"},
    "leaderboard/index/export.py": {"write_table", "ParquetWriter"},
    "measure/run/trace_writer.py": {"write_table", "ParquetWriter"},
    # The spools and folders of a capture, which have errors of their own.
    "measure/client/capture.py": {"open", "write_text"},
    "measure/child_process.py": {"open"},
    "measure/telemetry/sampler.py": {"open"},
    # A note on who holds a lock, which is done without when the disk refuses.
    "runs/run_lock.py": {"write_text"},
    # Deliveries, into a folder that is renamed whole.
    "inbox/storage.py": {"open", "fdopen"},
    # A new key or policy, which must not be there before.
    "cli/policy/policies.py": {"open"},
    "trust/verify/dev_key.py": {"fdopen"},
}
"""Places that write files, by the calls made there. Another place needs a reason, and a test."""
_ELSEWHERE = ("sandbox", "demo")
"""Folders that no production runs."""


def written_in(module: Path) -> set[str]:
    """Return the calls of a module that write files: by name, and every writing ``open``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and re.match(r"\s*COPY\s.*\sTO\s", text, re.S):
            found.add("COPY")
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        modes = [
            argument.value
            for argument in [*node.args, *(keyword.value for keyword in node.keywords)]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        ]
        writes = any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes)
        if name in _WRITERS | {"ParquetWriter"} or (name in {"open", "fdopen"} and writes):
            found.add(name)
    return found


def test_files_are_written_by_one_road() -> None:
    modules = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    beside = {
        name: calls - _ALLOWED.get(name, set())
        for name, calls in ((name, written_in(path)) for name, path in modules.items())
        if not name.startswith(_ELSEWHERE) and calls - _ALLOWED.get(name, set())
    }
    assert beside == {}, "use files.write_atomically"
    unused = {name for name in _ALLOWED if name not in modules or not written_in(modules[name])}
    assert unused == set(), "an allowance that nothing needs lets the next fault through"
