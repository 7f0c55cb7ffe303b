"""A published file that is lost or damaged here comes back from the Hub, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferencebench_pipeline.errors import PipelineError
from inferencebench_pipeline.hub.client.errors import HubIntegrityError
from inferencebench_pipeline.hub.dataset.publication import publish
from inferencebench_pipeline.hub.dataset.published_files import restore
from inferencebench_pipeline.hub.dataset.receipt import Receipt
from inferencebench_pipeline.runs.run_directory import RunDirectory, RunFile
from tests.attacks.damage import DAMAGES, Damage
from tests.hub.conftest import ORGANISATION, World
from tests.hub.records import accept, recorded_run, reject


@pytest.fixture
def run(store: Path) -> RunDirectory:
    return recorded_run(store)


def place(world: World, run: RunDirectory, stages: list[str] | None = None) -> Receipt:
    said = [] if stages is None else stages
    return publish(world.hub(), run, organisation=ORGANISATION, verify=accept, on_stage=said.append)


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
@pytest.mark.parametrize("name", [RunFile.ENVELOPE, RunFile.TRACES], ids=str)
def test_a_lost_or_damaged_file_of_a_published_run_comes_back(
    world: World, run: RunDirectory, stages: list[str], name: RunFile, damage: Damage
) -> None:
    receipt = place(world, run)
    published = run.read(name)
    damage.inflict(run.file(name))
    assert place(world, run, stages) == receipt
    assert run.file(name).read_bytes() == published
    if damage.name != "unreadable":
        assert any(name.value in line and receipt.commit in line for line in stages)


def test_nothing_is_asked_of_the_hub_while_all_is_as_it_was_published(
    world: World, run: RunDirectory
) -> None:
    place(world, run)
    world.faults.clear_requests()
    assert restore(world.hub(), run, verify=accept, on_stage=print) == ()
    assert not world.faults.requests()


def test_what_does_not_verify_is_not_laid_down(world: World, run: RunDirectory) -> None:
    place(world, run)
    run.file(RunFile.ENVELOPE).unlink()
    with pytest.raises(HubIntegrityError, match="does not verify"):
        restore(world.hub(), run, verify=reject, on_stage=print)
    assert not run.has(RunFile.ENVELOPE)


def test_other_bytes_than_the_receipt_names_are_refused(world: World, run: RunDirectory) -> None:
    receipt = place(world, run)
    files = {
        name: file.model_copy(update={"sha256": "0" * 64}) for name, file in receipt.files.items()
    }
    changed = receipt.model_copy(update={"files": files})
    run.write(RunFile.PUBLICATION, changed.model_dump_json().encode())
    run.file(RunFile.ENVELOPE).unlink()
    with pytest.raises(HubIntegrityError, match=r"serves envelope\.json"):
        restore(world.hub(), run, verify=accept, on_stage=print)


@pytest.mark.parametrize("damage", DAMAGES, ids=str)
def test_a_damaged_receipt_is_found_out_again(
    world: World, run: RunDirectory, damage: Damage
) -> None:
    receipt = place(world, run)
    damage.inflict(run.file(RunFile.PUBLICATION))
    again = place(world, run)
    assert (again.commit, again.files) == (receipt.commit, receipt.files)
    assert Receipt.model_validate_json(run.read(RunFile.PUBLICATION)) == again


def test_the_receipt_of_another_run_restores_nothing_of_it(
    world: World, run: RunDirectory, tmp_path: Path
) -> None:
    other = recorded_run(tmp_path / "other")
    place(world, run)
    place(world, other)
    mine = run.read(RunFile.ENVELOPE)
    run.write(RunFile.PUBLICATION, other.read(RunFile.PUBLICATION))
    run.file(RunFile.ENVELOPE).unlink()
    with pytest.raises(PipelineError):
        place(world, run)
    run.write(RunFile.ENVELOPE, mine)
    place(world, run)
    assert run.read(RunFile.ENVELOPE) == mine
