"""The rules of dependence between rooms, each a function from the import graph to sentences.

A sentence names a line, what it imports, why that is refused and what to do instead. An empty list
means that the rule holds. ``tests/test_layers.py`` holds every rule on the package and shows on
made-up packages that each rule fires. The plan that the rules read is ``tools/house.py``.

``python -m tools.layer_rules`` prints all sentences, and the names of faces that nobody imports.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator

from tools.digraph import circles, shortest_path
from tools.house import THE_HOUSE, House
from tools.import_graph import PACKAGE, ROOT, Face, Import, ImportGraph, Offer, read_package

_Folders = dict[tuple[str, str], list[Import]]


def rooms_without_a_floor(graph: ImportGraph, house: House) -> list[str]:
    """Returns a sentence for each room missing from the plan, and for each planned one missing."""
    planned = {room for floor in house.floors for room in floor}
    planned |= {annexe.room for annexe in house.annexes}
    missing = [
        f"{graph.room_module(room).path.relative_to(graph.root)} is a room that tools/house.py "
        "gives no floor; add it there, above all that it imports"
        for room in sorted(set(graph.rooms) - planned)
    ]
    gone = [
        f"tools/house.py gives the room {room} a floor, but there is no such room; remove it there"
        for room in sorted(planned - set(graph.rooms))
    ]
    return missing + gone


def upward_imports(graph: ImportGraph, house: House) -> list[str]:
    """Returns a sentence for each import that does not point down to a lower floor."""
    sentences = []
    for imported, importer, target in _between_rooms(graph):
        if reason := _refused(house, importer, target):
            sentences.append(f"{_imports(graph, imported)}, which {reason}")
    return sentences


def _refused(house: House, importer: str, target: str) -> str | None:
    """Returns why one room may not import another, and the advice; None when it may."""
    if annexe := house.annexe(target):
        users = " and ".join(sorted(annexe.imported_by)) or "nobody"
        refused = importer not in annexe.imported_by
        return f"only {users} may import; do without {target} here" if refused else None
    if annexe := house.annexe(importer):
        allowed = ", ".join(sorted(annexe.imports)) or "nothing"
        known = target in annexe.imports
        return None if known else f"{importer} may not know (only {allowed}); do without it"
    above, below = house.height(importer), house.height(target)
    if above is None or below is None or below < above:
        return None
    where = "on the same floor as" if below == above else "above"
    return (
        f"is in the room {target}, {where} {importer}; move what both need to a room below both, "
        "or hand it in as an argument"
    )


def imports_past_a_face(graph: ImportGraph, house: House) -> list[str]:
    """Returns a sentence for each import from another room that its face does not offer."""
    sentences = []
    for imported, _, target in _between_rooms(graph):
        if target in house.open_rooms:
            continue
        room = graph.room_module(target)
        if imported.written == room.name:
            continue
        face = graph.faces.get(room.name)
        offered = face.offers if face else {n for n in room.names if not n.startswith("_")}
        if imported.source == room.name and imported.name in offered:
            continue
        sentences.append(f"{_imports(graph, imported)}, {_past(graph, imported, face, room.name)}")
    return sentences


def _past(graph: ImportGraph, imported: Import, face: Face | None, room: str) -> str:
    short = room.removeprefix(f"{graph.package}.")
    if face is None:
        return f"which is private to {short}; give it a name without an underscore"
    name = imported.name or imported.source.rpartition(".")[2]
    origin = graph.origin(imported)
    for offer in face.offers.values():
        if offer.original == name and offer.source == origin:
            return f"a file inside {short}; write `from {room} import {offer.name}`"
    listed = face.path.relative_to(graph.root)
    return f"which the face of {short} does not offer; take what it does, or add {name} to {listed}"


def imports_of_the_own_face(graph: ImportGraph, house: House) -> list[str]:
    """Returns a sentence for each module that takes a name through the face of its own room."""
    sentences = []
    for imported in graph.between_modules:
        room = graph.room(imported.importer)
        face = graph.faces.get(f"{graph.package}.{room}")
        if face is None or imported.target != face.package or room in house.open_rooms:
            continue
        offer = face.offers.get(imported.name or "")
        if offer is not None and offer.source is not None:
            sentences.append(
                f"{_imports(graph, imported)}, through the face of its own room; "
                f"write `from {offer.source} import {offer.original or offer.name}`"
            )
    return sentences


def mutual_folders(graph: ImportGraph, _house: House) -> list[str]:
    """Returns a sentence for each import that makes folders of a room import in a circle.

    The folders of one parent are compared, each with all that lies below it; the files that lie in
    the parent itself count as one more folder. Of a circle, the imports between the two folders
    with the fewest are named, since these are the cheapest to turn.
    """
    sentences = []
    for parent in sorted(set(graph.faces) - {graph.package}):
        between = _between_folders(graph, parent)
        while found := circles(_arrows(between)):
            pair = min(
                (pair for pair in between if set(pair) <= set(found[0])),
                key=lambda pair: (len(between[pair]), pair),
            )
            way_back = shortest_path(_arrows(between), pair[1], pair[0])
            shown = " imports ".join(_folder_name(graph, parent, folder) for folder in way_back)
            sentences += [
                f"{_imports(graph, imported)}, but {shown}; move one of the two, so that the "
                "folders import one way"
                for imported in between.pop(pair)
            ]
    return sentences


def _between_folders(graph: ImportGraph, parent: str) -> _Folders:
    between: _Folders = defaultdict(list)
    for imported in graph.between_modules:
        origin = graph.origin(imported)
        offers_own = graph.modules[imported.importer].is_package and _below(
            origin, imported.importer
        )
        if offers_own or not (_below(imported.importer, parent) and _below(origin, parent)):
            continue
        pair = (_folder(graph, parent, imported.importer), _folder(graph, parent, origin))
        if pair[0] != pair[1]:
            between[pair].append(imported)
    return between


def _arrows(between: _Folders) -> dict[str, set[str]]:
    arrows: dict[str, set[str]] = defaultdict(set)
    for importer, target in between:
        arrows[importer].add(target)
    return arrows


def _below(module: str, parent: str) -> bool:
    return module == parent or module.startswith(f"{parent}.")


def _folder(graph: ImportGraph, parent: str, module: str) -> str:
    """Returns the folder of a parent that a module lies in; the parent for its own files."""
    if module == parent:
        return parent
    child = f"{parent}.{module.removeprefix(f'{parent}.').partition('.')[0]}"
    return child if graph.modules[child].is_package else parent


def _folder_name(graph: ImportGraph, parent: str, folder: str) -> str:
    path = folder.removeprefix(f"{graph.package}.").replace(".", "/")
    return f"{path}/*.py" if folder == parent else f"{path}/"


def broken_faces(graph: ImportGraph, _house: House) -> list[str]:
    """Returns a sentence for each name of a face that could not be imported as it is offered."""
    sentences = []
    for face in graph.faces.values():
        module = graph.modules[face.package]
        lazy = face.path.suffix == ".pyi"
        if lazy and not _attaches_its_stub(module.tree):
            sentences.append(
                f"{module.path.relative_to(graph.root)}:1 does not attach its stub; write "
                "`__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)`"
            )
        for offer in face.offers.values():
            if reason := _not_there(graph, face, offer, lazy=lazy):
                place = f"{face.path.relative_to(graph.root)}:{offer.line}"
                sentences.append(f"{place} offers {offer.name}, {reason}")
    return sentences


def _not_there(graph: ImportGraph, face: Face, offer: Offer, *, lazy: bool) -> str | None:
    """Returns why an offered name cannot be imported, and the advice; None when it can."""
    if offer.source is None:
        there = not lazy or offer.name in graph.modules[face.package].names
        return None if there else "which __init__.py does not define; define it there"
    if not _below(offer.source, face.package):
        return f"which belongs to {offer.source}; let its importers import it from there"
    if offer.source not in graph.modules:
        return f"but there is no module {offer.source}; name the module that holds it"
    if offer.original is None:
        return None
    if lazy and offer.name != offer.original:
        return f"which a lazy face cannot rename; name it {offer.original} or rename it in its file"
    inner = graph.faces.get(offer.source)
    known = set(graph.modules[offer.source].names) | set(inner.offers if inner else ())
    if offer.original in known:
        return None
    return f"but {offer.source} has no {offer.original}; correct the name or remove the line"


def _attaches_its_stub(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute | ast.Name)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id)
        == "attach_stub"
        for node in ast.walk(tree)
    )


def unused_face_names(graph: ImportGraph, house: House) -> list[str]:
    """Returns a sentence for each name of a room's face that no other room imports.

    These are no faults: people who use the package as a library may need the name.
    """
    used = {(i.source, i.name) for i, _, _ in _between_rooms(graph)} | set(_asked_of_rooms(graph))
    return [
        f"{face.path.relative_to(graph.root)}:{offer.line} offers {offer.name}, which no other "
        "room imports; remove it unless users of the library need it"
        for face in graph.faces.values()
        if graph.package != face.package and graph.room(face.package) not in house.open_rooms
        if graph.room_module(graph.room(face.package)).name == face.package
        for offer in face.offers.values()
        if (face.package, offer.name) not in used
    ]


def _asked_of_rooms(graph: ImportGraph) -> Iterator[tuple[str, str]]:
    """Yields each room that a module imports as a whole, with each name that it asks of it."""
    for module in graph.modules.values():
        rooms = {
            alias.asname or alias.name: f"{graph.package}.{alias.name}"
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ImportFrom) and node.module == graph.package
            for alias in node.names
        }
        for node in ast.walk(module.tree):
            match node:
                case ast.Attribute(ast.Name(name), attribute) if name in rooms:
                    yield rooms[name], attribute


def misplaced_libraries(graph: ImportGraph, house: House) -> list[str]:
    """Returns a sentence for each import of a library that its importer's room may not know."""
    sentences = []
    for imported in graph.third_party():
        library = imported.source.partition(".")[0]
        room = graph.room(imported.importer)
        for word, rooms in house.libraries.items():
            if library.partition("_")[0] == word and room not in rooms:
                allowed = ", ".join(sorted(rooms))
                sentences.append(
                    f"{_imports(graph, imported)}, which only {allowed} may know; "
                    f"return plain data from {room or graph.package} and use {word} there"
                )
    return sentences


