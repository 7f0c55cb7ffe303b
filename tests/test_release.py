"""The version is the one that the changelog released last, and the changelog is in order."""

from __future__ import annotations

import re
from datetime import date

from inferencebench_pipeline import __version__
from tests.paths import REPOSITORY

HEADINGS = re.findall(r"^## (.+)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
RELEASES = [re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - (\d{4}-\d\d-\d\d)", line) for line in HEADINGS[1:]]


def test_the_newest_release_of_the_changelog_is_the_version() -> None:
    assert HEADINGS[0] == "Unreleased"
    assert HEADINGS[1].partition(" - ")[0] == __version__


def test_releases_stand_newest_first_with_their_days() -> None:
    assert all(RELEASES), HEADINGS
    numbers = [tuple(int(part) for part in found.groups()[:3]) for found in RELEASES if found]
    days = [date.fromisoformat(found[4]) for found in RELEASES if found]
    assert numbers == sorted(numbers, reverse=True)
    assert days == sorted(days, reverse=True)


def test_make_help_names_every_command() -> None:
    text = (REPOSITORY / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony
    told = re.findall(r"^([a-z-]+):.*## \w", text, re.MULTILINE)
    assert sorted(told) == sorted(phony[1].split())
