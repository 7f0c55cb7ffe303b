"""The import graph of a Python package, read from its source by ``ast`` without running it.

The graph serves the test of the layers, the diagram of the architecture and the figures of style.
It holds the modules, what each of them imports at which line, and the face of each package: the
names that its ``__init__`` offers to the outside. Imports that are made at run time by a string
(``importlib.import_module``) are not in it.

``python -m tools.import_graph rooms`` prints what each room imports, ``importers MODULE`` prints
the lines that import a module, ``third-party`` prints the libraries that each room imports.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "inferencebench_pipeline"
_Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@dataclass(frozen=True)
class Module:
    """One source file.

    Attributes:
        name: dotted name; for an ``__init__.py`` the name of its package.
        path: the file.
        is_package: True for an ``__init__.py``.
        tree: the parsed source.
        names: every name that the top level of the file binds, imports included.
    """

    name: str
    path: Path
    is_package: bool
    tree: ast.Module
    names: frozenset[str]

    @property
    def folder(self) -> str:
        """Dotted name of the package that the file lies in."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @property
    def summary(self) -> str:
        """First line of the docstring, empty when there is none."""
        return (ast.get_docstring(self.tree) or "").partition("\n")[0]


@dataclass(frozen=True)
class Import:
    """One name that one line of a module imports.

    Attributes:
        importer: dotted name of the module that imports.
        path: its file.
        line: line of the statement, from 1.
        source: the module that the statement names, made absolute.
        name: the name taken out of ``source``; None for ``import source``, ``*`` for all names.
        target: the module or package that holds the name: ``source.name`` where that is a module
            and not a name that ``source`` offers itself, else ``source``.
        internal: True when ``target`` is one of the modules of the graph.
        type_only: True below ``if TYPE_CHECKING``.
        deferred: True inside a function, so that it runs only when the function is called.
        relative: True when the statement begins with dots.
    """

    importer: str
    path: Path
    line: int
    source: str
    name: str | None
    target: str
    internal: bool
    type_only: bool
    deferred: bool
    relative: bool

    @property
    def written(self) -> str:
        """Dotted name of what is imported, as the statement spells it."""
        return f"{self.source}.{self.name}" if self.name else self.source


@dataclass(frozen=True)
class Offer:
    """One name of a package's face.

    Attributes:
        name: the name as an importer writes it.
        source: module that it is taken from; None when the face defines it itself.
        original: its name in ``source``; None when the name is ``source`` itself, a module.
        line: line of the face that offers it.
    """

    name: str
    source: str | None
    original: str | None
    line: int


@dataclass(frozen=True)
class Face:
    """The names that a package offers to importers from outside.

    Attributes:
        package: dotted name.
        path: the file that lists the names: ``__init__.pyi`` where there is one (its names are
            attached lazily), else ``__init__.py``.
        offers: the names, each with where it is taken from.
    """

    package: str
    path: Path
    offers: Mapping[str, Offer]


