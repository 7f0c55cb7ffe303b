"""Figures of style of one or several checkouts, side by side as a Markdown table.

``python -m tools.style_figures CHECKOUT…`` prints a row for each figure and a column for each
checkout, this one when none is named. ``--riddles`` prints the docstrings to rewrite instead.
Everything is counted in the source, the documents and the history of Git. Nothing is run, and no
figure is a judgement.

What is counted, where a word could mean several things:

- A function's lines run from ``def`` to its end, docstring included and decorators left out.
- A public name is a module, class, function or method whose own name and whose holders' names do
  not begin with an underscore. Overloads and functions inside functions are left out.
- Branches are ``if``, ``for``, ``while``, ``except``, ``case``, conditional expressions, the loops
  and conditions of comprehensions, and each further operand of ``and`` and ``or``, of a function
  with those inside it.
- Arguments leave out ``self`` and ``cls``.
- A comment line holds a comment, behind code or alone; directives such as ``noqa`` are left out.
- A riddle is a docstring whose first word is a relative or question word: "What" or "Whose".
- A folder's modules are the files beside its ``__init__.py``; folders without any are left out.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import io
import itertools
import re
import statistics
import subprocess
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeGuard

from tools.digraph import circles, longest_path
from tools.import_graph import PACKAGE, ROOT, ImportGraph, Module, read_package

_RIDDLE = re.compile(r"(What|Who|Whom|Whose|Whether|Where|When|Which|Why|How)\b")
_IMAGE = re.compile(r"!\[[^\]]*\]\(|<img\b")
_FENCED = re.compile(r"^(```|~~~).*?^\1[`~]*\s*$", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"\w[\w'’-]*")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef
_BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.match_case,
    ast.IfExp,
    ast.comprehension,
)
_DIRECTIVE = re.compile(r"#\s*(noqa|type:|fmt:|ruff:|pragma:|pylint:|mypy:|isort:)|#!")


@dataclass(frozen=True)
class Lines:
    """The numbers of lines of one source file, by kind.

    Attributes:
        total: all lines of the file.
        code: lines that hold code and are no docstring.
        comments: number of the lines that hold a comment for a reader.
        docstrings: number of lines of docstrings, of attributes' docstrings too.
    """

    total: int
    code: int
    comments: int
    docstrings: int


@dataclass(frozen=True)
class Function:
    """One function or method.

    Attributes:
        node: its definition.
        public: True when neither its name nor that of a holder begins with an underscore.
        method: True when it is defined directly in a class.
    """

    node: _Definition
    public: bool
    method: bool

    @property
    def lines(self) -> int:
        """Number of lines from ``def`` to the end."""
        return (self.node.end_lineno or self.node.lineno) - self.node.lineno + 1

    @property
    def arguments(self) -> list[ast.arg]:
        """The arguments without ``self`` and ``cls``, ``*args`` and ``**kwargs`` included."""
        every = self.node.args
        named = [*every.posonlyargs, *every.args, *every.kwonlyargs]
        static = any(_name(d) == "staticmethod" for d in self.node.decorator_list)
        named = named[1:] if self.method and not static else named
        return [*named, *(arg for arg in (every.vararg, every.kwarg) if arg)]

    @property
    def typed(self) -> bool:
        """True when every argument and the result has a type."""
        returns = self.node.returns is not None or self.node.name == "__init__"
        return returns and all(argument.annotation for argument in self.arguments)

    @property
    def branches(self) -> int:
        """Number of places where the way through the function parts."""
        found = 0
        for node in ast.walk(self.node):
            found += isinstance(node, _BRANCHES)
            found += len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0
            found += len(node.ifs) if isinstance(node, ast.comprehension) else 0
        return found

    @property
    def raises(self) -> bool:
        """True when the function itself raises something new, not one inside it."""
        return any(
            isinstance(node, ast.Raise) and node.exc is not None for node in _own(self.node.body)
        )


@dataclass(frozen=True)
class Docstring:
    """One docstring and its place.

    Attributes:
        path: the file.
        line: its first line, from 1.
        text: the text without the indentation of the source.
    """

    path: Path
    line: int
    text: str

    @property
    def is_riddle(self) -> bool:
        """True when it opens with a relative or question word instead of a noun or a verb."""
        return _RIDDLE.match(self.text) is not None


@dataclass(frozen=True)
class Source:
    """The figures of one set of source files.

    Attributes:
        modules: the files.
    """

    modules: Sequence[Module]

    @cached_property
    def lines(self) -> list[Lines]:
        """The lines of each file."""
        return [_lines(module) for module in self.modules]

    @cached_property
    def functions(self) -> list[Function]:
        """The functions and methods of all files, with those inside functions."""
        return [
            function
            for module in self.modules
            for function in _functions(module.tree.body, public=_public(module.name))
        ]

    @cached_property
    def docstrings(self) -> list[Docstring]:
        """The docstrings of all modules, classes and functions."""
        return [
            Docstring(module.path, node.body[0].lineno, text)
            for module in self.modules
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and (text := ast.get_docstring(node))
        ]

    @cached_property
    def attribute_docstrings(self) -> list[Docstring]:
        """The strings that stand below an assignment and describe it."""
        return [
            Docstring(module.path, after.lineno, inspect.cleandoc(str(after.value.value)))
            for module in self.modules
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Module | ast.ClassDef)
            for before, after in itertools.pairwise(node.body)
            if isinstance(before, ast.Assign | ast.AnnAssign) and _is_text(after)
        ]

    @cached_property
    def documented(self) -> list[bool]:
        """For each public module, class, function and method, True when it has a docstring."""
        found = []
        for module in self.modules:
            if _public(module.name):
                found.append(ast.get_docstring(module.tree) is not None)
                found += _documented(module.tree.body)
        return found


@dataclass(frozen=True)
class Checkout:
    """One checkout of the repository.

    Attributes:
        root: its folder.
    """

    root: Path

    @cached_property
    def graph(self) -> ImportGraph:
        """The import graph of the package."""
        return read_package(self.root / PACKAGE.name)

    @cached_property
    def package(self) -> Source:
        """The source of the package."""
        return Source(list(self.graph.modules.values()))

    @cached_property
    def tests(self) -> Source:
        """The source of the tests, with what helps them."""
        return Source([_parsed(path) for path in sorted((self.root / "tests").rglob("*.py"))])

    @cached_property
    def documents(self) -> list[str]:
        """The texts of ``docs/`` and of the Markdown pages at the top, the changelog included."""
        pages = [*sorted(self.root.glob("*.md")), *sorted((self.root / "docs").rglob("*.md"))]
        return [page.read_text(encoding="utf-8") for page in pages]

    @cached_property
    def commits(self) -> list[tuple[str, str]]:
        """Subject and body of each commit that the checkout's head descends from."""
        log = subprocess.run(
            ["git", "-C", str(self.root), "log", "--no-merges", "--format=%s%x1f%b%x1e"],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        entries = [entry.strip("\n").partition("\x1f") for entry in log.split("\x1e")]
        return [(subject, body.strip()) for subject, _, body in entries if subject]


def _parsed(path: Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return Module(path.stem, path, path.name == "__init__.py", tree, frozenset())


def _lines(module: Module) -> Lines:
    text = module.path.read_text(encoding="utf-8")
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            if not _DIRECTIVE.match(token.string):
                comments.add(token.start[0])
        elif token.type not in _LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    documented = {
        line
        for node in ast.walk(module.tree)
        if isinstance(node, ast.stmt) and _is_text(node)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return Lines(text.count("\n"), len(code - documented), len(comments), len(documented))


_LAYOUT = {
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def _is_text(node: ast.stmt) -> TypeGuard[_TextStatement]:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


class _TextStatement(ast.Expr):
    """A statement that is nothing but a string."""

    value: ast.Constant


def _public(name: str) -> bool:
    """Returns True when no part of a dotted name is private; ``__init__`` and its kind are not."""
    return not any(
        part.startswith("_") and not (part.startswith("__") and part.endswith("__"))
        for part in name.split(".")
    )


def _functions(
    body: Iterable[ast.AST], *, public: bool, method: bool = False
) -> Iterator[Function]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            inside = public and _public(node.name)
            yield from _functions(node.body, public=inside, method=True)
        elif isinstance(node, _Definition):
            yield Function(node, public and _public(node.name), method)
            yield from _functions(node.body, public=False)
        else:
            yield from _functions(ast.iter_child_nodes(node), public=public, method=method)


def _documented(body: Iterable[ast.stmt]) -> Iterator[bool]:
    for node in body:
        if not isinstance(node, ast.ClassDef | _Definition):
            continue
        special = node.name.startswith("__")
        if special or not _public(node.name) or _is_overload(node):
            continue
        yield ast.get_docstring(node) is not None
        if isinstance(node, ast.ClassDef):
            yield from _documented(node.body)


def _is_overload(node: ast.ClassDef | _Definition) -> bool:
    return any(_name(decorator) == "overload" for decorator in node.decorator_list)


def _name(decorator: ast.expr) -> str:
    return ast.unparse(decorator).rpartition(".")[2]


def _own(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yields the nodes of a body without those of functions and classes inside it."""
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.Lambda | _Definition):
            yield node
            yield from _own(ast.iter_child_nodes(node))


def _spread(values: Iterable[float]) -> str:
    """Returns median, 90th percentile and maximum."""
    ordered = sorted(values)
    if not ordered:
        return "–"
    at_90 = ordered[min(len(ordered) - 1, int(0.9 * len(ordered)))]
    return f"{statistics.median(ordered):g} / {at_90:g} / {ordered[-1]:g}"


def _share(found: Iterable[object]) -> str:
    """Returns how many of the values are true, of how many, and in percent."""
    flags = [bool(value) for value in found]
    return f"{100 * sum(flags) / len(flags):.1f} % ({sum(flags)} of {len(flags)})" if flags else "–"


def _ratio(part: float, whole: float, unit: str = "") -> str:
    return f"{part / whole:.2f}{unit}" if whole else "–"


def _says_raises(source: Source) -> str:
    """Returns the share of public functions that raise and have a ``Raises:`` section."""
    raising = [function for function in source.functions if function.public and function.raises]
    return _share("Raises:" in (ast.get_docstring(function.node) or "") for function in raising)


def _modules_per_folder(graph: ImportGraph) -> str:
    folders = [
        sum(m.folder == package and not m.is_package for m in graph.modules.values())
        for package in graph.faces
    ]
    filled = [count for count in folders if count]
    return f"{statistics.median(filled):g} / {max(filled)}" if filled else "–"


def _private_imports(graph: ImportGraph) -> str:
    lines = {
        (imported.path, imported.line)
        for imported in graph.third_party()
        if not _public(imported.written)
    }
    return f"{len(lines)} in {len({path for path, _ in lines})} modules"


def _cycles(graph: ImportGraph) -> str:
    found = circles(graph.module_arrows())
    return f"{len(found)} (largest {len(found[0])})" if found else "0"


def _comment_share(source: Source) -> str:
    comments = sum(lines.comments for lines in source.lines)
    return _ratio(100 * comments, sum(lines.code for lines in source.lines), " %")


def _docstring_share(source: Source) -> str:
    documented = sum(lines.docstrings for lines in source.lines)
    return _ratio(100 * documented, sum(lines.total for lines in source.lines), " %")


def _semicolons(documents: Iterable[str]) -> str:
    prose = "\n".join(_FENCED.sub("", document) for document in documents)
    return _ratio(1000 * prose.count(";"), len(_WORD.findall(prose)))


def _test_functions(source: Source) -> list[Function]:
    return [f for f in source.functions if f.node.name.startswith("test")]


FIGURES: dict[str, Callable[[Checkout], str]] = {
    "modules / lines": lambda c: (
        f"{len(c.graph.modules)} / {sum(lines.total for lines in c.package.lines) / 1000:.1f}k"
    ),
    "lines of a module: median / p90 / max": lambda c: _spread(
        lines.total for lines in c.package.lines
    ),
    "modules per folder: median / max": lambda c: _modules_per_folder(c.graph),
    "functions fully typed": lambda c: _share(f.typed for f in c.package.functions),
    "public names with docstring": lambda c: _share(c.package.documented),
    "public functions that raise and have `Raises:`": lambda c: _says_raises(c.package),
    "lines of a function: median / p90 / max": lambda c: _spread(
        f.lines for f in c.package.functions
    ),
    "functions of more than 40 lines": lambda c: _share(f.lines > 40 for f in c.package.functions),
    "functions with more than 10 branches": lambda c: _share(
        f.branches > 10 for f in c.package.functions
    ),
    "functions with more than 4 arguments": lambda c: _share(
        len(f.arguments) > 4 for f in c.package.functions
    ),
    "comment lines per code line": lambda c: _comment_share(c.package),
    "docstring lines of all lines": lambda c: _docstring_share(c.package),
    "docstrings that open as a riddle": lambda c: _share(d.is_riddle for d in c.package.docstrings),
    "attribute docstrings that open as a riddle": lambda c: _share(
        d.is_riddle for d in c.package.attribute_docstrings
    ),
    "imports of private names of third parties (lines)": lambda c: _private_imports(c.graph),
    "import cycles": lambda c: _cycles(c.graph),
    "longest import chain (modules)": lambda c: str(len(longest_path(c.graph.module_arrows()))),
    "test lines per source line": lambda c: _ratio(
        sum(lines.total for lines in c.tests.lines), sum(lines.total for lines in c.package.lines)
    ),
    "test functions": lambda c: str(len(_test_functions(c.tests))),
    "lines of a test: median / p90 / max": lambda c: _spread(
        f.lines for f in _test_functions(c.tests)
    ),
    "length of a test's name: median / max": lambda c: _spread(
        len(f.node.name) for f in _test_functions(c.tests)
    ),
    "README: images / lines": lambda c: _readme(c.root / "README.md"),
    "semicolons per 1,000 words of documents": lambda c: _semicolons(c.documents),
    "commits": lambda c: str(len(c.commits)),
    "length of a subject: median / p90 / max": lambda c: _spread(
        len(subject) for subject, _ in c.commits
    ),
    "commits with a body": lambda c: _share(body for _, body in c.commits),
}
"""Every figure by its title."""


def _readme(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return f"{len(_IMAGE.findall(text))} / {text.count(chr(10))}"


def table(checkouts: dict[str, Checkout]) -> str:
    """Returns the figures of the checkouts as a Markdown table, a column for each title."""
    lines = [
        "| Figure | " + " | ".join(checkouts) + " |",
        "|---|" + "---|" * len(checkouts),
    ]
    for title, figure in FIGURES.items():
        cells = [figure(checkout) for checkout in checkouts.values()]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _riddles(checkouts: Iterable[Checkout]) -> Iterator[str]:
    """Yields the place and the first line of each docstring that opens as a riddle."""
    for checkout in checkouts:
        package = checkout.package
        for found in [*package.docstrings, *package.attribute_docstrings]:
            if found.is_riddle:
                place = f"{found.path.relative_to(checkout.root)}:{found.line}"
                yield f"{place}: {found.text.partition(chr(10))[0]}"


def main(arguments: list[str] | None = None) -> None:
    """Prints the table of the checkouts that the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m tools.style_figures", description=__doc__)
    parser.add_argument(
        "checkouts",
        nargs="*",
        metavar="[TITLE=]CHECKOUT",
        default=[str(ROOT)],
        help="folder of a checkout, with the heading of its column before it",
    )
    parser.add_argument(
        "--riddles", action="store_true", help="list the riddles of the checkouts instead"
    )
    chosen = parser.parse_args(arguments)
    named = {}
    for argument in chosen.checkouts:
        title, _, folder = argument.rpartition("=")
        named[title or Path(folder).resolve().name] = Checkout(Path(folder))
    print("\n".join(_riddles(named.values())) if chosen.riddles else table(named))


if __name__ == "__main__":
    main()
