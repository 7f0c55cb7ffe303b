"""The fixed top level works as it lies in a clone: workspace, instance, definitions, images."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import yaml

from tests.paths import REPOSITORY as CLONE


def test_dagster_finds_and_validates_the_code_location_of_a_bare_clone(tmp_path):
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("INFERENCEBENCH_", "HF_", "DAGSTER_"))
    } | {"INFERENCEBENCH_HOME": str(tmp_path)}
    validated = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate"],
        cwd=CLONE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = validated.stdout + validated.stderr
    assert validated.returncode == 0, said
    assert "Validation successful for code location inferencebench_pipeline" in said
    warnings = set(re.findall(r"\w+Warning(?=:)", said))
    assert warnings <= {"SupersessionWarning"}, said


def test_nothing_in_pyproject_shadows_workspace_yaml():
    text = (CLONE / "pyproject.toml").read_text()
    assert "[tool.dg" not in text
    assert "[tool.dagster" not in text


def test_the_images_and_the_local_workspace_name_the_same_location():
    local = yaml.safe_load((CLONE / "workspace.yaml").read_text())["load_from"][0]["python_file"]
    served = yaml.safe_load((CLONE / "deploy/workspace.yaml").read_text())["load_from"][0]
    assert local["location_name"] == served["grpc_server"]["location_name"]


def test_the_images_install_from_the_locks_run_without_root_and_check_their_health():
    stages = re.split(r"(?m)^FROM ", (CLONE / "Dockerfile").read_text())
    by_name = {stage.split()[2]: stage for stage in stages[1:]}
    for target in ("host", "code"):
        assert re.search(r"(?m)^USER (?!0$|root$)\S+", by_name[target])
        assert "HEALTHCHECK" in by_name[target]
        assert "--require-hashes" in by_name[f"{target}-packages"]
    # Of ours, the host holds the guard before the webserver and nothing else.
    ours = re.findall(r"inferencebench_pipeline\S*", by_name["host"] + by_name["host-packages"])
    assert ours == ["inferencebench_pipeline/automation/instance/webserver"]


def test_the_locks_pin_hashes_and_hold_no_addresses():
    for lock in (*CLONE.glob("*.lock"), *CLONE.glob("deploy/*.lock")):
        text = lock.read_text()
        assert "://" not in text, lock
        requirements = [line for line in text.splitlines() if re.match(r"[a-z0-9]", line)]
        assert requirements
        assert all("==" in line and line.endswith("\\") for line in requirements), lock
