"""The import graph reads what Python would import, on made-up packages."""

from __future__ import annotations

import pytest

from tests.tools.made_up import made_up, write_package
from tools.import_graph import main, read_package


def _only(graph, importer):
    found = [imported for imported in graph.imports if imported.importer == importer]
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("statement", "source", "name", "target"),
    [
        ("from made.low.tool import hammer", "made.low.tool", "hammer", "made.low.tool"),
        ("from made.low import tool", "made.low", "tool", "made.low.tool"),
        ("from made import low", "made", "low", "made.low"),
        ("from ..low.tool import hammer", "made.low.tool", "hammer", "made.low.tool"),
        ("from .. import low", "made", "low", "made.low"),
        ("from . import beside", "made.high", "beside", "made.high.beside"),
        ("from .beside import x", "made.high.beside", "x", "made.high.beside"),
        ("from .beside import *", "made.high.beside", "*", "made.high.beside"),
        ("import made.low.tool", "made.low.tool", None, "made.low.tool"),
        ("import made.low.tool as t", "made.low.tool", None, "made.low.tool"),
    ],
)
def test_an_import_is_resolved_to_the_module_that_holds_the_name(
    tmp_path, statement, source, name, target
):
    graph = made_up(
        tmp_path,
        {"low/tool.py": "hammer = 1\n", "high/beside.py": "x = 1\n", "high/user.py": statement},
    )
    found = _only(graph, "made.high.user")
    assert (found.source, found.name, found.target) == (source, name, target)
    assert found.internal


def test_a_relative_import_of_a_package_starts_at_the_package(tmp_path):
    graph = made_up(tmp_path, {"room/__init__.py": "from .file import x", "room/file.py": "x = 1"})
    assert _only(graph, "made.room").source == "made.room.file"


def test_imports_for_types_and_in_functions_are_marked(tmp_path):
    text = """
import typing
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import one
else:
    import two
if typing.TYPE_CHECKING:
    def f():
        import three
class C:
    import four
    def g(self):
        import five
try:
    import six
except ImportError:
    pass
"""
    marks = {
        imported.source: (imported.type_only, imported.deferred, imported.line)
        for imported in made_up(tmp_path, {"file.py": text}).third_party()
    }
    assert marks == {
        "one": (True, False, 5),
        "two": (False, False, 7),
        "three": (True, True, 10),
        "four": (False, False, 12),
        "five": (False, True, 14),
        "six": (False, False, 16),
    }


def test_the_standard_library_is_no_third_party(tmp_path):
    graph = made_up(tmp_path, {"file.py": "import os.path, numpy.linalg\nfrom json import loads"})
    assert [imported.source for imported in graph.third_party()] == ["numpy.linalg"]


def test_a_name_is_followed_through_faces_to_the_module_that_defines_it(tmp_path):
    graph = made_up(
        tmp_path,
        {
            "room/__init__.pyi": "from .inner import hammer\nfrom . import inner\n",
            "room/inner/__init__.py": "from .tools import hammer\n__all__ = ['hammer']\n",
            "room/inner/tools.py": "hammer = 1\n",
            "one.py": "from made.room import hammer\n",
            "two.py": "from made.room import inner\n",
        },
    )
    assert graph.origin(_only(graph, "made.one")) == "made.room.inner.tools"
    assert graph.origin(_only(graph, "made.two")) == "made.room.inner"
    assert graph.module_arrows()["made.one"] == {"made.room.inner.tools"}


def test_a_name_of_the_face_comes_before_a_file_of_the_same_name(tmp_path):
    graph = made_up(
        tmp_path,
        {
            "room/__init__.pyi": "from .index import index\n",
            "room/index.py": "def index(): ...\n",
            "user.py": "from made.room import index\n",
        },
    )
    found = _only(graph, "made.user")
    assert (found.target, graph.origin(found)) == ("made.room", "made.room.index")


def test_a_face_is_cut_to_all_and_leaves_private_names_out(tmp_path):
    graph = made_up(
        tmp_path,
        {
            "listed/__init__.py": "from .a import x, y\n__all__ = ['x']\n",
            "listed/a.py": "x = y = 1\n",
            "own/__init__.py": "import os\n_private = 1\nPUBLIC: int = 2\ndef f(): ...\n",
        },
    )
    assert set(graph.faces["made.listed"].offers) == {"x"}
    assert set(graph.faces["made.own"].offers) == {"PUBLIC", "f"}


def test_a_module_knows_the_names_that_its_top_level_binds(tmp_path):
    text = """
import os.path, json as j
from x import y as z
a = b = 1
c: int
d, (e, *f) = 1, (2, 3)
for g in (): h = 1
if a: i = 1
else: k = 2
try: l = 1
except ValueError: m = 1
finally: n = 1
with open(a) as o: p = 1
def q(): inner = 1
class R: inner = 1
a.attribute = [comprehended for comprehended in d]
"""
    graph = made_up(tmp_path, {"file.py": text})
    assert graph.modules["made.file"].names == set("abcdefghijklmnopqRz") | {"os"}


def test_rooms_are_what_stands_directly_in_the_package_and_beside_it(tmp_path):
    package = write_package(
        tmp_path, {"room/a/b.py": "", "single.py": "from made.room.a import b\nimport made\n"}
    )
    (tmp_path / "door.py").write_text("from made.single import x\n")
    graph = read_package(package, tmp_path / "door.py")
    assert graph.rooms == ("door", "room", "single")
    assert graph.room_arrows() == {"door": {"single"}, "room": set(), "single": {"room"}}
    assert len(graph.modules_of("room")) == 3


def test_a_folder_that_is_no_package_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no __init__\.py"):
        read_package(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["rooms"], "high: low\nlow: \n"),
        (["third-party"], "high: numpy\n"),
        (["importers", "low"], "made/high.py:2 imports made.low.x\n"),
    ],
)
def test_the_command_prints_the_view_that_is_asked_for(tmp_path, capsys, arguments, printed):
    package = write_package(
        tmp_path, {"low.py": "x = 1\n", "high.py": "import numpy\nfrom made.low import x\n"}
    )
    main(["--package", str(package), *arguments])
    assert capsys.readouterr().out == printed
