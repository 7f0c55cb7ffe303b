"""Every file of a finished run, damaged in every way, and then every later stage, twice.

No traceback outside the two families of errors, no second signature in the log, no second dataset,
and the published bytes stay what they are. Each run tries a part, and ``make nightly`` all of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import pytest

from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.envelope.build import write_envelope
from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.hub.dataset.publication import publish
from inferencebench_pipeline.hub.dataset.published_files import read_back, restore
from inferencebench_pipeline.hub.dataset.receipt import require_receipt
from inferencebench_pipeline.hub.model_card.backlink_edit import read_backlink, skip_backlink
from inferencebench_pipeline.measure.errors import EngineUnreachableError
from inferencebench_pipeline.measure.run.measurement import write_measurement
from inferencebench_pipeline.measure.run.own_spec import spec_of_run
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.trace_writer import write_traces
from inferencebench_pipeline.parking import parked_state
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from inferencebench_pipeline.settings import Settings
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from tests.attacks.damage import DAMAGES, Damage, changed, each_place, swapped_with
from tests.chance import drawn
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import ignore_progress, spec_for

_LONGEST_STAGE_S = 60
_USUAL_CASES = 12
KINDS = (*DAMAGES, *each_place(places=4))


@dataclass(frozen=True)
class World:
    """A deployment on the sandbox, and two runs that are published."""

    deployment: Deployment
    sandbox: SandboxEnvironment
    finished: RunDirectory
    other: RunDirectory

    def stages(self, run: RunDirectory) -> dict[str, Callable[[], object]]:
        """Return what the shell and the steps do with a run, in their order."""
        hub, verify = self.deployment.hub(), self.deployment.own_verifier()
        organisation = self.deployment.require_organisation()

        def say(_line: str) -> None:
            """Take a line of progress."""

        def signed() -> object:
            restore(hub, run, verify=verify, on_stage=say)
            return sign_run(run, self.deployment.signer(), verify=verify)

        def judged() -> object:
            verdict = verify(run.read(RunFile.ENVELOPE), run.read(RunFile.TRACES))
            return run.write(RunFile.VERDICT, verdict.model_dump_json(indent=2).encode())

        def published() -> object:
            return publish(hub, run, organisation=organisation, verify=verify, on_stage=say)

        return {
            "run": lambda: run_benchmark(spec_of_run(run), run, on_progress=ignore_progress),
            "traces": lambda: write_traces(run),
            "measurement": lambda: write_measurement(run),
            "envelope": lambda: write_envelope(run),
            "sign": signed,
            "verdict": judged,
            "publish": published,
            "read back": lambda: read_back(hub, require_receipt(run)),
            "link": lambda: skip_backlink(run, "not asked for"),
            "check link": lambda: read_backlink(run),
            "parked": lambda: parked_state(run),
        }

    def log_entries(self) -> int:
        return len(Faults(self.sandbox.sigstore_url).requests(method="POST", path="/log/entries"))

    def hub_writes(self) -> int:
        requests = Faults(self.sandbox.hub_url).requests(
            method="POST", path="repos/create|/commit/"
        )
        return len(requests)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """End what never ends: a pipe that is waited for, a device that is read."""

    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError("a stage hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    home = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch, running_sandbox(home / "sandbox") as sandbox:
        for name, value in sandbox.environ.items():
            patch.setenv(name, value)
        patch.setenv("INFERENCEBENCH_HOME", str(home))
        deployment = Deployment(Settings.from_environment())
        runs = [RunStore(home / "store").run(new_run_id()) for _ in range(2)]
        world = World(deployment, sandbox, *runs)
        with running(FakeEngine(lambda _number: Behaviour())) as engine:
            for run in runs:
                run.write(RunFile.SPEC, b"{}")
                run.remove(RunFile.SPEC)
                run.remove(RunFile.DIGESTS)
                run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
        for run in runs:
            for name, stage in world.stages(run).items():
                assert name == "parked" or stage() is not None, name
        yield world


def _files(run: RunDirectory) -> list[str]:
    return sorted(
        path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()
    )


def _copied(world: World, folder: Path) -> RunDirectory:
    """Return a copy of the finished run in a store of its own."""
    run = RunStore(folder / "store").run(world.finished.run_id)
    shutil.copytree(world.finished.path, run.path)
    return run


def _survives(world: World, run: RunDirectory, what: str) -> None:
    """Go through every stage twice and assert that nothing irreversible happened."""
    published = world.finished.read(RunFile.ENVELOPE)
    entries, writes = world.log_entries(), world.hub_writes()
    for _ in range(2):
        for name, stage in world.stages(run).items():
            try:
                with within(_LONGEST_STAGE_S):
                    stage()
            except EngineUnreachableError:
                raise AssertionError(f"{what}: {name} measures a published run again") from None
            except PipelineError as error:
                said = str(error)
                assert len(said) > 20, (what, name, said)
    assert world.log_entries() == entries, what
    assert world.hub_writes() == writes, what
    if run.file(RunFile.ENVELOPE).is_file() and not changed(run.file(RunFile.ENVELOPE), published):
        return
    raise AssertionError(f"{what}: envelope.json is not what is published")


def _cases(world: World) -> list[tuple[str, Damage]]:
    cases = [(name, damage) for name in _files(world.finished) for damage in KINDS]
    return cases + [(name, swapped_with(world.other.path / name)) for name in _files(world.other)]


def _go_through(world: World, folder: Path, cases: list[tuple[str, Damage]]) -> None:
    for number, (name, damage) in enumerate(cases):
        run = _copied(world, folder / str(number))
        damage.inflict(run.path / name)
        _survives(world, run, f"{name}, {damage}")
        shutil.rmtree(folder / str(number))


def test_a_seeded_part_of_all_damages(world: World, tmp_path: Path) -> None:
    _go_through(world, tmp_path, drawn("damages of a run", _cases(world), _USUAL_CASES))


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_every_file_damaged_in_every_way(world: World, tmp_path: Path) -> None:
    _go_through(world, tmp_path, _cases(world))


@pytest.mark.parametrize("name", ["spec.json", "capture/provenance.json"])
def test_one_changed_character_is_found_and_named(world: World, tmp_path: Path, name: str) -> None:
    """The model that was never measured: neither signed nor published, and the file is named."""
    run = _copied(world, tmp_path)
    data = (run.path / name).read_bytes()
    model = json.loads(world.finished.read(RunFile.ENVELOPE))["model"]["id"].encode()
    (run.path / name).write_bytes(data.replace(model, model[:-1] + b"~"))
    assert (run.path / name).read_bytes() != data
    for stage in ("run", "traces"):
        with pytest.raises(PipelineError, match=os.path.basename(name)):
            world.stages(run)[stage]()
    _survives(world, run, name)
