"""The progress of a run: a live table in a terminal, and lines of a log elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from inferencebench_pipeline.measure import Progress, ProgressLog

Listener = Callable[[Progress], None]


@contextmanager
def shown(console: Console, title: str) -> Iterator[Listener]:
    """Yield a listener that shows the progress of a run on ``console``."""
    # A log keeps every line, and a table that redraws itself would fill it.
    if not console.is_terminal:
        yield ProgressLog(lambda line: console.print(line, markup=False, soft_wrap=True)).hear
        return
    # The table disappears at the end, since the results are printed in its place.
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield lambda step: live.update(progress_table(title, step))


def progress_table(title: str, step: Progress) -> Table:
    """Return the progress of a run as a table."""
    table = Table("stage", "repeat", "requests", "failed", "elapsed", title=title)
    table.add_row(
        step.stage,
        f"{step.repeat}/{step.repeats}",
        f"{step.done}/{step.total}" if step.total else "",
        str(step.failed),
        f"{step.elapsed_s:.0f} s",
    )
    return table
