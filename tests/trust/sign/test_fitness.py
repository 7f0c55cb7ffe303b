"""A run is fit for its signature while its files are what its capture and its stages wrote."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

import pytest

from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.measure import Capture
from inferencebench_pipeline.measure.client.completion import Completion, LoopFacts, bound_files
from inferencebench_pipeline.measure.errors import CaptureError
from inferencebench_pipeline.runs.run_directory import DamagedRunFileError, RunDirectory, RunFile
from inferencebench_pipeline.trust.errors import SigningRefusedError
from inferencebench_pipeline.trust.sign.fitness import require_fit
from tests.envelope.measured import provenance, write_measured
from tests.trust.verify.test_statements import TELEMETRY


def require(run: RunDirectory) -> None:
    unsigned = parse_envelope(run.read(RunFile.UNSIGNED_ENVELOPE))
    require_fit(run, unsigned, run.read(RunFile.TRACES))


def test_a_run_without_a_capture_is_fit_and_a_damaged_capture_is_not_none(
    run: RunDirectory,
) -> None:
    require(run)
    Capture(run).path.symlink_to("nowhere")
    with pytest.raises(CaptureError):
        require(run)


def test_a_run_that_holds_a_placeholder_is_not_fit(run: RunDirectory) -> None:
    engine = provenance().model_dump()["engine"] | {"version": "unknown"}
    write_measured(run, provenance=provenance(engine=engine))
    with pytest.raises(SigningRefusedError, match=r"holds placeholders: engine\.version is"):
        require(run)


def test_telemetry_that_was_bound_must_be_as_it_was_written(run: RunDirectory) -> None:
    data = b"readings"
    bound = TELEMETRY | {"file_sha256": hashlib.sha256(data).hexdigest()}
    run.write(RunFile.TELEMETRY, data)
    write_measured(run, telemetry=bound)
    require(run)
    run.file(RunFile.TELEMETRY).write_bytes(b"other readings")
    with pytest.raises(DamagedRunFileError, match=r"telemetry\.parquet"):
        require(run)


def test_with_a_capture_every_stage_must_have_kept_what_it_wrote(run: RunDirectory) -> None:
    started = datetime(2026, 5, 15, 10, 30, tzinfo=UTC)
    capture = Capture(run)
    capture.begin()
    run.write(RunFile.SPEC, b"{}")
    capture.spool.write_bytes(b"")
    nothing = hashlib.sha256(b"").hexdigest()
    capture.complete(
        Completion(
            run_id=run.run_id,
            started_at=started,
            finished_at=started,
            spool_sha256=nothing,
            workload_sha256=nothing,
            schedule_sha256=nothing,
            requests=0,
            succeeded=0,
            failed=0,
            loop=LoopFacts(
                origin_unix_ns=0,
                origin_monotonic_ns=0,
                processes=1,
                window_cpu_ns=0,
                window_wall_ns=0,
                clock_step_ns=0,
                clock_offset_ns=0,
                clock_drift_ns=0,
            ),
            files=bound_files(run),
        )
    )
    require(run)
    run.file(RunFile.DIGESTS).unlink()
    for name in (RunFile.TRACES, RunFile.MEASUREMENT, RunFile.UNSIGNED_ENVELOPE):
        said = f"nothing says any more what .*{re.escape(name.value)} was written as"
        with pytest.raises(SigningRefusedError, match=said):
            require(run)
        run.write(name, run.read(name))
    require(run)
