"""The generated parts of ``docs/architecture.md``: the diagram and the table of the rooms.

Both are drawn from the import graph that ``tests/test_layers.py`` holds to the plan of the house,
and replace what stands between two comments of the page. ``python -m tools.architecture`` writes
them; ``tests/test_architecture.py`` fails while the page is stale.
"""

from __future__ import annotations

from collections.abc import Iterator

from tools.digraph import reduced
from tools.house import THE_HOUSE, House
from tools.import_graph import PACKAGE, ROOT, ImportGraph, read_package

PAGE = ROOT / "docs/architecture.md"
COMMAND = "python -m tools.architecture"
_PARTS = ("diagram", "table")


def diagram(graph: ImportGraph, house: House) -> str:
    """Returns the rooms as a mermaid flowchart, an arrow from importer to imported.

    An arrow that a longer way replaces is left out, so that each room is joined to its neighbours.
    """
    lines = ["```mermaid", "flowchart TB"]
    for title, rooms in _groups(house):
        lines.append(f'  subgraph {title.lower().replace(" ", "_")}["{title}"]')
        lines += [f'    {room}["{_label(graph, room)}"]' for room in rooms]
        lines.append("  end")
    arrows = reduced(graph.room_arrows())
    lines += [f"  {room} --> {target}" for room in arrows for target in sorted(arrows[room])]
    return "\n".join([*lines, "```"])


def table(graph: ImportGraph, house: House) -> str:
    """Returns the rooms as a Markdown table: contents, sub-rooms and the number of files.

    An ``__init__.py`` is not counted among the files.
    """
    lines = ["| Room | Contents | Sub-rooms | Files |", "|---|---|---|---|"]
    for _, rooms in _groups(house):
        for room in rooms:
            contents = graph.room_module(room).summary.replace("|", "\\|")
            folders = ", ".join(f"`{name}/`" for name in _sub_rooms(graph, room))
            files = sum(not module.is_package for module in graph.modules_of(room))
            lines.append(f"| `{_label(graph, room)}` | {contents} | {folders} | {files} |")
    return "\n".join(lines)


def _groups(house: House) -> Iterator[tuple[str, list[str]]]:
    """Yields the storeys from the top down, and the annexes last, each with its rooms."""
    for storey in house.storeys:
        yield storey.title, [room for floor in storey.floors for room in floor]
    if house.annexes:
        yield "Beside the house", [annexe.room for annexe in house.annexes]


def _label(graph: ImportGraph, room: str) -> str:
    return f"{room}/" if graph.room_module(room).is_package else f"{room}.py"


def _sub_rooms(graph: ImportGraph, room: str) -> list[str]:
    return sorted(
        module.name.rpartition(".")[2]
        for module in graph.modules_of(room)
        if module.is_package and module.name.count(".") == 2
    )


def with_generated_parts(page: str, graph: ImportGraph, house: House) -> str:
    """Returns the text of the page with its generated parts made anew.

    Raises:
        ValueError: the comments that enclose a part are missing.
    """
    for part, text in zip(_PARTS, (diagram(graph, house), table(graph, house)), strict=True):
        begin, end = f"<!-- {part}: written by `{COMMAND}` -->", f"<!-- end of {part} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            message = f"the page lacks the comments {begin} and {end}; put them where the {part} is"
            raise ValueError(message)
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def main() -> None:
    """Writes the generated parts of the page."""
    graph = read_package(PACKAGE, ROOT / "definitions.py")
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_generated_parts(page, graph, THE_HOUSE), encoding="utf-8")


if __name__ == "__main__":
    main()
