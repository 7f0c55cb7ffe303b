"""Sigstore's own conformance suite, run against this project's verifier.

The suite is its repository, checked out, whose tests call a client by its command line
(https://github.com/sigstore/sigstore-conformance). Signing needs the public instances and is tried
against the sandbox and the second implementations instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

import pytest

pytestmark = [pytest.mark.compat, pytest.mark.timeout(1800)]
HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
VARIABLE = "INFERENCEBENCH_CONFORMANCE"

DOES_NOT_APPLY: Final = {
    "managed-key-happy-path": "a bundle signed with a bare key, where a record names a person",
    "managed-key-and-trusted-root": "a bundle signed with a bare key",
    "intoto-with-custom-trust-root": (
        "a log entry of the deprecated type intoto, which stock sigstore-python refuses as well"
    ),
}
"""Cases of things that this project does not do, with the reason; each must be refused."""


@pytest.fixture(scope="session")
def suite() -> Path:
    """The checkout of the suite that the environment names."""
    value = os.environ.get(VARIABLE)
    if not value:
        pytest.skip(
            f"Sigstore's conformance suite is not at hand: {VARIABLE} is not set "
            "(CONTRIBUTING.md, Judged by others)"
        )
    return Path(value)


@pytest.fixture(scope="session")
def interpreter(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the packages of the suite, by the hashes that it pins."""
    folder = tmp_path_factory.mktemp("conformance") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = ["-m", "pip", "install", "--quiet", "--require-hashes", "-r"]
    subprocess.run([python, *install, suite / "requirements.txt"], check=True, timeout=600)
    return python


def entrypoint(folder: Path) -> Path:
    """Return a command without arguments that runs our client in this test's interpreter."""
    path = folder / "client"
    path.write_text(
        f'#!/bin/sh\nPYTHONPATH="{REPOSITORY}" exec "{sys.executable}" -m '
        'tests.compat.conformance_client "$@"\n'
    )
    path.chmod(0o755)
    return path


def run_suite(suite: Path, interpreter: Path, folder: Path) -> dict[str, str]:
    """Return the outcome of each verification test of the suite, by the test's name."""
    report = folder / "report.json"
    subprocess.run(
        [
            *(interpreter, "-m", "pytest", "-q", "-p", "conformance_offline", "--skip-signing"),
            *(f"--entrypoint={entrypoint(folder)}", "-k", "test_verify"),
            *("--json-report", f"--json-report-file={report}", suite / "test"),
        ],
        cwd=suite,
        env={
            # The suite makes temporary folders, and finds nothing of ours in its environment.
            **{name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ},
            "PYTHONPATH": str(HERE),
            "GHA_SIGSTORE_CONFORMANCE_SKIP_CPYTHON_RELEASE_TESTS": "true",
        },
        capture_output=True,
        timeout=1500,
    )
    tests = json.loads(report.read_bytes())["tests"]
    return {test["nodeid"].partition("::")[2]: test["outcome"] for test in tests}


def test_every_case_that_applies_is_judged_as_the_suite_demands(
    suite: Path, interpreter: Path, tmp_path: Path
) -> None:
    outcomes = run_suite(suite, interpreter, tmp_path)
    cases = {name: outcome for name, outcome in outcomes.items() if outcome != "skipped"}
    failed = {name for name, outcome in cases.items() if outcome != "passed"}
    expected = {
        name
        for name in cases
        for case in DOES_NOT_APPLY
        if name.startswith("test_verify[") and case in name
    }
    assert len(cases) > 130, "the suite ran"
    assert len(expected) == 2 * len(DOES_NOT_APPLY), "by path and by digest"
    # A case of the list that begins to pass is as much a change as another one that fails.
    assert failed == expected
