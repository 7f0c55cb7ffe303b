"""The plates on the doors: each thing that the Dagster UI names lies in a file of that name."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import dagster as dg
import pytest

from definitions import build_definitions
from inferencebench_pipeline.settings import Settings

PACKAGE: Final = Path(__file__).resolve().parents[2] / "inferencebench_pipeline"
LIFECYCLE: Final = PACKAGE / "lifecycle"
FAMILIES: Final = {"benchmarks": "benchmark_"}
"""The reviewed files that define several things, and the beginning of the names of those."""
HELPERS: Final = {"findings"}
"""The reviewed files that define nothing of the UI: what several of their neighbours need."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> dg.RepositoryDefinition:
    environment = {"INFERENCEBENCH_HOME": str(tmp_path_factory.mktemp("home"))}
    return build_definitions(Settings.from_environment(environment)).get_repository_def()


def defined_in(file: Path) -> set[str]:
    """Return the names that the file itself defines, without those that it imports."""
    names: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def misplaced(folder: Path, shown: set[str]) -> list[str]:
    """Return a sentence for each name of the UI without its file, and for each file without one."""
    files = {
        path.stem: path for path in folder.glob("*.py") if path.stem not in {"__init__", *HELPERS}
    }
    of_families = {
        name: file
        for name in shown
        for file, start in FAMILIES.items()
        if file in files and name.startswith(start)
    }
    sentences = [
        f"{name} is not defined in {folder.name}/{name}.py"
        for name in sorted(shown - set(of_families))
        if name not in files or name not in defined_in(files[name])
    ]
    used = (shown - set(of_families)) | set(of_families.values())
    sentences += [
        f"{folder.name}/{file}.py is named as nothing in the UI"
        for file in sorted(set(files) - used)
    ]
    return sentences


def test_each_sensor_has_a_file_of_its_name(repository):
    shown = {sensor.name for sensor in repository.sensor_defs}
    assert misplaced(PACKAGE / "automation/sensors", shown) == []


def test_each_job_has_a_file_of_its_name(repository):
    shown = {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    assert misplaced(PACKAGE / "automation/jobs", shown) == []


def test_each_schedule_has_a_file_of_its_name_and_each_repeated_spec_one_of_the_family(repository):
    shown = {schedule.name for schedule in repository.schedule_defs}
    assert any(name.startswith("benchmark_") for name in shown)
    assert misplaced(PACKAGE / "automation/schedules", shown) == []


def test_each_asset_has_a_file_of_its_name_in_the_folder_of_its_group(repository):
    graph = repository.asset_graph
    groups: dict[str, set[str]] = {}
    for key in graph.get_all_asset_keys():
        groups.setdefault(str(graph.get(key).group_name), set()).add(key.path[-1])
    folders = {path.parent.name for path in LIFECYCLE.glob("*/__init__.py")}
    assert folders == set(groups)
    told = [line for group in groups for line in misplaced(LIFECYCLE / group, groups[group])]
    assert told == []


def test_each_check_is_defined_in_the_file_of_its_asset(repository):
    graph = repository.asset_graph
    assert graph.asset_check_keys
    for key in graph.asset_check_keys:
        name = key.asset_key.path[-1]
        file = LIFECYCLE / str(graph.get(key.asset_key).group_name) / f"{name}.py"
        assert key.name in defined_in(file), f"the check {key.name} is not defined in {file.name}"


@pytest.mark.parametrize(
    ("source", "shown", "expected"),
    [
        ("def wake():\n    pass\n", {"wake"}, []),
        ("wake = 1\n", {"wake"}, []),
        ("from elsewhere import wake\n", {"wake"}, ["wake is not defined in jobs/wake.py"]),
        ("wake = 1\n", {"wake", "sleep"}, ["sleep is not defined in jobs/sleep.py"]),
        ("wake = 1\n", set(), ["jobs/wake.py is named as nothing in the UI"]),
    ],
)
def test_a_missing_plate_and_a_plate_without_a_door_are_told(tmp_path, source, shown, expected):
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "wake.py").write_text(source)
    assert misplaced(folder, shown) == expected
