"""Small faults in the functions that a change touches, each of which a test should notice.

``python -m tools.mutants`` compares the checkout with a base, makes one fault after the other in a
copy of it, and runs the tests that are nearest to the file: the one that mirrors it first, and the
next only when that one passes. A fault that every one of them passes is a survivor: a test is
missing, or the fault changes nothing that matters, which is then written with its reason into
``tools/mutants_allowed.txt``. Survivors that are not listed there make it fail. Files, or single
functions as ``file.py:function``, may be named instead of what changed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
ALLOWED: Final = "tools/mutants_allowed.txt"
PACKAGE: Final = "inferencebench_pipeline"
BUDGET_S: Final = 300.0
MOST_TEST_FILES: Final = 4
FAST: Final = ("-m", "not slow and not nightly and not ui and not engine")
"""The tests that are tried; a long one would use up the time of a hundred faults."""

_HUNK = re.compile(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_][\w.-]*")
_OTHER_COMPARISON: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OTHER_OPERATOR: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


@dataclass(frozen=True)
class Mutant:
    """One fault: where it is, what it changes, and the file's text with it."""

    path: str
    function: str
    """Its qualified name, or ``module`` outside any."""
    line: int
    change: str
    text: str = field(repr=False)

    @property
    def key(self) -> str:
        """Return what identifies it while the lines above it change."""
        return f"{self.path} {self.function}: {self.change}"


# -- faults


def alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in the place of ``node``, one fault each."""
    match node:
        case ast.Compare(ops=[operator, *_]):
            other = copy.deepcopy(node)
            other.ops[0] = _OTHER_COMPARISON[type(operator)]()
            yield other
        case ast.BoolOp():
            other_kind = copy.deepcopy(node)
            other_kind.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            yield other_kind
            for position in range(len(node.values)):
                rest = [*node.values[:position], *node.values[position + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.BinOp() if type(node.op) in _OTHER_OPERATOR:
            yield ast.BinOp(node.left, _OTHER_OPERATOR[type(node.op)](), node.right)
        case ast.If() | ast.While() | ast.IfExp():
            for value in (True, False) if not isinstance(node, ast.While) else (False,):
                decided = copy.deepcopy(node)
                decided.test = ast.Constant(value)
                yield decided
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Raise() | ast.Expr(value=ast.Call()) | ast.AugAssign() | ast.Continue():
            yield ast.Pass()
        case ast.Call():
            yield from _fewer_arguments(node)
        case ast.Constant():
            yield from _other_constants(node)
        case ast.Dict(keys=[_, *_]) | ast.Set(elts=[_, _, *_]):
            yield from _fewer_elements(node)


def _fewer_arguments(node: ast.Call) -> Iterator[ast.AST]:
    for position, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            fewer = copy.deepcopy(node)
            del fewer.keywords[position]
            yield fewer
    if len(node.args) == 2 and not any(isinstance(each, ast.Starred) for each in node.args):
        swapped = copy.deepcopy(node)
        swapped.args.reverse()
        yield swapped


def _other_constants(node: ast.Constant) -> Iterator[ast.AST]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, int | float):
        yield ast.Constant(node.value + 1)
    elif isinstance(node.value, str) and _NAME.fullmatch(node.value):
        yield ast.Constant(f"{node.value}X")


def _fewer_elements(node: ast.Dict | ast.Set) -> Iterator[ast.AST]:
    if isinstance(node, ast.Dict):
        for position in range(len(node.keys)):
            fewer = copy.deepcopy(node)
            del fewer.keys[position], fewer.values[position]
            yield fewer
        return
    for position in range(len(node.elts)):
        rest = copy.deepcopy(node)
        del rest.elts[position]
        yield rest


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def mutants(path: str, text: str, lines: set[int]) -> Iterator[Mutant]:
    """Yield every fault in the functions, and the statements outside any, that ``lines`` touch."""
    tree = ast.parse(text)
    for name, statement in _touched(tree, lines):
        for node in _mutable(statement):
            for other in alternatives(node):
                change = f"`{_shown(node)}` -> `{_shown(other)}`"
                yield Mutant(path, name, node.lineno, change, _with(text, node, other))


def _touched(tree: ast.Module, lines: set[int]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the innermost-named functions, and other statements, that hold one of the lines."""

    def visit(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.stmt]]:
        for statement in body:
            first = min([statement.lineno, *(d.lineno for d in _decorators(statement))])
            if not lines.intersection(range(first, (statement.end_lineno or first) + 1)):
                continue
            if isinstance(statement, ast.ClassDef):
                yield from visit(statement.body, f"{prefix}{statement.name}.")
            elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{prefix}{statement.name}", statement
            elif not isinstance(statement, ast.Import | ast.ImportFrom):
                yield f"{prefix}module" if not prefix else prefix.rstrip("."), statement

    return visit(tree.body, "")


