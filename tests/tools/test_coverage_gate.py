"""The coverage gate: full rooms pass, a line or too many branches missed fail, numbers go down."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tools.coverage_gate import (
    GATED,
    RATCHET,
    ROOT,
    Measured,
    Missed,
    RatchetError,
    gated_tests,
    judge,
    measured_of,
    parse_ratchet,
    ratchet_text,
    require_lower,
    sources,
)

FULL = Measured(Missed(0, 0), 10)
ONE_LINE = Measured(Missed(1, 0), 10, (7,))
REPORT = {
    "files": {
        "package/trust/a.py": {
            "summary": {"missing_lines": 2, "missing_branches": 1, "num_branches": 8},
            "missing_lines": [3, 9],
        },
        "package/other/b.py": {"summary": {"missing_lines": 9}, "missing_lines": [1]},
    }
}


@pytest.mark.parametrize(
    ("missed", "branches", "enough"),
    [
        (Missed(0, 0), 0, True),
        (Missed(0, 0), 100, True),
        (Missed(0, 2), 100, True),
        (Missed(0, 3), 100, False),
        (Missed(0, 1), 49, False),
        (Missed(0, 1), 50, True),
        (Missed(1, 0), 100, False),
    ],
)
def test_every_line_and_98_of_100_branches_are_enough(
    missed: Missed, branches: int, enough: bool
) -> None:
    measured = {"a.py": Measured(missed, branches)}
    assert (judge(measured, {}) == []) == enough
    assert ("a.py" not in ratchet_text(measured)) == enough


def test_a_file_may_miss_what_the_ratchet_says_and_not_more() -> None:
    allowed = {"a.py": Missed(1, 1)}
    assert judge({"a.py": Measured(Missed(1, 1), 10)}, allowed) == []
    assert judge({"a.py": FULL}, allowed) == []
    assert judge({"a.py": Measured(Missed(2, 0), 10)}, allowed) == [
        "a.py misses 2 lines and 0 branches; it missed 1 and 1 before"
    ]
    assert judge({"a.py": Measured(Missed(0, 2), 10)}, allowed) != []
    assert judge({"b.py": ONE_LINE}, allowed) == [
        "b.py misses 1 lines and 0 of 10 branches; try them (lines 7)"
    ]


def test_the_report_of_coverage_is_read_for_the_gated_files_alone() -> None:
    found = measured_of(REPORT, ["package/trust/"])
    assert found == {"package/trust/a.py": Measured(Missed(2, 1), 8, (3, 9))}
    assert measured_of(REPORT, ["package/other/"])["package/other/b.py"].missed == Missed(9, 0)


def test_the_ratchet_is_read_as_it_is_written_and_only_goes_down() -> None:
    measured = {"b.py": Measured(Missed(2, 3), 9), "a.py": FULL}
    assert parse_ratchet(ratchet_text(measured)) == {"b.py": Missed(2, 3)}
    require_lower({}, measured)
    require_lower({"b.py": Missed(2, 4)}, measured)
    with pytest.raises(RatchetError, match="only goes down"):
        require_lower({"b.py": Missed(1, 3)}, measured)
    with pytest.raises(RatchetError, match="only goes down"):
        require_lower({"c.py": Missed(1, 3)}, measured)


@pytest.mark.parametrize("line", ["a.py", "a.py 1", "a.py 1 x", "a.py -1 1", "a.py 1 2 3"])
def test_a_line_of_the_ratchet_that_says_something_else_is_refused(line: str) -> None:
    with pytest.raises(RatchetError, match="line 1 is not"):
        parse_ratchet(line)
    with pytest.raises(RatchetError, match="line 2 is not"):
        parse_ratchet("a.py 1 2\na.py 1 2")


def test_every_gated_room_and_test_is_there_and_so_is_every_file_of_the_ratchet() -> None:
    for path in (*GATED, *gated_tests()):
        assert (ROOT / path).exists(), path
    for path in parse_ratchet(RATCHET.read_text()):
        assert (ROOT / path).is_file(), path


def test_folders_and_files_are_measured_under_the_names_that_they_are_imported_by() -> None:
    assert sources(["package/trust/", "package/a/b.py"]) == "package.trust,package.a.b"
    for name in sources(GATED).split(","):
        assert find_spec(name) is not None
