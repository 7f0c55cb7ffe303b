"""Each rule of dependence fires on a small package that breaks it, and says what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tools.made_up import made_up, write_package
from tools import layer_rules
from tools.house import Annexe, House, Storey
from tools.import_graph import read_package

MADE_UP_HOUSE = House(
    storeys=(
        Storey("Above", (("door",), ("left", "right"))),
        Storey("Below", (("trust",), ("ground",))),
    )
)


def _rule(rule, tmp_path, files, **house):
    return rule(made_up(tmp_path, files), replace(MADE_UP_HOUSE, **house))


def test_a_room_without_a_floor_and_a_floor_without_a_room_are_told(tmp_path):
    names = ("ground", "left", "right", "trust", "new")
    files = {f"{name}/__init__.py": "" for name in names}
    assert _rule(layer_rules.rooms_without_a_floor, tmp_path, files) == [
        "made/new/__init__.py is a room that tools/house.py gives no floor; add it there, above "
        "all that it imports",
        "tools/house.py gives the room door a floor, but there is no such room; remove it there",
    ]


def test_an_import_upwards_or_sideways_is_refused_and_one_downwards_is_not(tmp_path):
    package = write_package(
        tmp_path,
        {
            "ground.py": "x = 1\n",
            "left.py": "from made.ground import x\nfrom made import __version__\n",
            "right.py": "import made.ground\nfrom made.left import x\n",
            "trust.py": "def f():\n    from .door import x\n",
            "door.py": "from typing import TYPE_CHECKING\nfrom made import trust, left\n",
        },
    )
    (package / "__init__.py").write_text("__version__ = '1'\n")
    assert layer_rules.upward_imports(read_package(package), MADE_UP_HOUSE) == [
        "made/right.py:2 imports made.left.x, which is in the room left, on the same floor as "
        "right; move what both need to a room below both, or hand it in as an argument",
        "made/trust.py:2 imports made.door.x, which is in the room door, above trust; move what "
        "both need to a room below both, or hand it in as an argument",
    ]


def test_an_annexe_imports_and_is_imported_only_as_the_plan_says(tmp_path):
    files = {
        "ground.py": "",
        "trust.py": "import made.annexe",
        "door.py": "import made.annexe",
        "annexe.py": "import made.ground\nimport made.trust\n",
    }
    annexe = Annexe("annexe", frozenset({"ground"}), frozenset({"door"}))
    assert _rule(layer_rules.upward_imports, tmp_path, files, annexes=(annexe,)) == [
        "made/annexe.py:2 imports made.trust, which annexe may not know (only ground); do without "
        "it",
        "made/trust.py:1 imports made.annexe, which only door may import; do without annexe here",
    ]


FACE = {
    "trust/__init__.py": "import lazy_loader as lazy\n"
    "__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)\n",
    "trust/__init__.pyi": "from .verify import verify_envelope\n",
    "trust/verify.py": "def verify_envelope(): ...\ndef inner(): ...\n",
    "ground.py": "x = _y = 1\n",
}


@pytest.mark.parametrize(
    "statement",
    [
        "from made.trust import verify_envelope",
        "from made import trust",
        "import made.trust",
        "from .trust import verify_envelope",
        "from made.ground import x",
        "from made import ground",
    ],
)
def test_a_name_of_the_face_may_be_imported(tmp_path, statement):
    assert not _rule(layer_rules.imports_past_a_face, tmp_path, {**FACE, "door.py": statement})


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (
            "from made.trust.verify import verify_envelope",
            "made.trust.verify.verify_envelope, a file inside trust; "
            "write `from made.trust import verify_envelope`",
        ),
        (
            "from made.trust.verify import inner",
            "made.trust.verify.inner, which the face of trust does not offer; take what it does, "
            "or add inner to made/trust/__init__.pyi",
        ),
        (
            "from made.trust import verify",
            "made.trust.verify, which the face of trust does not offer; take what it does, or add "
            "verify to made/trust/__init__.pyi",
        ),
        (
            "import made.trust.verify",
            "made.trust.verify, which the face of trust does not offer; take what it does, or add "
            "verify to made/trust/__init__.pyi",
        ),
        (
            "from made.trust import *",
            "made.trust.*, which the face of trust does not offer; take what it does, or add * to "
            "made/trust/__init__.pyi",
        ),
        (
            "from made.ground import _y",
            "made.ground._y, which is private to ground; give it a name without an underscore",
        ),
    ],
)
def test_an_import_past_a_face_is_refused_unless_the_room_is_open(tmp_path, statement, said):
    files = {**FACE, "door.py": statement}
    assert _rule(layer_rules.imports_past_a_face, tmp_path, files) == [
        f"made/door.py:1 imports {said}"
    ]
    rooms = frozenset({"trust", "ground"})
    assert not _rule(layer_rules.imports_past_a_face, tmp_path, files, open_rooms=rooms)


def test_a_module_that_goes_through_the_face_of_its_own_room_is_refused(tmp_path):
    files = {**FACE, "trust/sign.py": "from made.trust import verify_envelope\n"}
    assert _rule(layer_rules.imports_of_the_own_face, tmp_path, files) == [
        "made/trust/sign.py:1 imports made.trust.verify_envelope, through the face of its own "
        "room; write `from made.trust.verify import verify_envelope`"
    ]


def test_folders_that_import_each_other_are_refused_at_any_depth(tmp_path):
    files = {
        "trust/deep/one/a.py": "from made.trust.deep.two.b import x\nimport made.trust.deep.two.c",
        "trust/deep/two/b.py": "x = 1\n",
        "trust/deep/two/c.py": "from made.trust.deep.one import a\n",
        "trust/sign/s.py": "",
    }
    assert _rule(layer_rules.mutual_folders, tmp_path, files) == [
        "made/trust/deep/two/c.py:1 imports made.trust.deep.one.a, but trust/deep/one/ imports "
        "trust/deep/two/; move one of the two, so that the folders import one way"
    ]


def test_a_circle_of_three_folders_is_refused(tmp_path):
    files = {
        "trust/a/m.py": "import made.trust.b.m, made.trust.b.n",
        "trust/b/m.py": "import made.trust.c.m, made.trust.c.n",
        "trust/b/n.py": "",
        "trust/c/m.py": "import made.trust.a.m",
        "trust/c/n.py": "",
    }
    assert _rule(layer_rules.mutual_folders, tmp_path, files) == [
        "made/trust/c/m.py:1 imports made.trust.a.m, but trust/a/ imports trust/b/ imports "
        "trust/c/; move one of the two, so that the folders import one way"
    ]


def test_the_files_of_a_folder_count_as_one_folder_more(tmp_path):
    files = {
        "trust/flat.py": "from made.trust.sign import s\n",
        "trust/errors.py": "",
        "trust/sign/s.py": "import made.trust.errors\nimport made.trust.errors as e\n",
    }
    assert _rule(layer_rules.mutual_folders, tmp_path, files) == [
        "made/trust/flat.py:1 imports made.trust.sign.s, but trust/sign/ imports trust/*.py; move "
        "one of the two, so that the folders import one way"
    ]


def test_a_face_may_offer_what_lies_below_it_and_is_seen_through(tmp_path):
    files = {
        "trust/__init__.py": "from .sign.s import x\n",
        "trust/sign/__init__.py": "from .s import x\n",
        "trust/sign/s.py": "from made.trust.errors import e\nx = 1\n",
        "trust/errors.py": "e = 1\n",
        "trust/verify/v.py": "from made.trust.sign import x\n",
    }
    assert not _rule(layer_rules.mutual_folders, tmp_path, files)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"trust/__init__.pyi": "from .verify import gone\n"},
            "made/trust/__init__.pyi:1 offers gone, but made.trust.verify has no gone; correct the "
            "name or remove the line",
        ),
        (
            {"trust/__init__.pyi": "from .gone import x\n"},
            "made/trust/__init__.pyi:1 offers x, but there is no module made.trust.gone; name the "
            "module that holds it",
        ),
        (
            {"trust/__init__.pyi": "\nfrom .verify import inner as outer\n"},
            "made/trust/__init__.pyi:2 offers outer, which a lazy face cannot rename; name it "
            "inner or rename it in its file",
        ),
        (
            {"trust/__init__.pyi": "VERSION: str\n"},
            "made/trust/__init__.pyi:1 offers VERSION, which __init__.py does not define; define "
            "it there",
        ),
        (
            {"trust/__init__.pyi": "from made.ground import x\n"},
            "made/trust/__init__.pyi:1 offers x, which belongs to made.ground; let its importers "
            "import it from there",
        ),
        (
            {"trust/__init__.py": ""},
            "made/trust/__init__.py:1 does not attach its stub; write `__getattr__, __dir__, "
            "__all__ = lazy_loader.attach_stub(__name__, __file__)`",
        ),
        (
            {"left/__init__.py": "from .a import gone\n", "left/a.py": ""},
            "made/left/__init__.py:1 offers gone, but made.left.a has no gone; correct the name or "
            "remove the line",
        ),
    ],
)
def test_a_face_that_offers_what_is_not_there_is_refused(tmp_path, files, said):
    assert not _rule(layer_rules.broken_faces, tmp_path, FACE)
    assert _rule(layer_rules.broken_faces, tmp_path, {**FACE, **files}) == [said]


def test_a_name_of_a_face_that_no_other_room_imports_is_told(tmp_path):
    files = {
        **FACE,
        "trust/__init__.pyi": "from .verify import inner\nfrom .verify import verify_envelope\n",
        "trust/sign.py": "from made.trust.verify import inner\n",
        "door.py": "from made.trust import verify_envelope\n",
    }
    assert _rule(layer_rules.unused_face_names, tmp_path, files) == [
        "made/trust/__init__.pyi:1 offers inner, which no other room imports; remove it unless "
        "users of the library need it"
    ]


def test_a_name_that_is_asked_of_the_whole_room_is_used(tmp_path):
    files = {**FACE, "door.py": "from made import trust as t\nt.verify_envelope()\n"}
    assert not _rule(layer_rules.unused_face_names, tmp_path, files)


def test_a_library_that_belongs_to_some_rooms_is_refused_in_the_others(tmp_path):
    files = {
        "door.py": "import dagster\n",
        "trust.py": "def f():\n    from dagster_webserver.app import x\nimport dagsterlike\n",
    }
    libraries = {"dagster": frozenset({"door"})}
    assert _rule(layer_rules.misplaced_libraries, tmp_path, files, libraries=libraries) == [
        "made/trust.py:2 imports dagster_webserver.app.x, which only door may know; return plain "
        "data from trust and use dagster there"
    ]


def test_a_heavy_library_is_refused_wherever_the_road_loads_it(tmp_path):
    files = {
        **FACE,
        "trust/__init__.pyi": "from .verify import verify_envelope\nfrom .plot import draw\n",
        "trust/verify.py": "from made.ground import x\ndef verify_envelope(): ...\n",
        "trust/plot.py": "import matplotlib\ndef draw(): ...\n",
        "ground.py": "import numpy.linalg\nx = 1\n",
        "left.py": "from typing import TYPE_CHECKING\nfrom made.trust import verify_envelope\n"
        "if TYPE_CHECKING:\n    import matplotlib\n"
        "def f():\n    import matplotlib\n    from made.trust import draw\n",
    }
    heavy = frozenset({"matplotlib", "numpy"})
    assert _rule(layer_rules.heavy_libraries_on_a_road, tmp_path, files, roads={"left": heavy}) == [
        "made/ground.py:1 imports numpy.linalg, which importing left must not load (left → "
        "trust.verify → ground); import it inside the function that needs it"
    ]
    everything = _rule(
        layer_rules.heavy_libraries_on_a_road, tmp_path, files, roads={"trust": heavy}
    )
    assert len(everything) == 2


def test_a_road_runs_through_the_packages_that_hold_its_modules(tmp_path):
    files = {
        "trust/__init__.py": "import numpy\n",
        "trust/verify.py": "",
        "left.py": "import made.trust.verify\n",
    }
    roads = {"left": frozenset({"numpy"}), "gone": frozenset({"numpy"})}
    assert _rule(layer_rules.heavy_libraries_on_a_road, tmp_path, files, roads=roads) == [
        "made/trust/__init__.py:1 imports numpy, which importing left must not load (left → "
        "trust.verify → trust); import it inside the function that needs it",
        "tools/house.py keeps the road gone light, but there is no such module; correct the name "
        "there",
    ]


def test_a_standalone_package_imports_only_itself_and_relatively(tmp_path):
    files = {
        "door/web/__init__.py": "from . import app\nfrom .. import other\n",
        "door/web/app.py": "from made.door.web import guard\nfrom .guard import x\n",
        "door/web/guard.py": "import starlette\nfrom made import __version__\n",
        "door/other.py": "",
    }
    advice = (
        "but door.web is copied into an image without the rest; import only from inside the "
        "folder, and relatively"
    )
    alone = ("door.web", "door.gone")
    rule = layer_rules.ties_of_standalone_packages
    assert _rule(rule, tmp_path, files, standalone=alone) == [
        f"made/door/web/__init__.py:2 imports made.door.other, {advice}",
        f"made/door/web/app.py:1 imports made.door.web.guard, {advice}",
        f"made/door/web/guard.py:2 imports made.__version__, {advice}",
        "tools/house.py says that door.gone stands alone, but there is no such package; correct "
        "the name there",
    ]