def _decorators(statement: ast.stmt) -> list[ast.expr]:
    return list(getattr(statement, "decorator_list", []))


def _mutable(statement: ast.stmt) -> Iterator[ast.expr | ast.stmt]:
    """Yield the nodes of a statement but for annotations, docstrings, messages and decorators."""
    skipped: set[int] = set()
    for node in ast.walk(statement):
        left_out: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            left_out = [
                node.returns,
                *node.decorator_list,
                *(a.annotation for a in _arguments(node)),
            ]
        elif isinstance(node, ast.AnnAssign):
            left_out = [node.annotation]
        elif isinstance(node, ast.Raise):
            left_out = [node.exc]
        elif isinstance(node, ast.JoinedStr):
            left_out = [*node.values]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out = [node.value]
        for each in left_out:
            skipped.update(id(inner) for inner in ast.walk(each)) if each is not None else None
    for node in ast.walk(statement):
        if id(node) not in skipped and isinstance(node, ast.expr | ast.stmt):
            yield node


def _arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.arg]:
    found = node.args
    return [
        *found.posonlyargs,
        *found.args,
        *found.kwonlyargs,
        *filter(None, (found.vararg, found.kwarg)),
    ]


def _shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _with(text: str, node: ast.expr | ast.stmt, other: ast.AST) -> str:
    """Return the text with ``other`` in the place of ``node``; all other bytes stay."""
    data = text.encode().splitlines(keepends=True)
    assert node.end_lineno is not None and node.end_col_offset is not None
    before = b"".join(data[: node.lineno - 1]) + data[node.lineno - 1][: node.col_offset]
    after = data[node.end_lineno - 1][node.end_col_offset :] + b"".join(data[node.end_lineno :])
    written = ast.unparse(ast.fix_missing_locations(copy.deepcopy(other)))
    if isinstance(node, ast.expr):
        written = f"({written})"
    else:
        written = written.replace("\n", "\n" + " " * node.col_offset)
    return (before + written.encode() + after).decode()


# -- what changed, and which tests are near


def changed_lines(root: Path, base: str, package: str) -> dict[str, set[int]]:
    """Return the lines of each file of the package that are new since ``base``, uncommitted too."""
    names = _git(root, "diff", "--name-only", "--diff-filter=d", base, "--", f"{package}/")
    found = {}
    for path in names.splitlines():
        if path.endswith(".py"):
            hunks = _HUNK.findall(_git(root, "diff", "-U0", base, "--", path))
            found[path] = {
                line
                for first, count in hunks
                for line in range(int(first), int(first) + int(count or 1))
            }
    return found