@dataclass(frozen=True)
class ImportGraph:
    """The modules of one package, with what they import and what its packages offer.

    Attributes:
        package: name of the package.
        root: folder that holds the package; paths in messages are given from here.
        modules: every module by its dotted name.
        faces: the face of every package by its dotted name.
        imports: every import of every module, in the order of module and line.
    """

    package: str
    root: Path
    modules: Mapping[str, Module]
    faces: Mapping[str, Face]
    imports: tuple[Import, ...]

    def room(self, module: str) -> str:
        """Returns the first part of a module's name below the package; empty for the package."""
        if module == self.package:
            return ""
        return module.removeprefix(f"{self.package}.").partition(".")[0]

    @cached_property
    def rooms(self) -> tuple[str, ...]:
        """Every room: the packages and modules directly below the package, and files beside it."""
        return tuple(sorted({self.room(name) for name in self.modules} - {""}))

    def room_module(self, room: str) -> Module:
        """Returns the module that stands for a room: its ``__init__`` or its only file."""
        return self.modules.get(f"{self.package}.{room}") or self.modules[room]

    def modules_of(self, room: str) -> list[Module]:
        """Returns the modules of a room, its ``__init__`` included."""
        return [module for name, module in self.modules.items() if self.room(name) == room]

    def place(self, imported: Import) -> str:
        """Returns ``file:line`` of an import, from the root of the checkout."""
        return f"{imported.path.relative_to(self.root)}:{imported.line}"

    @cached_property
    def between_modules(self) -> tuple[Import, ...]:
        """The imports between different modules of the graph."""
        return tuple(i for i in self.imports if i.internal and i.target != i.importer)

    def origin(self, imported: Import) -> str:
        """Returns the module that defines an imported name, looked up through the faces."""
        target, name = imported.target, imported.name
        if name is None or target != imported.source:
            return target
        while (face := self.faces.get(target)) and (offer := face.offers.get(name)):
            if offer.source is None or offer.source not in self.modules:
                break
            target = offer.source
            if offer.original is None:
                break
            name = offer.original
        return target

    def module_arrows(self, *, at_import: bool = False) -> dict[str, set[str]]:
        """Returns for each module the modules that it takes names from, faces seen through.

        Args:
            at_import: say what Python runs when the module is imported: the packages that hold it
                too, and nothing that is imported for types only or inside of functions.
        """
        arrows: dict[str, set[str]] = {name: set() for name in self.modules}
        for imported in self.between_modules:
            if not (at_import and (imported.type_only or imported.deferred)):
                arrows[imported.importer].add(self.origin(imported))
        if at_import:
            for name in self.modules:
                holder = name.rpartition(".")[0]
                arrows[name] |= {holder} & set(self.modules)
        return arrows

    def room_arrows(self) -> dict[str, set[str]]:
        """Returns for each room the other rooms that it imports from."""
        arrows: dict[str, set[str]] = {room: set() for room in self.rooms}
        for imported in self.between_modules:
            importer, target = self.room(imported.importer), self.room(imported.target)
            if importer and target and importer != target:
                arrows[importer].add(target)
        return arrows

    def third_party(self) -> list[Import]:
        """Returns the imports that are neither of this package nor of the standard library."""
        return [
            imported
            for imported in self.imports
            if not imported.internal
            and imported.source.partition(".")[0] not in sys.stdlib_module_names
        ]


def read_package(package: Path, *beside: Path) -> ImportGraph:
    """Reads a package, and single files that stand beside it, into a graph.

    Args:
        package: folder with the package's ``__init__.py``.
        beside: further files, each a room of its own, as ``definitions.py`` is.

    Raises:
        SyntaxError: a file is no Python.
        FileNotFoundError: there is no such package or file.
    """
    if not (package / "__init__.py").is_file():
        message = f"{package} holds no __init__.py; name the folder of a package"
        raise FileNotFoundError(message)
    read = [_module(path, _dotted(path, package.parent)) for path in sorted(package.rglob("*.py"))]
    read += [_module(path, path.stem) for path in beside]
    modules = {module.name: module for module in read}
    faces = {m.name: _face(m, modules) for m in read if m.is_package}
    imports = [found for module in read for found in _imports(module, modules, faces)]
    return ImportGraph(package.name, package.parent, modules, faces, tuple(imports))


def _dotted(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _module(path: Path, name: str) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return Module(name, path, path.name == "__init__.py", tree, frozenset(_bound(tree.body)))


def _bound(body: Iterable[ast.AST]) -> Iterator[str]:
    """Yields the names that statements bind in their own scope."""
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name
            continue
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0]
        for target in _targets(statement):
            yield from (
                node.id
                for node in ast.walk(target)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            )
        for block in ("body", "orelse", "finalbody", "handlers"):
            yield from _bound(getattr(statement, block, ()))


def _targets(statement: ast.AST) -> list[ast.expr]:
    if isinstance(statement, ast.Assign):
        return statement.targets
    if isinstance(statement, ast.AnnAssign | ast.For):
        return [statement.target]
    if isinstance(statement, ast.With):
        return [item.optional_vars for item in statement.items if item.optional_vars]
    return []


def _face(package: Module, modules: Mapping[str, Module]) -> Face:
    stub = package.path.with_suffix(".pyi")
    path = stub if stub.is_file() else package.path
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    offers = {offer.name: offer for offer in _offers(tree, package.name, modules)}
    if (listed := _listed(tree)) is not None:
        offers = {name: offer for name, offer in offers.items() if name in listed}
    return Face(package.name, path, offers)


def _offers(tree: ast.Module, package: str, modules: Mapping[str, Module]) -> Iterator[Offer]:
    """Yields the public names that the top level of a face binds, from other packages or not."""
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom):
            source = _absolute(statement, package, is_package=True)
            if source.partition(".")[0] != package.partition(".")[0]:
                continue
            for alias in statement.names:
                name = alias.asname or alias.name
                taken = f"{source}.{alias.name}"
                is_module = taken in modules and alias.name not in modules[source].names
                yield (
                    Offer(name, taken, None, statement.lineno)
                    if is_module
                    else Offer(name, source, alias.name, statement.lineno)
                )
        elif not isinstance(statement, ast.Import):
            for name in _bound([statement]):
                if not name.startswith("_") or name == "__version__":
                    yield Offer(name, None, name, statement.lineno)


