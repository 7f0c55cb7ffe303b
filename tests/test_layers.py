"""The rules of dependence between the packages, as CONTRIBUTING.md states them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "inferencebench_pipeline"
ORDER = [
    "errors",
    "untrusted",
    "files",
    "runs",
    "parking",
    "settings",
    "alerts",
    "measure",
    "inbox",
    "envelope",
    "trust",
    "hub",
    "community_results",
    "corpus",
    "takedown",
    "leaderboard",
    "deployment",
    "cli",
    "resources",
    "lifecycle",
    "automation",
    "demo",
]
DAGSTER_ROOMS = {"resources", "lifecycle", "automation"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def _room(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def _rooms_imported(module: Path) -> set[str]:
    prefix = f"{PACKAGE.name}."
    return {
        name.removeprefix(prefix).split(".")[0]
        for name in _imports(module)
        if name.startswith(prefix)
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(module):
    room, imported = _room(module), _rooms_imported(module) - {"__version__"}
    if room in ORDER:
        allowed = set(ORDER[: ORDER.index(room) + 1])
        if room == "demo":
            allowed |= {"sandbox"}
        assert imported <= allowed, f"{room} may not import {sorted(imported - allowed)}"
    elif room == "sandbox":
        assert imported <= {"errors", "files", "sandbox"}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_dagster_rooms_import_dagster(module):
    if _room(module) in DAGSTER_ROOMS | {"demo"}:
        return
    assert not {name for name in _imports(module) if name.startswith("dagster")}


def test_the_webserver_stands_alone():
    """An image holds this folder and nothing else of ours, under another name."""
    files = sorted((PACKAGE / "automation/instance/webserver").glob("*.py"))
    assert files
    for file in files:
        assert _rooms_imported(file) == set()
        above = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom)]
        assert all(node.level <= 1 for node in above), file
