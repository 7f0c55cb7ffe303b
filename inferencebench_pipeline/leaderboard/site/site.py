"""The static site: rendered from the index alone, viewable from a folder, no network, no server."""

from __future__ import annotations

from functools import partial
from importlib import resources
from pathlib import Path

from inferencebench_pipeline.corpus import BlobStore
from inferencebench_pipeline.leaderboard.analysis.change_points import LONGEST_HISTORY
from inferencebench_pipeline.leaderboard.analysis.permutation import FALSE_DISCOVERY_RATE
from inferencebench_pipeline.leaderboard.document import Leaderboard
from inferencebench_pipeline.leaderboard.index.build import load_leaderboard
from inferencebench_pipeline.leaderboard.site.data import (
    group_script,
    runs_script,
    script_name,
)
from inferencebench_pipeline.leaderboard.site.output_folder import SiteFolder
from inferencebench_pipeline.leaderboard.site.overviews import write_hardware, write_models
from inferencebench_pipeline.leaderboard.site.rendering import PACKAGE, render
from inferencebench_pipeline.leaderboard.site.run_details import run_details
from inferencebench_pipeline.leaderboard.site.run_pages import Details, write_run_pages
from inferencebench_pipeline.leaderboard.site.spread import drawn_spreads
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.measure import DEFINITIONS, METRIC_DEFINITIONS_VERSION

_COPIED = ("assets", "vendor")
"""Folders of this package that are part of every site."""
_SPACE = """\
---
title: Inference benchmark leaderboard
sdk: static
app_file: index.html
pinned: false
---
This folder is a whole site: open `index.html`, serve it from anywhere, or push it to a static
Space. `leaderboard.json` holds the comparison groups, ranks and fronts.
"""


def render_site(store: LeaderboardStore) -> Path:
    """Render the index into ``leaderboard/site/`` and return the path of its ``index.html``.

    Raises:
        LeaderboardError: ``leaderboard.json`` cannot be read.
        StoreError: the folder cannot be written.
    """
    return write_site(
        store.site_folder,
        load_leaderboard(store),
        partial(run_details, store),
        store.corpus.blobs(),
    )


def write_site(folder: Path, board: Leaderboard, details: Details, blobs: BlobStore) -> Path:
    """Bring the site in ``folder`` up to date and return the path of its ``index.html``.

    Pages are written before those that link to them, and pages of what is no longer in the index
    are removed last, so that a reader never follows a link to nowhere. Unchanged pages of runs are
    not rendered again.

    Args:
        folder: the whole site; nothing outside it is linked to.
        board: what the site shows.
        details: what a run's page shows beyond its row.
        blobs: where the traces behind the latency distributions lie.

    Raises:
        StoreError: the folder cannot be written.
    """
    site = SiteFolder(folder)
    for source in _COPIED:
        for item in sorted((resources.files(PACKAGE) / source).iterdir(), key=lambda it: it.name):
            site.write(f"{source}/{item.name}", item.read_bytes())
    write_run_pages(site, board, details, blobs, folder.with_name("pages.json"))
    write_models(site, board)
    write_hardware(site, board)
    _write_lists(site, board)
    front_page = render("index.html", **_front_page(site, board))
    site.sync()
    site.write("index.html", front_page)
    site.sync()
    site.remove_stale()
    return folder / "index.html"


def _write_lists(site: SiteFolder, board: Leaderboard) -> None:
    """Write the pages that list what is not a run."""
    index = {row.repo_id: row.row_id for row in board.runs}
    site.write(
        "changes.html",
        render(
            "changes.html",
            root="",
            at="changes",
            changes=board.changes,
            longest=LONGEST_HISTORY,
            rate=FALSE_DISCOVERY_RATE,
        ),
    )
    site.write(
        "variance.html",
        render("variance.html", root="", at="variance", spreads=drawn_spreads(board.variances)),
    )
    site.write(
        "record.html", render("record.html", root="", at="record", board=board, row_ids=index)
    )
    site.write("reading.html", render("reading.html", root="", at="reading"))
    site.write(
        "definitions.html",
        render(
            "definitions.html",
            root="",
            version=METRIC_DEFINITIONS_VERSION,
            definitions=DEFINITIONS.values(),
        ),
    )
    summary = board.model_dump_json(exclude={"runs"}, exclude_unset=True)
    site.write("leaderboard.json", summary.encode() + b"\n")
    site.write("README.md", _SPACE.encode())


def _front_page(site: SiteFolder, board: Leaderboard) -> dict[str, object]:
    """Write the data scripts and return what the front page says."""
    rows = {row.row_id: row for row in board.runs}
    files = {}
    for group in board.groups:
        data = group_script(group, rows)
        files[group.group_id] = script_name(f"group-{group.group_id}", data)
        site.write(files[group.group_id], data)
    runs = runs_script(board, files)
    runs_file = script_name("runs", runs)
    site.write(runs_file, runs)
    return {
        "root": "",
        "at": "board",
        "board": board,
        "runs_file": runs_file,
        "ranked": board.states.get("verified", 0),
        "unranked_states": [state for state in board.states if state != "verified"],
    }
