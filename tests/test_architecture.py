"""docs/architecture.md shows the rooms as they import each other today."""

from __future__ import annotations

import pytest

from tests.tools.made_up import made_up
from tools.architecture import COMMAND, PAGE, diagram, table, with_generated_parts
from tools.house import THE_HOUSE, Annexe, House, Storey
from tools.import_graph import PACKAGE, ROOT, read_package

HOUSE = House(
    storeys=(Storey("Front door", (("door",),)), Storey("Ground", (("trust",), ("files",)))),
    annexes=(Annexe("sandbox", frozenset(), frozenset({"door"})),),
)
FILES = {
    "door.py": "import made.trust, made.files, made.sandbox\n",
    "trust/__init__.py": '"""Signatures | verdicts.\n\nMore about them.\n"""\nimport made.files\n',
    "trust/verify/deep/v.py": "",
    "trust/sign/s.py": "",
    "files.py": '"""Plain files."""\n',
    "sandbox.py": '"""The world."""\n',
}


def test_the_page_is_what_the_import_graph_says():
    graph = read_package(PACKAGE, ROOT / "definitions.py")
    page = PAGE.read_text(encoding="utf-8")
    fresh = with_generated_parts(page, graph, THE_HOUSE)
    assert page == fresh, f"docs/architecture.md is stale; run `{COMMAND}` and commit the page"


def test_the_diagram_groups_the_rooms_and_leaves_out_arrows_that_a_longer_way_replaces(tmp_path):
    assert diagram(made_up(tmp_path, FILES), HOUSE).splitlines() == [
        "```mermaid",
        "flowchart TB",
        '  subgraph front_door["Front door"]',
        '    door["door.py"]',
        "  end",
        '  subgraph ground["Ground"]',
        '    trust["trust/"]',
        '    files["files.py"]',
        "  end",
        '  subgraph beside_the_house["Beside the house"]',
        '    sandbox["sandbox.py"]',
        "  end",
        "  door --> sandbox",
        "  door --> trust",
        "  trust --> files",
        "```",
    ]


def test_the_table_says_what_a_room_holds(tmp_path):
    assert table(made_up(tmp_path, FILES), HOUSE).splitlines()[2:] == [
        "| `door.py` |  |  | 1 |",
        "| `trust/` | Signatures \\| verdicts. | `sign/`, `verify/` | 2 |",
        "| `files.py` | Plain files. |  | 1 |",
        "| `sandbox.py` | The world. |  | 1 |",
    ]


def test_a_page_without_the_comments_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the page lacks the comments <!-- diagram"):
        with_generated_parts("# Architecture\n", made_up(tmp_path, FILES), HOUSE)
