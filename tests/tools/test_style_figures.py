"""The figures of style are counted as their script says, on a made-up checkout with a history."""

from __future__ import annotations

import subprocess

import pytest

from tools.import_graph import PACKAGE
from tools.style_figures import FIGURES, Checkout, main

ROOM = '''"""What a room is."""  # noqa: D400

from os import path
from upstream._inner import thing, other
import upstream.public, upstream._more
from upstream import _private

LIMIT = 3
"""An attribute."""


class Public:
    """A class."""

    field: int = 1
    """Which one it is."""

    def typed(self, a: int, *rest: int) -> int:
        """Add; see below.

        Raises:
            ValueError: always.
        """
        # why it raises
        if a and rest or LIMIT:  # why it asks
            raise ValueError
        return [b for b in rest if b]

    def untyped(self, a):
        raise OSError

    def _hidden(self): raise OSError


def many(a: int, b: int, c: int, d: int, *, e: int) -> None:
    """Whether it is fine."""
    def inner(f: int) -> None:
        raise TypeError
'''
SHALLOW = "from .. import room\n"


def _git(root, *arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkout")
    files = {
        "__init__.py": '"""Wherever."""\n',
        "room.py": ROOM,
        "sub/__init__.py": "",
        "sub/a.py": SHALLOW,
        "sub/b.py": "from .a import room\n",
        "sub/c.py": "from . import d\n",
        "sub/d.py": "from . import c\n",
    }
    for name, text in files.items():
        path = root / PACKAGE.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "tests").mkdir()
    (root / "tests/test_room.py").write_text(
        "def test_it():\n    assert 1\n\n\ndef helper(): ...\n"
    )
    (root / "README.md").write_text("# Title\n\nOne; two ![a](a.png)\n\n```sh\na; b; c\n```\n")
    (root / "docs").mkdir()
    (root / "docs/page.md").write_text("three four five six\n")
    _git(root, "init", "--quiet")
    _git(root, "commit", "--quiet", "--allow-empty", "-m", "Subject", "-m", "Body.\n\nMore.")
    _git(root, "commit", "--quiet", "--allow-empty", "-m", "Longer subject")
    return root


@pytest.mark.parametrize(
    ("title", "value"),
    [
        ("modules / lines", "7 / 0.0k"),
        ("lines of a module: median / p90 / max", "1 / 38 / 38"),
        ("modules per folder: median / max", "2.5 / 4"),
        ("functions fully typed", "60.0 % (3 of 5)"),
        # Five of the seven modules and one method say nothing.
        ("public names with docstring", "45.5 % (5 of 11)"),
        ("public functions that raise and have `Raises:`", "50.0 % (1 of 2)"),
        ("lines of a function: median / p90 / max", "2 / 10 / 10"),
        ("functions of more than 40 lines", "0.0 % (0 of 5)"),
        ("functions with more than 4 arguments", "20.0 % (1 of 5)"),
        ("comment lines per code line", "9.52 %"),
        ("docstring lines of all lines", "25.58 %"),
        ("docstrings that open as a riddle", "40.0 % (2 of 5)"),
        ("attribute docstrings that open as a riddle", "50.0 % (1 of 2)"),
        ("imports of private names of third parties (lines)", "3 in 1 modules"),
        ("import cycles", "1 (largest 2)"),
        ("longest import chain (modules)", "3"),
        ("test lines per source line", "0.12"),
        ("test functions", "1"),
        ("lines of a test: median / p90 / max", "2 / 2 / 2"),
        ("length of a test's name: median / max", "7 / 7 / 7"),
        ("README: images / lines", "1 / 7"),
        ("semicolons per 1,000 words of documents", "100.00"),
        ("commits", "2"),
        ("length of a subject: median / p90 / max", "10.5 / 14 / 14"),
        ("commits with a body", "50.0 % (1 of 2)"),
    ],
)
def test_a_figure_is_counted_as_its_script_says(checkout, title, value):
    assert FIGURES[title](Checkout(checkout)) == value


def test_branches_are_counted_where_the_way_parts(checkout):
    by_name = {f.node.name: f.branches for f in Checkout(checkout).package.functions}
    # `if`, one `and`, one `or`, the loop of a comprehension and its condition.
    assert by_name == {"typed": 5, "untyped": 0, "_hidden": 0, "many": 0, "inner": 0}


def test_checkouts_stand_side_by_side(checkout, capsys):
    main([f"before={checkout}", str(checkout)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"| Figure | before | {checkout.name} |"
    assert "| commits | 2 | 2 |" in lines
    assert len(lines) == 2 + len(FIGURES)


def test_riddles_are_listed_with_their_places(checkout, capsys):
    main(["--riddles", str(checkout)])
    room = f"{PACKAGE.name}/room.py"
    assert capsys.readouterr().out.splitlines() == [
        f"{room}:1: What a room is.",
        f"{room}:36: Whether it is fine.",
        f"{room}:16: Which one it is.",
    ]
