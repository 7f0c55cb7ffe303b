"""The examples of docs/python.md run as they stand there, on a record that was just signed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from inferencebench_pipeline.runs import RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from inferencebench_pipeline.trust import (
    SigstoreSigner,
    Verdict,
    file_identity,
    load_policy,
    load_trust,
    sign_run,
    verify_envelope,
)
from tests.envelope.measured import write_measured
from tests.paths import REPOSITORY

PAGE = (REPOSITORY / "docs/python.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.engine
def test_the_examples_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_sandbox(tmp_path / "sandbox") as sandbox:
        _lay_out_a_record(tmp_path, sandbox)
    shutil.copytree(REPOSITORY / "specs", tmp_path / "specs")
    monkeypatch.chdir(tmp_path)

    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec"), names)

    verdict = names["verdict"]
    assert isinstance(verdict, Verdict)
    assert verdict.ok, verdict.reason
    assert len(BLOCKS) == 6
    run = RunStore(Path("my-store")).run(next(Path("my-store/runs").iterdir()).name)
    assert run.has(RunFile.UNSIGNED_ENVELOPE)


def _lay_out_a_record(folder: Path, sandbox: SandboxEnvironment) -> None:
    """Sign a measured run, and put the files there that the page speaks of."""
    environ = sandbox.environ
    config, rules = (Path(environ[f"INFERENCEBENCH_{name}"]) for name in ("TRUST_CONFIG", "POLICY"))
    trust, policy = load_trust(config), load_policy(rules)
    organisation = environ["INFERENCEBENCH_ORGANISATION"]
    run = RunStore(folder).run(new_run_id())
    run.path.mkdir(parents=True)
    write_measured(run)
    signer = SigstoreSigner(
        trust=trust,
        identity=file_identity(Path(environ["INFERENCEBENCH_IDENTITY_TOKEN_FILE"])),
        policy=policy,
        organisation=organisation,
    )

    def verify(data: bytes, traces: Path | bytes | None) -> Verdict:
        return verify_envelope(
            data, trust=trust, policy=policy, organisation=organisation, traces=traces
        )

    sign_run(run, signer, verify=verify)
    shutil.copy(config, folder / "trust_config.json")
    shutil.copy(rules, folder / "policy.yaml")
    (folder / "record").mkdir()
    for file in (RunFile.ENVELOPE, RunFile.TRACES):
        (folder / "record" / file.value).write_bytes(run.read(file))