def named_lines(root: Path, named: Sequence[str]) -> dict[str, set[int]]:
    """Return the lines of each ``file.py``, or of the one function in ``file.py:function``.

    Raises:
        ValueError: a file has no function of that name.
    """
    found: dict[str, set[int]] = {}
    for name in named:
        path, _, function = name.partition(":")
        tree = ast.parse((root / path).read_text())
        wanted = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == function.rpartition(".")[2]
        ]
        if function and not wanted:
            raise ValueError(f"{path} has no function {function}")
        lines = found.setdefault(path, set())
        if not function:
            lines |= set(range(1, 10**6))
        for node in wanted:
            lines |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return found


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True, text=True)
    return done.stdout


def nearest_tests(root: Path, path: str) -> list[str]:
    """Return the test files nearest to a file: of its name, that import it, of its folder."""
    package, *folders, name = Path(path).with_suffix("").parts
    above = re.escape(".".join((package, *folders)))
    imports = re.compile(rf"{above}\.{name}\b|from {above} import [^\n]*\b{name}\b")
    folder = root.joinpath("tests", *folders)
    ranks: dict[str, int] = {}
    for file in sorted((root / "tests").rglob("test_*.py")):
        is_imported = imports.search(file.read_text()) is not None
        is_near = folder in file.parents
        if file.stem == f"test_{name}" and is_near:
            rank = 0
        elif is_imported:
            rank = 1 if is_near else 2
        elif is_near:
            rank = 3
        else:
            continue
        ranks[file.relative_to(root).as_posix()] = rank
    return sorted(ranks, key=lambda file: (ranks[file], file))[:MOST_TEST_FILES]