def heavy_libraries_on_a_road(graph: ImportGraph, house: House) -> list[str]:
    """Returns a sentence for each library that importing a light module would load."""
    arrows = graph.module_arrows(at_import=True)
    loaded: dict[str, list[Import]] = defaultdict(list)
    for imported in graph.third_party():
        if not (imported.type_only or imported.deferred):
            loaded[imported.importer].append(imported)
    sentences = []
    for road, libraries in house.roads.items():
        entry = f"{graph.package}.{road}"
        starts = [name for name in graph.modules if _below(name, entry)]
        if not starts:
            sentences.append(
                f"tools/house.py keeps the road {road} light, but there is no such module; correct "
                "the name there"
            )
        # One more node stands before all modules of the road, so that one search serves all.
        from_entry = {**arrows, "": set(starts)}
        for module in sorted(graph.modules):
            heavy = [i for i in loaded[module] if i.source.partition(".")[0] in libraries]
            if heavy and (path := shortest_path(from_entry, "", module)):
                shown = " → ".join(name.removeprefix(f"{graph.package}.") for name in path[1:])
                sentences += [
                    f"{_imports(graph, i)}, which importing {road} must not load ({shown}); "
                    "import it inside the function that needs it"
                    for i in heavy
                ]
    return sentences


def ties_of_standalone_packages(graph: ImportGraph, house: House) -> list[str]:
    """Returns a sentence for each import that ties a standalone package to the rest."""
    sentences = []
    for name in house.standalone:
        package = f"{graph.package}.{name}"
        if package not in graph.faces:
            sentences.append(
                f"tools/house.py says that {name} stands alone, but there is no such package; "
                "correct the name there"
            )
        sentences += [
            f"{_imports(graph, imported)}, but {name} is copied into an image without the rest; "
            "import only from inside the folder, and relatively"
            for imported in graph.imports
            if _below(imported.importer, package)
            and imported.source.partition(".")[0] == graph.package
            and not (_below(imported.target, package) and imported.relative)
        ]
    return sentences


