"""The leaderboard's site with many runs: how long it takes to write, to open, to sort, to filter.

    python -m benchmarks.site_speed [RUNS ...]

Everything is measured in one process on made-up boards (``tests/leaderboard/boards.py``), the pages
in the system's Chromium, headless, opened from a folder; medians of ROUNDS with their range.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from inferencebench_pipeline.corpus.blobs import BlobStore
from inferencebench_pipeline.leaderboard.document import Leaderboard
from inferencebench_pipeline.leaderboard.site.site import write_site
from tests.leaderboard.boards import BoardDetails, board_of
from tests.leaderboard.browser import chromium, visiting

ROUNDS = 7
READY = """() => {
  const ready = performance.getEntriesByName('board-ready')[0];
  return ready.startTime;
}"""
TIMED = """async ([selector, index]) => {
  const target = document.querySelectorAll(selector)[index];
  const start = performance.now();
  target.click();
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}"""


def main() -> None:
    """Print one table, a column per board."""
    sizes = [int(text) for text in sys.argv[1:]] or [1_000, 10_000]
    tables = [measured(size) for size in sizes]
    print(f"{'':34}" + "".join(f"{size:>24,} runs" for size in sizes) + f"{'ratio':>10}")
    for name in tables[0]:
        values = [table[name] for table in tables]
        ratio = f"{values[-1][0] / values[0][0]:9.1f}x" if values[0][0] else ""
        print(f"{name:34}" + "".join(f"{text(value):>29}" for value in values) + ratio)


def text(value: tuple[float, float, float]) -> str:
    """Median and range."""
    middle, low, high = value
    return f"{middle:,.2f}" if low == high else f"{middle:,.1f} [{low:,.1f}-{high:,.1f}]"


def measured(size: int) -> dict[str, tuple[float, float, float]]:
    """Everything about one board."""
    board, grown = board_of(size), board_of(size + 1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        found = {
            "written, all pages (s)": once(lambda: write(board, folder)),
            "written again, no change (s)": once(lambda: write(board, folder)),
            "written again, one run more (s)": once(lambda: write(grown, folder)),
        }
        write(board, folder)
        site = folder / "site"
        group = max((site / "data").glob("group-*.js"), key=lambda path: path.stat().st_size)
        first = [*(site / "data").glob("runs-*.js"), group, site / "index.html"]
        code = [*(site / "assets").iterdir(), *(site / "vendor").glob("*.js")]
        found["first view: data and page (MB)"] = same(weight(first))
        found["first view: code and style (MB)"] = same(weight(code))
        return {**found, **in_chromium(site / "index.html")}


def in_chromium(site: Path) -> dict[str, tuple[float, float, float]]:
    """Times in a browser, in milliseconds."""
    opened, sorted_ms, filtered_ms, turned_ms = [], [], [], []
    with chromium() as browser:
        for _ in range(ROUNDS):
            with visiting(browser, site) as visitor:
                page = visitor.open("index.html")
                opened.append(page.evaluate(READY))
                sorted_ms.append(page.evaluate(TIMED, ["#table thead button", 6]))
                filtered_ms.append(page.evaluate(TIMED, ["#facets input", 3]))
                turned_ms.append(page.evaluate(TIMED, ["#after", 0]))
    return {
        "opened until usable (ms)": spread(opened),
        "one sort until drawn (ms)": spread(sorted_ms),
        "one filter until drawn (ms)": spread(filtered_ms),
        "one page turned until drawn (ms)": spread(turned_ms),
    }


def write(board: Leaderboard, folder: Path) -> None:
    """Write the site."""
    write_site(folder / "site", board, BoardDetails(board, []), BlobStore(folder / "none"))


def once(work: Callable[[], object]) -> tuple[float, float, float]:
    """Seconds of one call."""
    start = time.perf_counter()
    work()
    return same(time.perf_counter() - start)


def weight(paths: list[Path]) -> float:
    """Megabytes of some files."""
    return sum(path.stat().st_size for path in paths) / 1e6


def same(value: float) -> tuple[float, float, float]:
    """A value measured once."""
    return value, value, value


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, smallest, largest."""
    return statistics.median(values), min(values), max(values)


if __name__ == "__main__":
    main()
