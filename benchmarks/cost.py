"""What a step costs: wall time, CPU time, and the most memory all its processes held at once."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Cost:
    """Filled when the step is over."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    """Proportional set size of this process and its children, summed, at its highest."""
    quarters_mb: tuple[float, ...] = ()
    """The same at the end of each quarter of the step: memory that grows is told from a plateau."""


@contextmanager
def cost_of() -> Iterator[Cost]:
    """Yield a cost that holds what the block cost once it is over."""
    cost, peak = Cost(), _PeakMemory()
    cpu_before, started = cpu_s(), time.monotonic()
    with peak:
        yield cost
    cost.wall_s = time.monotonic() - started
    cost.cpu_s = cpu_s() - cpu_before
    cost.peak_mb, cost.quarters_mb = max(peak.samples_mb), peak.quarters_mb()


def cpu_s() -> float:
    """Return the CPU seconds of this process and of its children that ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


class _PeakMemory:
    """Samples the resident memory of this process and its children, shared pages counted once."""

    def __init__(self) -> None:
        self.samples_mb: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def quarters_mb(self) -> tuple[float, ...]:
        last = len(self.samples_mb) - 1
        return tuple(self.samples_mb[last * part // 4] for part in range(1, 5))

    def _watch(self) -> None:
        while True:
            self.samples_mb.append(sum(map(_proportional_mb, _family())))
            if self._over.wait(0.2):
                return


def _family() -> list[int]:
    found = [os.getpid()]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _proportional_mb(pid: int) -> float:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0