def _listed(tree: ast.Module) -> set[str] | None:
    """Returns the names in ``__all__``; None when the face has no list of plain strings."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                items = statement.value.elts if isinstance(statement.value, _Sequence) else None
                if items is not None:
                    return {str(i.value) for i in items if isinstance(i, ast.Constant)}
    return None


_Sequence = (ast.List, ast.Tuple)


def _absolute(statement: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    """Returns the module that a ``from`` names, with leading dots resolved."""
    if not statement.level:
        return statement.module or ""
    parts = module.split(".")
    above = statement.level - (1 if is_package else 0)
    base = parts[: len(parts) - above]
    return ".".join([*base, statement.module] if statement.module else base)


def _imports(
    module: Module, modules: Mapping[str, Module], faces: Mapping[str, Face]
) -> Iterator[Import]:
    for statement, type_only, deferred in _statements(module.tree, False, False):
        for source, name in _named(statement, module):
            target = _target(source, name, modules, faces)
            yield Import(
                importer=module.name,
                path=module.path,
                line=statement.lineno,
                source=source,
                name=name,
                target=target,
                internal=target in modules,
                type_only=type_only,
                deferred=deferred,
                relative=isinstance(statement, ast.ImportFrom) and statement.level > 0,
            )


def _named(
    statement: ast.Import | ast.ImportFrom, module: Module
) -> Iterator[tuple[str, str | None]]:
    if isinstance(statement, ast.Import):
        yield from ((alias.name, None) for alias in statement.names)
    else:
        source = _absolute(statement, module.name, is_package=module.is_package)
        yield from ((source, alias.name) for alias in statement.names)


def _target(
    source: str, name: str | None, modules: Mapping[str, Module], faces: Mapping[str, Face]
) -> str:
    taken = f"{source}.{name}"
    face = faces.get(source)
    if name and taken in modules and not (face and name in face.offers):
        return taken
    # `import a.b.c` of ours names a module; a name of a class in it is no part of the graph.
    return source


def _statements(
    node: ast.AST, type_only: bool, deferred: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    """Yields every import below a node, with whether it is for types only and whether deferred."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, type_only, deferred
        elif isinstance(child, ast.If) and _asks_type_checking(child.test):
            for statement in child.body:
                yield from _statements(ast.Module([statement], []), True, deferred)
            for statement in child.orelse:
                yield from _statements(ast.Module([statement], []), type_only, deferred)
        else:
            yield from _statements(child, type_only, deferred or isinstance(child, _Function))


def _asks_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def main(arguments: list[str] | None = None) -> None:
    """Prints a view of this repository's import graph."""
    parser = argparse.ArgumentParser(prog="python -m tools.import_graph", description=__doc__)
    parser.add_argument("--package", type=Path, default=PACKAGE, help="folder of the package")
    views = parser.add_subparsers(dest="view", required=True)
    views.add_parser("rooms", help="print the rooms that each room imports")
    views.add_parser("third-party", help="print the libraries that each room imports")
    importers = views.add_parser("importers", help="print the lines that import a module")
    importers.add_argument("module", help="dotted name below the package, as trust.verify.verifier")
    chosen = parser.parse_args(arguments)
    graph = read_package(chosen.package)
    if chosen.view == "rooms":
        _print_mapping(graph.room_arrows())
    elif chosen.view == "third-party":
        _print_mapping(_libraries(graph))
    else:
        _print_importers(graph, f"{graph.package}.{chosen.module}")


def _libraries(graph: ImportGraph) -> dict[str, set[str]]:
    libraries: dict[str, set[str]] = defaultdict(set)
    for imported in graph.third_party():
        libraries[graph.room(imported.importer)].add(imported.source.partition(".")[0])
    return libraries


def _print_mapping(mapping: Mapping[str, set[str]]) -> None:
    for name, values in sorted(mapping.items()):
        print(f"{name}: {', '.join(sorted(values))}")


def _print_importers(graph: ImportGraph, module: str) -> None:
    for imported in graph.between_modules:
        if graph.origin(imported) == module:
            print(f"{graph.place(imported)} imports {imported.written}")


if __name__ == "__main__":
    main()
