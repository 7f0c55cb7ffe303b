"""The progress of a run, for whoever watches it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """The progress of a run. Counts are of ended requests of the current repeat."""

    stage: str
    """``starting engine``, ``preparing prompts``, ``warming up``, ``measuring``, ``finishing``."""
    done: int
    total: int
    failed: int
    elapsed_s: float
    """The time since the run began, in seconds."""
    repeat: int = 1
    repeats: int = 1
    """The number of repeats at most."""

    def line(self) -> str:
        """Return the progress in one line."""
        if not self.total:
            return self.stage
        repeat = f"repeat {self.repeat}/{self.repeats}, " if self.repeats > 1 else ""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{repeat}{self.stage}: {self.done}/{self.total} requests{failed}"


class ProgressLog:
    """Writes a line when a stage begins and every few seconds within it, for a log.

    Args:
        write: takes a line.
        every_s: seconds between two lines of one stage.
    """

    def __init__(self, write: Callable[[str], None], *, every_s: float = 5.0) -> None:
        self._write = write
        self._every_s = every_s
        self._stage: tuple[str, int] | None = None
        self._next_s = 0.0

    def hear(self, step: Progress) -> None:
        """Take a step; most of them are not worth a line."""
        stage = (step.stage, step.repeat)
        if stage != self._stage or step.elapsed_s >= self._next_s:
            self._stage = stage
            self._next_s = step.elapsed_s + self._every_s
            self._write(step.line())


@dataclass
class ProgressReport:
    """Tells a listener how far a run is, with the time since it began."""

    listener: Callable[[Progress], None]
    repeats: int
    repeat: int = 1
    begun_s: float = 0.0

    def __post_init__(self) -> None:
        self.begun_s = time.monotonic()

    def say(self, stage: str, done: int = 0, total: int = 0, failed: int = 0) -> None:
        """Report the progress to the listener."""
        elapsed_s = time.monotonic() - self.begun_s
        self.listener(Progress(stage, done, total, failed, elapsed_s, self.repeat, self.repeats))