def parse_allowed(text: str) -> set[str]:
    """Return the keys of the survivors that were looked at; a reason stands in the line above."""
    return {line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")}


# -- running


@dataclass(frozen=True)
class Outcome:
    """The outcome of the faults that there was time for."""

    killed: int
    survivors: tuple[Mutant, ...]
    untested: tuple[str, ...]
    """Files that no test is near to."""
    broken: tuple[str, ...]
    """Files whose nearest tests fail without any fault, or are not done in time."""
    left: int
    """Faults that were not judged: there was no time, or no test that passes."""


class Copy:
    """A copy of a checkout, in which one fault at a time is made."""

    def __init__(self, root: Path, folder: Path) -> None:
        """Copy the files that Git tracks, and new ones that it does not ignore."""
        self.folder = folder
        listed = _git(root, "ls-files", "--cached", "--others", "--exclude-standard")
        for name in listed.splitlines():
            if (root / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / name, folder / name)

    def passes(self, test: str, limit_s: float) -> bool:
        """Return whether the fast tests of a file pass in time; False when it has none."""
        pytest = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        environment = os.environ | {
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "INFERENCEBENCH_TEST_SEED": "1",
        }
        try:
            done = subprocess.run(
                [*pytest, *FAST, test],
                cwd=self.folder,
                env=environment,
                capture_output=True,
                timeout=limit_s,
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def survives(self, mutant: Mutant, test: str, limit_s: float) -> bool:
        """Return whether the tests of a file pass with this fault."""
        file = self.folder / mutant.path
        before = file.read_text()
        try:
            file.write_text(mutant.text)
            return self.passes(test, limit_s)
        finally:
            file.write_text(before)


class Limits:
    """The seconds that each file of tests may take, from a run of it without any fault."""

    def __init__(self, until: float) -> None:
        """Know nothing yet; ``until`` is when the time is over, by the monotonic clock."""
        self._until = until
        self._known: dict[str, float | None] = {}
        self._lock = threading.Lock()

    def of(self, test: str, mine: Copy) -> float | None:
        """Return the seconds that the file may take; None when it fails, or is not done in time."""
        with self._lock:
            if test not in self._known:
                began = time.monotonic()
                left_s = self._until - began
                passed = left_s > 0 and mine.passes(test, left_s)
                self._known[test] = 10 + 4 * (time.monotonic() - began) if passed else None
            return self._known[test]

    def are_known_of(self, tests: Sequence[str]) -> bool:
        """Return whether one of the files passes without any fault, as far as was tried."""
        return any(self._known.get(test) is not None for test in tests)


def judge(
    mutant: Mutant, tests: Sequence[str], mine: Copy, limits: Limits, until: float
) -> bool | None:
    """Return whether a fault survives, trying one file of tests after the other.

    Returns:
        None when the time is over before the last file, or when none of them passes without a
        fault.
    """
    was_tried = False
    for test in tests:
        limit_s = limits.of(test, mine)
        if limit_s is None:
            continue
        if time.monotonic() >= until:
            return None
        if not mine.survives(mutant, test, limit_s):
            return False
        was_tried = True
    return True if was_tried else None


def try_all(
    root: Path, changed: Mapping[str, set[int]], *, budget_s: float, workers: int, seed: int
) -> Outcome:
    """Try the faults in random order until the time is over, runs without a fault included."""
    until = time.monotonic() + budget_s
    limits = Limits(until)
    tests = {path: nearest_tests(root, path) for path in changed}
    todo = [
        mutant
        for path in sorted(path for path in changed if tests[path])
        for mutant in mutants(path, (root / path).read_text(), changed[path])
    ]
    random.Random(seed).shuffle(todo)
    count = len(todo)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(workers) as pool:
        copies = [Copy(root, Path(folder) / str(number)) for number in range(workers)]

        def work(mine: Copy) -> list[tuple[Mutant, bool | None]]:
            found = []
            while time.monotonic() < until:
                try:
                    mutant = todo.pop()
                except IndexError:  # another worker took the last one
                    break
                found.append((mutant, judge(mutant, tests[mutant.path], mine, limits, until)))
            return found

        tried = [each for found in pool.map(work, copies) for each in found]
    judged = [(mutant, survives) for mutant, survives in tried if survives is not None]
    survivors = sorted((m for m, survives in judged if survives), key=lambda m: (m.path, m.line))
    broken = {
        mutant.path
        for mutant, survives in tried
        if survives is None and not limits.are_known_of(tests[mutant.path])
    }
    return Outcome(
        killed=len(judged) - len(survivors),
        survivors=tuple(survivors),
        untested=tuple(sorted(path for path in changed if not tests[path])),
        broken=tuple(sorted(broken)),
        left=count - len(judged),
    )


def report(outcome: Outcome, allowed: set[str]) -> tuple[list[str], bool]:
    """Return what to print, and whether all is well."""
    unlisted = [mutant for mutant in outcome.survivors if mutant.key not in allowed]
    lines = [
        f"{outcome.killed} faults noticed, {len(outcome.survivors)} survived "
        f"({len(outcome.survivors) - len(unlisted)} of them listed), {outcome.left} not tried"
    ]
    lines += [f"{path}: no test is near" for path in outcome.untested]
    lines += [
        f"{path}: its tests fail without any fault, or take longer than the time given"
        for path in outcome.broken
    ]
    lines += [f"line {mutant.line}: {mutant.key}" for mutant in unlisted]
    return lines, not (unlisted or outcome.untested or outcome.broken)


def main() -> int:
    """Try the faults of a change and print the survivors; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--base", default="main", help="the commit to compare with")
    parser.add_argument("--seconds", type=float, default=BUDGET_S, help="how long to try faults")
    parser.add_argument("--workers", type=int, default=2, help="how many to try at once")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("named", nargs="*", help="file.py or file.py:function, not what changed")
    options = parser.parse_args()
    changed = named_lines(ROOT, options.named) or changed_lines(ROOT, options.base, PACKAGE)
    if not changed:
        print(f"no file of {PACKAGE} differs from {options.base}")
        return 0
    print(f"seed {options.seed}: {len(changed)} files")
    outcome = try_all(
        ROOT, changed, budget_s=options.seconds, workers=options.workers, seed=options.seed
    )
    lines, well = report(outcome, parse_allowed((ROOT / ALLOWED).read_text()))
    print("\n".join(lines))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
