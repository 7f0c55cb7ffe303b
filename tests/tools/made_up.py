"""Small packages that exist only for a test, written into a folder and read into a graph."""

from __future__ import annotations

from pathlib import Path

from tools.import_graph import ImportGraph, read_package


def write_package(root: Path, files: dict[str, str]) -> Path:
    """Writes the package ``made`` with the given files; folders get an ``__init__.py`` if need be.

    Returns:
        The folder of the package.
    """
    package = root / "made"
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in [path.parent, *path.parent.parents]:
            if folder == root:
                break
            if not (folder / "__init__.py").exists():
                (folder / "__init__.py").write_text("")
    return package


def made_up(root: Path, files: dict[str, str]) -> ImportGraph:
    """Returns the import graph of a package made of the given files."""
    return read_package(write_package(root, files))
