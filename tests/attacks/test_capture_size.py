"""An engine cannot fill the disk: a run ends at the bound of its spec."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from inferencebench_pipeline.measure.errors import AllRequestsFailedError, CaptureTooLargeError
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.runs.run_directory import RunStore, new_run_id
from tests.attacks.hostile_http import Answer, Asked, HostileServer, json_text, on
from tests.measure.support import ignore_progress, spec_for

MIB = 1 << 20
BEGUN = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MODELS = json_text(json.dumps({"data": [{"id": "fake"}]}))


def _events(count: int) -> bytes:
    event = b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n' * count
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


def _endless_events(_: Asked) -> Iterator[bytes]:
    yield BEGUN
    while True:
        yield _events(1000)


def _endless_headers(_: Asked) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-" + b"A" * 6_000 + b": b\r\n"


def _large_answers(_: Asked) -> Iterator[bytes]:
    """A megabyte each, and well-formed: it is only their number."""
    yield BEGUN + _events(15_000) + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("answer", [_endless_events, _endless_headers, _large_answers])
def test_a_run_ends_at_the_bound_of_its_capture(
    answer: Answer, processes: int, tmp_path: Path
) -> None:
    with HostileServer(on("completions", answer, MODELS)) as server:
        spec = spec_for(
            f"{server.url}/v1",
            load={"kind": "closed", "concurrency": 2, "requests": 60, "warmup_requests": 0},
            client={"processes": processes},
            limits={"capture_bytes": 8 * MIB},
        )
        run = RunStore(tmp_path).run(new_run_id())
        with pytest.raises(CaptureTooLargeError, match=r"limits\.capture_bytes"):
            run_benchmark(spec, run, on_progress=ignore_progress)
    assert _size(tmp_path) < 9 * MIB


def test_of_an_answer_that_is_none_the_beginning_is_kept(tmp_path: Path) -> None:
    """Sixty-four megabytes of one event without an end are 256 KiB in the capture."""

    def answer(_: Asked) -> Iterator[bytes]:
        yield BEGUN
        while True:
            yield b"10000\r\n" + b"x" * 65536 + b"\r\n"

    with HostileServer(on("completions", answer, MODELS)) as server:
        spec = spec_for(
            f"{server.url}/v1",
            load={"kind": "closed", "concurrency": 1, "requests": 1, "warmup_requests": 0},
        )
        run = RunStore(tmp_path).run(new_run_id())
        with pytest.raises(AllRequestsFailedError, match="malformed_stream"):
            run_benchmark(spec, run, on_progress=ignore_progress)
    assert _size(tmp_path) < MIB
