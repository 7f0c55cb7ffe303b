"""The mutation tool: the faults it makes, the tests it chooses, and what it says of survivors."""

from __future__ import annotations

import ast
import subprocess
import time
from pathlib import Path

import pytest

from tools.mutants import (
    Mutant,
    Outcome,
    changed_lines,
    mutants,
    named_lines,
    nearest_tests,
    parse_allowed,
    report,
    try_all,
)

LARGER = '''\
"""Numbers."""

LIMIT = {"low": 1, "high": 2}


def larger(a: int, b: int) -> int:
    """Return the larger one."""
    if a < b:
        return b
    return a


class Sums:
    """Adds up."""

    def total(self, values: list[int]) -> int:
        """Return the sum."""
        return sum(values, start=0)
'''
TESTS = """\
from made_up.numbers.larger import larger


def test_larger():
    assert larger(1, 2) == 2
    assert larger(2, 1) == 2
"""


def changes(text: str, lines: set[int] | None = None) -> set[str]:
    every = set(range(1, 99))
    return {mutant.change for mutant in mutants("x.py", text, lines or every)}


def in_function(body: str) -> set[str]:
    return changes(f"def made(a, b, c):\n    {body}\n")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x = a < b", {"`a < b` -> `a <= b`"}),
        ("x = a >= b", {"`a >= b` -> `a > b`"}),
        ("x = a == b", {"`a == b` -> `a != b`"}),
        ("x = a is b", {"`a is b` -> `a is not b`"}),
        ("x = a in b", {"`a in b` -> `a not in b`"}),
        ("x = not a", {"`not a` -> `a`"}),
        (
            "x = a and b or c",
            {
                "`a and b or c` -> `(a and b) and c`",
                "`a and b or c` -> `c`",
                "`a and b or c` -> `a and b`",
                "`a and b` -> `a or b`",
                "`a and b` -> `b`",
                "`a and b` -> `a`",
            },
        ),
        ("x = a + b", {"`a + b` -> `a - b`"}),
        ("x = a // b", {"`a // b` -> `a * b`"}),
        ("return a", {"`return a` -> `return None`"}),
        ("return None", set()),
        ("raise ValueError(a < b)", {"`raise ValueError(a < b)` -> `pass`"}),
        ("a.close()", {"`a.close()` -> `pass`"}),
        ("x = a(b, c)", {"`a(b, c)` -> `a(c, b)`"}),
        ("x = a(b=c)", {"`a(b=c)` -> `a()`"}),
        ("x = 7", {"`7` -> `8`"}),
        ("x = True", {"`True` -> `False`"}),
        ("x = 'cached_tokens'", {"`'cached_tokens'` -> `'cached_tokensX'`"}),
        ("x = 'a sentence for people'", set()),
        ("x = f'{a} tokens'", set()),
        ("'a docstring'", set()),
        ("x: int = a", set()),
        ("x = {a, b}", {"`{a, b}` -> `{b}`", "`{a, b}` -> `{a}`"}),
        ("x = {a: b}", {"`{a: b}` -> `{}`"}),
        (
            "x = a if b else c",
            {"`a if b else c` -> `a if True else c`", "`a if b else c` -> `a if False else c`"},
        ),
    ],
)
def test_each_kind_of_fault_is_made(body: str, expected: set[str]) -> None:
    assert in_function(body) == expected


def test_only_what_was_touched_is_mutated_and_every_other_byte_stays() -> None:
    found = list(mutants("x.py", LARGER, {8}))
    assert {mutant.function for mutant in found} == {"larger"}
    assert {mutant.change for mutant in found} == {
        "`a < b` -> `a <= b`",
        "`if a < b: return b` -> `if True: return b`",
        "`if a < b: return b` -> `if False: return b`",
        "`return b` -> `return None`",
        "`return a` -> `return None`",
    }
    for mutant in found:
        ast.parse(mutant.text)
        same = [
            line
            for line, other in zip(LARGER.splitlines(), mutant.text.splitlines(), strict=False)
            if line == other
        ]
        assert len(same) >= 7
    (in_class,) = {mutant.function for mutant in mutants("x.py", LARGER, {18})}
    assert in_class == "Sums.total"
    at_module = {mutant.change for mutant in mutants("x.py", LARGER, {3})}
    assert "`{'low': 1, 'high': 2}` -> `{'high': 2}`" in at_module
    assert "`1` -> `2`" in at_module


def git(root: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one package, its test, and a change since the first commit."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    package, tests = tmp_path / "made_up/numbers", tmp_path / "tests/numbers"
    for folder in (package, tests):
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder.parent / "__init__.py").touch()
    (package / "larger.py").write_text(LARGER.replace("a < b", "b > a"))
    (package / "untested.py").write_text("def alone():\n    return 1\n")
    (tests / "test_larger.py").write_text(TESTS)
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Begin")
    (package / "larger.py").write_text(LARGER)
    return tmp_path