def _between_rooms(graph: ImportGraph) -> Iterator[tuple[Import, str, str]]:
    """Yields the imports between two rooms, with the rooms. The package's own names are free."""
    for imported in graph.between_modules:
        importer, target = graph.room(imported.importer), graph.room(imported.target)
        if importer != target and target:
            yield imported, importer, target


def _imports(graph: ImportGraph, imported: Import) -> str:
    return f"{graph.place(imported)} imports {imported.written}"


RULES: tuple[Callable[[ImportGraph, House], list[str]], ...] = (
    rooms_without_a_floor,
    upward_imports,
    imports_past_a_face,
    imports_of_the_own_face,
    mutual_folders,
    broken_faces,
    misplaced_libraries,
    heavy_libraries_on_a_road,
    ties_of_standalone_packages,
)
"""Every rule that must hold; ``unused_face_names`` only hints."""


def main() -> None:
    """Prints what breaks a rule and what nobody uses; ends with 1 when a rule is broken."""
    graph = read_package(PACKAGE, ROOT / "definitions.py")
    broken = [sentence for rule in RULES for sentence in rule(graph, THE_HOUSE)]
    for sentence in broken:
        print(sentence)
    for sentence in unused_face_names(graph, THE_HOUSE):
        print(f"note: {sentence}")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
