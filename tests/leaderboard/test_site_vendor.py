"""What the pages carry from elsewhere is what was written down when it was fetched."""

from __future__ import annotations

import hashlib
import re

import pytest

from tests.paths import REPOSITORY as ROOT

FOLDERS = ("inferencebench_pipeline/leaderboard/site/vendor", "tests/data/axe", "docs/vendor")
LINE = re.compile(r"^\| `([^`]+)` \| .* \| `([0-9a-f]{64})` \|$", re.MULTILINE)


@pytest.mark.parametrize("folder", FOLDERS)
def test_vendored_files_are_the_ones_written_down(folder):
    table = dict(LINE.findall((ROOT / folder / "VENDOR.md").read_text()))

    lying = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (ROOT / folder).iterdir()
        if path.name != "VENDOR.md"
    }

    assert lying == table
    assert any("LICENSE" in name for name in table)