def test_the_lines_that_changed_are_found_before_they_are_committed(checkout: Path) -> None:
    assert changed_lines(checkout, "main", "made_up") == {"made_up/numbers/larger.py": {8}}


def test_survivors_are_told_and_the_checkout_is_left_alone(checkout: Path) -> None:
    changed = changed_lines(checkout, "main", "made_up")
    outcome = try_all(checkout, changed, budget_s=60, workers=2, seed=1)
    assert outcome.killed == 4
    (survivor,) = outcome.survivors
    assert survivor.key == "made_up/numbers/larger.py larger: `a < b` -> `a <= b`"
    assert (outcome.untested, outcome.broken, outcome.left) == ((), (), 0)
    assert (checkout / "made_up/numbers/larger.py").read_text() == LARGER


def test_what_cannot_be_judged_is_told(checkout: Path) -> None:
    (checkout / "tests/numbers/test_larger.py").write_text(TESTS.replace("== 2", "== 3"))
    (checkout / "tests/other").mkdir()
    (checkout / "made_up/other").mkdir()
    (checkout / "made_up/other/lonely.py").write_text("def alone():\n    return 1\n")
    changed = {"made_up/numbers/larger.py": {8}, "made_up/other/lonely.py": {2}}
    outcome = try_all(checkout, changed, budget_s=60, workers=1, seed=1)
    assert outcome.untested == ("made_up/other/lonely.py",)
    assert outcome.broken == ("made_up/numbers/larger.py",)
    assert report(outcome, set())[1] is False


def test_the_next_nearest_tests_judge_what_the_nearest_let_pass(checkout: Path) -> None:
    """The test that mirrors the file misses one fault, which another that imports it notices."""
    (checkout / "tests/numbers/test_users.py").write_text(
        "from made_up.numbers.larger import larger\n\ndef test_equal():\n"
        "    assert type(larger(1, 1.0)) is int\n"
    )
    changed = changed_lines(checkout, "main", "made_up")
    outcome = try_all(checkout, changed, budget_s=60, workers=1, seed=1)
    assert (outcome.killed, outcome.survivors, outcome.left) == (5, (), 0)


def test_tests_that_never_end_use_up_the_time_and_no_more(checkout: Path) -> None:
    (checkout / "tests/numbers/test_larger.py").write_text(
        "import time\n\ndef test_for_ever():\n    time.sleep(600)\n"
    )
    began = time.monotonic()
    changed = changed_lines(checkout, "main", "made_up")
    outcome = try_all(checkout, changed, budget_s=5, workers=2, seed=1)
    assert time.monotonic() - began < 60
    assert outcome.broken == ("made_up/numbers/larger.py",)
    assert (outcome.killed, outcome.survivors, outcome.left) == (0, (), 5)


def test_a_function_is_mutated_when_it_is_named(checkout: Path) -> None:
    path = "made_up/numbers/larger.py"
    whole = named_lines(checkout, [path])[path]
    alone = named_lines(checkout, [f"{path}:Sums.total"])[path]
    assert {mutant.function for mutant in mutants(path, LARGER, alone)} == {"Sums.total"}
    assert alone < whole
    assert named_lines(checkout, []) == {}
    with pytest.raises(ValueError, match="has no function lesser"):
        named_lines(checkout, [f"{path}:lesser"])


def test_no_time_tries_nothing(checkout: Path) -> None:
    changed = changed_lines(checkout, "main", "made_up")
    outcome = try_all(checkout, changed, budget_s=0, workers=1, seed=1)
    assert (outcome.killed, outcome.survivors, outcome.left) == (0, (), 5)


def test_the_nearest_tests_come_first(tmp_path: Path) -> None:
    for name, text in {
        "tests/a/test_file.py": "",
        "tests/a/test_other.py": "from made_up.a.file import x",
        "tests/b/test_far.py": "from made_up.a import file",
        "tests/a/test_beside.py": "from made_up.a.files import x",
        "tests/b/test_file.py": "nothing of it",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert nearest_tests(tmp_path, "made_up/a/file.py") == [
        "tests/a/test_file.py",
        "tests/a/test_other.py",
        "tests/b/test_far.py",
        "tests/a/test_beside.py",
    ]


def test_a_survivor_that_is_listed_is_no_failure() -> None:
    mutant = Mutant("a.py", "f", 3, "`1` -> `2`", "")
    outcome = Outcome(7, (mutant,), (), (), 2)
    lines, well = report(outcome, set())
    assert not well
    assert lines == [
        "7 faults noticed, 1 survived (0 of them listed), 2 not tried",
        "line 3: a.py f: `1` -> `2`",
    ]
    allowed = parse_allowed("# It changes nothing.\na.py f: `1` -> `2`\n\n")
    lines, well = report(outcome, allowed)
    assert well
    assert lines == ["7 faults noticed, 1 survived (1 of them listed), 2 not tried"]
