"""Lines and branches of the rooms where a fault is dangerous, which their own tests must reach.

``python -m tools.coverage_gate`` runs tests of these rooms under coverage, child processes
included, and fails when a file misses a line, or more than two of a hundred branches. It runs the
fast ones that always do the same: what drawn inputs reach differs from run to run, and no other
result of theirs should. The rest of ``make test`` runs all others. What a file still misses is
allowed in ``tools/coverage_ratchet.txt``, one file a line; the numbers there only go down.
``--keep`` writes them anew, and refuses to raise one. ``--all`` judges the whole package by the
whole suite, which takes long.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
RATCHET: Final = ROOT / "tools" / "coverage_ratchet.txt"
PACKAGE: Final = "inferencebench_pipeline"
GATED: Final = (
    f"{PACKAGE}/trust/",
    f"{PACKAGE}/envelope/",
    f"{PACKAGE}/measure/metrics/",
    f"{PACKAGE}/hub/dataset/publication.py",
    f"{PACKAGE}/hub/model_card/front_matter.py",
)
"""Beginnings of the paths of the files that are judged."""
BRANCHES_PERCENT: Final = 98.0


class RatchetError(ValueError):
    """A line of the ratchet file is no path with two numbers, or a number would be raised."""


@dataclass(frozen=True)
class Missed:
    """The number of lines and branches of a file that no test reached."""

    lines: int
    branches: int


@dataclass(frozen=True)
class Measured:
    """The part of a file that was reached."""

    missed: Missed
    branches: int
    """The number that the file has."""
    where: tuple[int, ...] = ()
    """The lines that were not reached."""

    @property
    def is_enough(self) -> bool:
        """Return whether every line is reached, and all but two of a hundred branches."""
        few = self.missed.branches * 100 <= self.branches * (100 - BRANCHES_PERCENT)
        return self.missed.lines == 0 and few


def gated_tests() -> list[str]:
    """Return the files and folders of tests that ``pyproject.toml`` names for the gate."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[str] = settings["tool"]["pytest"]["ini_options"]["gated_tests"]
    return found


def sources(beginnings: Sequence[str]) -> str:
    """Return the packages and modules that coverage measures, as its command line names them."""
    return ",".join(
        beginning.removesuffix("/").removesuffix(".py").replace("/", ".")
        for beginning in beginnings
    )


def measured_of(report: Mapping[str, object], beginnings: Sequence[str]) -> dict[str, Measured]:
    """Return what was reached of each file, from the JSON that ``coverage json`` writes."""
    files = report["files"]
    assert isinstance(files, dict)
    found = {}
    for path, entry in files.items():
        if path.startswith(tuple(beginnings)):
            summary = entry["summary"]
            found[path] = Measured(
                Missed(summary["missing_lines"], summary.get("missing_branches", 0)),
                summary.get("num_branches", 0),
                tuple(entry["missing_lines"]),
            )
    return found


def parse_ratchet(text: str) -> dict[str, Missed]:
    """Return how much each listed file may miss.

    Raises:
        RatchetError: a line is not a path with two numbers, or a path stands there twice.
    """
    found: dict[str, Missed] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        if len(words) != 3 or not (words[1] + words[2]).isdigit() or words[0] in found:
            raise RatchetError(f"line {number} is not a new path with two numbers: {line!r}")
        found[words[0]] = Missed(int(words[1]), int(words[2]))
    return found


def ratchet_text(measured: Mapping[str, Measured]) -> str:
    """Return the text of the ratchet file for what is missed now."""
    lines = [
        f"{path} {each.missed.lines} {each.missed.branches}"
        for path, each in sorted(measured.items())
        if not each.is_enough
    ]
    head = "# File, lines and branches that its tests may miss. The numbers only go down.\n"
    return head + "".join(f"{line}\n" for line in lines)


def judge(measured: Mapping[str, Measured], allowed: Mapping[str, Missed]) -> list[str]:
    """Return each file that misses more than it may, in a sentence."""
    problems = []
    for path, each in sorted(measured.items()):
        may = allowed.get(path)
        if each.is_enough:
            continue
        if may is None:
            where = ", ".join(map(str, each.where[:20]))
            problems.append(
                f"{path} misses {each.missed.lines} lines and {each.missed.branches} of "
                f"{each.branches} branches; try them (lines {where or 'none'})"
            )
        elif each.missed.lines > may.lines or each.missed.branches > may.branches:
            problems.append(
                f"{path} misses {each.missed.lines} lines and {each.missed.branches} branches; "
                f"it missed {may.lines} and {may.branches} before"
            )
    return problems


def require_lower(before: Mapping[str, Missed], measured: Mapping[str, Measured]) -> None:
    """Check that no number of the ratchet would be raised.

    Raises:
        RatchetError: one would.
    """
    if before and (problems := judge(measured, before)):
        raise RatchetError("the ratchet only goes down:\n" + "\n".join(problems))


def run(arguments: Sequence[str], beginnings: Sequence[str]) -> dict[str, object] | None:
    """Run pytest with ``arguments`` under coverage; return the report, or None when tests fail."""
    coverage = [sys.executable, "-m", "coverage"]
    subprocess.run([*coverage, "erase"], cwd=ROOT, check=True)
    (ROOT / ".coverage").mkdir(exist_ok=True)
    measured = [*coverage, "run", f"--source={sources(beginnings)}", "-m", "pytest"]
    tests = [*measured, "-q", "-p", "no:cacheprovider", *arguments]
    if subprocess.run(tests, cwd=ROOT).returncode != 0:
        return None
    subprocess.run([*coverage, "combine", "-q"], cwd=ROOT, check=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        subprocess.run([*coverage, "json", "-q", "-i", "-o", path], cwd=ROOT, check=True)
        report: dict[str, object] = json.loads(path.read_bytes())
    return report


def main() -> int:
    """Run the tests and judge what they reach; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--all", action="store_true", help="the whole package, by the whole suite")
    parser.add_argument("--keep", action="store_true", help="write the ratchet file anew")
    parser.add_argument("-n", default="0", help="processes that run the tests")
    options = parser.parse_args()
    beginnings = (f"{PACKAGE}/",) if options.all else GATED
    chosen = [] if options.all else ["--gated", "only", *gated_tests()]
    report = run(["-n", options.n, *chosen], beginnings)
    if report is None:
        print("The tests failed, so nothing is said about what they reach.")
        return 1
    measured = measured_of(report, beginnings)
    before = parse_ratchet(RATCHET.read_text()) if RATCHET.exists() else {}
    if options.keep:
        require_lower(before, measured)
        RATCHET.write_text(ratchet_text(measured))
    problems = judge(measured, before if not options.keep else parse_ratchet(RATCHET.read_text()))
    missed = sum(each.missed.lines for each in measured.values())
    full = sum(each.is_enough for each in measured.values())
    print(f"{len(measured)} files, {full} of them full, {missed} lines missed in all")
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
