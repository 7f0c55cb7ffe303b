"""Makes the golden record of the newest versions, in ``tests/data/records/``.

It measures a small benchmark with the embedded engine, signs it against a sandbox of its own with
an entry in each kind of log, and keeps the envelopes, the traces, the trust root and the policy.
Beside them it keeps the words of the definitions and the columns of the traces, which tests compare
with the tables for ever. The keys of the sandbox are thrown away.

``python -m tools.golden_records`` runs it once, before the first release that writes these
versions; a record that is there is never made again. An argument names the folder, for a record of
versions that already have one.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import pyarrow as pa

from inferencebench_pipeline import __version__
from inferencebench_pipeline.envelope import write_envelope
from inferencebench_pipeline.measure import (
    METRIC_DEFINITIONS_VERSION,
    NEWEST_DEFINITIONS,
    TRACES_SCHEMA_VERSION,
    BenchmarkSpec,
    Definitions,
    load_spec,
    run_benchmark,
    write_measurement,
    write_traces,
)
from inferencebench_pipeline.measure.traces.schema import SCHEMAS
from inferencebench_pipeline.runs import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.sandbox import SandboxEnvironment, running_sandbox
from inferencebench_pipeline.trust import (
    SigstoreSigner,
    file_identity,
    load_policy,
    load_trust,
    sign_run,
    verify_envelope,
)

ROOT: Final = Path(__file__).resolve().parent.parent
RECORDS: Final = ROOT / "tests/data/records"
SPEC: Final = ROOT / "specs/smollm2-chat-quick.yaml"
SMALL: Final = ("workload.prompts=8", "workload.max_tokens=8")
"""Settings over the spec's, so that the files stay small."""
REKOR_VERSIONS: Final = (1, 2)


class GoldenRecordError(Exception):
    """The record is there already, or what was made does not verify."""


def name_of_newest() -> str:
    """Returns the name of the folder of what this release writes."""
    return f"{__version__}-definitions-{METRIC_DEFINITIONS_VERSION}-traces-{TRACES_SCHEMA_VERSION}"


def words_of(definitions: Definitions) -> dict[str, dict[str, str]]:
    """Returns everything that decides what a number means, by its key, and nothing of its looks."""
    return {
        key: {"unit": row.unit, "better": row.better, "definition": row.definition}
        for key, row in sorted(definitions.metrics.items())
    }


def columns_of(schema: pa.Schema) -> dict[str, str]:
    """Returns the type of each column of a traces file."""
    return {each.name: f"{each.type}{'' if each.nullable else ' not null'}" for each in schema}


def meaning(definitions: Definitions, traces_schema: str) -> str:
    """Returns the text of ``meaning.json``: what the versions of a record mean."""
    said = {
        "definitions": {definitions.version: words_of(definitions)},
        "columns": {traces_schema: columns_of(SCHEMAS[traces_schema])},
    }
    return json.dumps(said, indent=1) + "\n"


def make(folder: Path, spec: BenchmarkSpec, scratch: Path) -> None:
    """Measures, signs and keeps a record of the newest versions.

    Args:
        folder: where the record goes; it must not be there.
        spec: what is measured.
        scratch: an empty folder for the run and the sandbox.

    Raises:
        GoldenRecordError: the folder is there, or a signed record does not verify.
    """
    if folder.exists():
        raise GoldenRecordError(f"{folder} is there; a golden record is never made again")
    run = RunStore(scratch / "measured").run(new_run_id())
    run_benchmark(spec, run, on_progress=lambda _: None)
    write_traces(run)
    write_measurement(run)
    write_envelope(run)
    keep(run, folder, scratch)


def keep(run: RunDirectory, folder: Path, scratch: Path) -> None:
    """Signs a measured run in a sandbox of its own, and keeps what is needed to verify it.

    Raises:
        GoldenRecordError: a signed record does not verify.
    """
    made = scratch / "made"
    made.mkdir()
    with running_sandbox(scratch / "sandbox") as sandbox:
        for version in REKOR_VERSIONS:
            # Each signature is the first of its run.
            copy = RunStore(scratch / f"rekor-v{version}").run(run.run_id)
            shutil.copytree(run.path, copy.path)
            envelope = _signed(copy, sandbox, version)
            (made / f"envelope.rekor-v{version}.json").write_bytes(envelope)
        (made / "traces.parquet").write_bytes(run.read(RunFile.TRACES))
        config = json.loads(Path(sandbox.environ["INFERENCEBENCH_TRUST_CONFIG"]).read_bytes())
        root = json.dumps(config["trustedRoot"], indent=2) + "\n"
        (made / "trusted_root.json").write_text(root)
        shutil.copyfile(sandbox.environ["INFERENCEBENCH_POLICY"], made / "policy.yaml")
    (made / "meaning.json").write_text(meaning(NEWEST_DEFINITIONS, TRACES_SCHEMA_VERSION))
    shutil.copytree(made, folder)


def _signed(run: RunDirectory, sandbox: SandboxEnvironment, version: int) -> bytes:
    trust = load_trust(Path(sandbox.environ["INFERENCEBENCH_TRUST_CONFIG"]))
    policy = load_policy(Path(sandbox.environ["INFERENCEBENCH_POLICY"]))
    organisation = sandbox.environ["INFERENCEBENCH_ORGANISATION"]
    signer = SigstoreSigner(
        trust=trust,
        identity=file_identity(Path(sandbox.environ["INFERENCEBENCH_IDENTITY_TOKEN_FILE"])),
        policy=policy,
        organisation=organisation,
        rekor_version=version,
    )
    verdict = sign_run(
        run,
        signer,
        verify=lambda data, traces: verify_envelope(
            data, trust=trust, policy=policy, organisation=organisation, traces=traces
        ),
    )
    if not verdict.ok:
        raise GoldenRecordError(verdict.reason)
    return run.read(RunFile.ENVELOPE)


def main() -> int:
    """Makes the record of the newest versions; returns the exit code."""
    os.environ["NO_PROXY"] = "127.0.0.1"
    folder = RECORDS / (sys.argv[1] if len(sys.argv) > 1 else name_of_newest())
    try:
        with tempfile.TemporaryDirectory() as scratch:
            make(folder, load_spec(SPEC, SMALL), Path(scratch))
    except GoldenRecordError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{folder}: add a line on it to docs/compatibility.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
