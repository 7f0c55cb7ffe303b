"""The static page: rendered from ``leaderboard.json`` alone, viewable without any network.

Every string on it may come from a stranger's repository. Templates escape everything, file names
are derived hashes, links go to http(s) addresses only, and the pages forbid foreign scripts.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from inferencebench_pipeline.leaderboard.details import run_details
from inferencebench_pipeline.leaderboard.document import Group, Leaderboard, MetricCell, RunRow
from inferencebench_pipeline.leaderboard.facts import FOREIGN_DEFINITIONS
from inferencebench_pipeline.leaderboard.history import LONGEST_HISTORY
from inferencebench_pipeline.leaderboard.index import leaderboard_folder, load_leaderboard
from inferencebench_pipeline.leaderboard.permutation import FALSE_DISCOVERY_RATE
from inferencebench_pipeline.measure.metrics import DEFINITIONS, METRIC_DEFINITIONS_VERSION
from inferencebench_pipeline.runs import write_atomically

_ASSETS = ("board.css", "board.js")
_NO_VALUE = "–"

STATES = {
    "verified": "Verified; ranked.",
    "duplicate": "Verified, but the same run was published before.",
    "invalid": "Verified, but the measurement failed one of its own validity checks.",
    "unverified": "Published, and not verified yet.",
    "traces_missing": "The signature is good, but the traces behind the metrics are not there.",
    "disputed": "Verified, but something else stands against it.",
    "rejected": "Verification failed.",
    "malformed": "The envelope cannot be read.",
    "no_envelope": "The repository holds no envelope.",
    "unreadable": "The Hub refused to serve the repository's files.",
    "vanished": "Published once, gone from the Hub now.",
    "moved": "The same envelope is published under another name now.",
}
"""What each state of a run means to a reader."""

TIERS = {
    "verified": "Signed by an identity the policy names, and recorded in a transparency log.",
    "dev": "Signed with a bare key the policy names; no log proves when.",
}
"""What each tier means to a reader."""


def render_site(store_root: Path) -> Path:
    """Render the index into ``leaderboard/site/`` and return the path of its ``index.html``.

    Run pages are written before the page that links to them, and pages of runs that are no longer
    in the index are removed last, so that a reader never follows a link to nowhere.

    Raises:
        LeaderboardError: ``leaderboard.json`` cannot be read.
        StoreError: the folder cannot be written.
    """
    board = load_leaderboard(store_root)
    site = leaderboard_folder(store_root) / "site"
    environment = _environment()
    for name in _ASSETS:
        source = resources.files(__package__) / "templates" / name
        _write(site / "assets" / name, source.read_bytes())
    page = environment.get_template("run.html")
    for details in run_details(store_root, {row.repo_id for row in board.runs}):
        html = page.render(row=details.run, details=details, root="../")
        _write(site / "runs" / f"{details.run.row_id}.html", html.encode())
    index = site / "index.html"
    _write(index, environment.get_template("index.html").render(**_index(board)).encode())
    current = {row.row_id for row in board.runs}
    for stale in (site / "runs").glob("*.html"):
        if stale.stem not in current:
            stale.unlink()
    return index


def format_value(value: float | None) -> str:
    """Return a number for reading: about four significant digits, thousands separated."""
    if value is None:
        return _NO_VALUE
    if abs(value) >= 1e15:
        return f"{value:.4g}"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def format_percent(ratio: float) -> str:
    """Return a relative change for reading, signed, with one decimal."""
    return f"{ratio * 100:+.1f} %"


def format_instant(text: str) -> str:
    """Return an RFC 3339 instant in UTC to the minute; the text itself when it is not one."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return text


def http_url(url: str | None) -> str | None:
    """Return ``url`` when a browser may be sent there, else None: no ``javascript:``, no files."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and parts.netloc else None


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__ or "", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        value=format_value, percent=format_percent, instant=format_instant, http_url=http_url
    )
    environment.globals.update(
        states=STATES, tiers=TIERS, definition=_definition, foreign=FOREIGN_DEFINITIONS
    )
    return environment


def _write(path: Path, data: bytes) -> None:
    """Write a file that is new or different; most pages of a growing board are neither."""
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


def _index(board: Leaderboard) -> dict[str, object]:
    rows = {row.row_id: row for row in board.runs}
    ranked = {row_id for group in board.groups for row_id in group.rows}
    return {
        "root": "",
        "board": board,
        "history": {"longest": LONGEST_HISTORY, "rate": FALSE_DISCOVERY_RATE},
        "groups": [
            (group, [_line(group, rows[row_id]) for row_id in group.rows]) for group in board.groups
        ],
        "unranked": [row for row in board.runs if row.row_id not in ranked],
    }


def _line(group: Group, row: RunRow) -> tuple[RunRow, list[MetricCell | None]]:
    """Return a row with its cells in the order of its group's columns."""
    cells = {cell.key: cell for cell in row.metrics}
    return row, [cells.get(column.key) for column in group.columns]


def _definition(row_definitions: str | None, key: str) -> tuple[str, str | None]:
    """Return a metric's label and the sentence that defines it, where the envelope states one."""
    known = DEFINITIONS.get(key) if row_definitions == METRIC_DEFINITIONS_VERSION else None
    return (known.label, known.definition) if known else (key, None)
