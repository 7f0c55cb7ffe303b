"""docs/security.md promises nothing that no test holds: every test it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = TESTS.parent / "docs/security.md"
ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
PROMISES = [line for line in ROWS if not line.startswith(("| Promise", "| Accident"))]


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row.strip("| ")[:60])
def test_the_tests_that_hold_a_promise_are_there(row: str) -> None:
    named = re.findall(r"`([\w/]+(?:\.py|/))`", row.rstrip("| ").rpartition("|")[2])
    assert named, "the promise names no test"
    for name in named:
        found = TESTS / name
        assert found.is_file() or list(found.glob("test_*.py")), f"tests/{name} is gone"
