"""The ground-truth engine as the benchmarks use it: compiled, started, stopped, its log read.

The engine (``ground_truth_engine.c``) logs the true times of every request and token, all in
CLOCK_MONOTONIC nanoseconds, the clock that every client on this machine shares.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

_SOURCE = Path(__file__).with_name("ground_truth_engine.c")
_HEAD = 6
_STOP_S = 30.0


@dataclass(frozen=True)
class Truth:
    """What the engine did for one request."""

    number: int
    """Position among the streamed requests, which the ``id`` of every event carries."""
    first_byte_ns: int
    """When the kernel received the request's first byte."""
    complete_ns: int
    in_flight: int
    connection: int
    before_ns: np.ndarray
    """When each token's write began."""
    after_ns: np.ndarray
    """When each token's write returned: the token went out in between."""


@dataclass
class GroundTruthEngine:
    """A running engine; ``truths`` and ``cpu_s`` are there once it has stopped."""

    port: int
    truths: list[Truth] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def base_url(self) -> str:
        """Address of its API including ``/v1``."""
        return f"http://127.0.0.1:{self.port}/v1"


@contextmanager
def ground_truth_engine(
    *, ttft_ms: float, itl_ms: float, cpu: int | None = None, arguments: Sequence[str] = ()
) -> Iterator[GroundTruthEngine]:
    """Run the engine, pinned to core ``cpu`` if given; its log is read on the way out.

    Raises:
        SystemExit: there is no C compiler, or the engine does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "truth.bin"
        command = [str(_compiled()), "--truth", str(log)]
        command += ["--ttft-us", str(round(ttft_ms * 1e3)), "--itl-us", str(round(itl_ms * 1e3))]
        if cpu is not None:
            command += ["--cpu", str(cpu)]
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            engine = GroundTruthEngine(int(process.stdout.readline()))
            yield engine
            process.send_signal(signal.SIGTERM)
            process.wait(_STOP_S)
            _read(log, engine)
        finally:
            process.kill()
            process.wait()


@cache
def _compiled() -> Path:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise SystemExit(
            "no C compiler: the ground-truth engine is compiled by this benchmark; install cc "
            "(Debian: build-essential) or name one in CC"
        )
    folder = tempfile.mkdtemp(prefix="ground-truth-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = Path(folder) / "engine"
    subprocess.run([compiler, "-O2", "-o", program, _SOURCE], check=True)
    return program


def _read(log: Path, engine: GroundTruthEngine) -> None:
    values = np.fromfile(log, dtype="<i8")
    position = 0
    while values[position] >= 0:
        number, first_byte, complete, tokens, in_flight, connection = (
            int(value) for value in values[position : position + _HEAD]
        )
        position += _HEAD
        written = values[position : position + 2 * tokens]
        engine.truths.append(
            Truth(number, first_byte, complete, in_flight, connection, written[::2], written[1::2])
        )
        position += 2 * tokens
    engine.cpu_s = int(values[position + 1]) / 1e9
