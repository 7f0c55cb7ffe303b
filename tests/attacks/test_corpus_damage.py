"""Every file of a store, damaged in every way that is known, and then every step over it, twice.

The store is one that was built, and its files are found by walking it: a file that a later version
keeps is damaged too. No step may end in anything but the two families of errors; state heals by
itself, or after what the error says to do; nothing is signed a second time.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from inferencebench_pipeline.corpus.findings import FindingKind
from inferencebench_pipeline.corpus.inventory import GONE, Inventory
from inferencebench_pipeline.corpus.store import CorpusStore
from tests.attacks.corpus_store import (
    CorpusWorld,
    built,
    damaged_copy,
    differences,
    files_of,
    follow_advice,
    stopped_clock,
)
from tests.attacks.damage import DAMAGES, Damage, changed
from tests.chance import dice, drawn

__all__ = ["stopped_clock"]
_LONGEST_S = 120
BY_NAME = {damage.name: damage for damage in DAMAGES}
NEVER_MADE_AGAIN = {
    "takedowns.json",
    "evaluations.json",
    "nudge.json",
    "corpus/statement/signed.jsonl",
}
"""Files that nothing else restores: an error names them, or the work goes on without."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, stopped_clock: None) -> CorpusWorld:
    return built(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def not_for_ever() -> Iterator[None]:
    """A step that waits for a pipe, or reads a device without end, is a failure."""

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"still not finished after {_LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_LONGEST_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def survives(world: CorpusWorld, folder: Path, name: str, damage: Damage) -> None:
    """Damage one file, run every step twice, do what errors say, and compare."""
    before = world.content()
    with damaged_copy(world, folder) as other:
        path = other.store / name
        damage.inflict(path)
        if not changed(path, (world.store / name).read_bytes()):
            return
        other.run()
        failed = other.run()
        if failed:
            done = follow_advice(other, failed, world.store)
            assert done, f"no error names a file: {failed}"
            other.run()
            failed = other.run()
        assert not failed
        if name in lost_for_good(world):
            assert FindingKind.BLOB_DAMAGED in other.findings(), "a silent loss"
            return
        wrong = differences(before, other.content())
        here = {found for found in wrong if found == name or found.startswith(f"{name}/")}
        if wrong.keys() != here or name not in _forgettable(name):
            assert not wrong
        assert not other.signed, "signed a second time"


def lost_for_good(world: CorpusWorld) -> set[str]:
    """Return the files whose bytes no Hub has any more: those of what vanished from it."""
    return {
        f"corpus/blobs/{sha256}"
        for entry in Inventory.load(CorpusStore(world.store)).entries
        if entry.state in GONE
        for sha256 in (entry.envelope_sha256, entry.traces_sha256)
    }


def _forgettable(name: str) -> set[str]:
    """Return the file itself where nothing in these steps reads it, or can bring it back."""
    of_automation = name == "nudge.json" or name.startswith(("schedules/", "runs/"))
    return {name} if of_automation or name in NEVER_MADE_AGAIN else set()


def sample(names: list[str]) -> list[tuple[str, str]]:
    """Return some of the files, each with a kind of damage that no other of them has."""
    kinds = [damage.name for damage in DAMAGES]
    dice("damage of the corpus").shuffle(kinds)
    return list(zip(drawn("files of the corpus", names, 12), kinds, strict=False))


def test_some_files_survive_some_damage(world: CorpusWorld, tmp_path: Path) -> None:
    names = files_of(world)
    assert len(names) > 25
    wrong: dict[str, str] = {}
    for name, kind in sample(names):
        signal.alarm(_LONGEST_S)
        try:
            survives(world, tmp_path, name, BY_NAME[kind])
        except (Exception, AssertionError) as error:
            wrong[f"{name}: {kind}"] = f"{type(error).__name__}: {error}"[:1500]
    assert not wrong, "\n\n".join(f"{what}\n  {why}" for what, why in wrong.items())


@pytest.mark.nightly
@pytest.mark.parametrize("kind", BY_NAME)
def test_every_file_survives_every_damage(world: CorpusWorld, tmp_path: Path, kind: str) -> None:
    wrong: dict[str, str] = {}
    for name in files_of(world):
        signal.alarm(_LONGEST_S)
        try:
            survives(world, tmp_path, name, BY_NAME[kind])
        except (Exception, AssertionError) as error:
            wrong[name] = f"{type(error).__name__}: {error}"[:1500]
    assert not wrong, "\n\n".join(f"{what}\n  {why}" for what, why in wrong.items())
