"""The static site: rendered from the index alone, viewable from a folder, no network, no server."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib import resources
from itertools import chain
from pathlib import Path

from inferencebench_pipeline.corpus import BlobStore
from inferencebench_pipeline.leaderboard.document import Leaderboard
from inferencebench_pipeline.leaderboard.index.build import load_leaderboard
from inferencebench_pipeline.leaderboard.site.data import data_scripts
from inferencebench_pipeline.leaderboard.site.list_pages import list_pages
from inferencebench_pipeline.leaderboard.site.output_folder import Page, SiteFolder
from inferencebench_pipeline.leaderboard.site.overviews import hardware_pages, model_pages
from inferencebench_pipeline.leaderboard.site.rendering import PACKAGE, render
from inferencebench_pipeline.leaderboard.site.run_details import run_details
from inferencebench_pipeline.leaderboard.site.run_pages import Details, page_keys, run_pages
from inferencebench_pipeline.leaderboard.store import LeaderboardStore

_COPIED = ("assets", "vendor")
"""Folders of this package that are part of every site."""


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
    keys = page_keys(board)
    site.write(run_pages(board, details, blobs, site.keep_current(keys)))
    site.remember(keys)
    scripts = data_scripts(board)
    shared = (_copied(), model_pages(board), hardware_pages(board), list_pages(board), scripts)
    site.write(chain.from_iterable(shared))
    # The last script is that of the runs. Its name changes
    # with its content, so this page comes last.
    site.write([_front_page(board, scripts[-1].name)])
    site.remove_stale()
    return folder / "index.html"


def _copied() -> Iterator[Page]:
    for source in _COPIED:
        for item in sorted((resources.files(PACKAGE) / source).iterdir(), key=lambda it: it.name):
            yield Page(f"{source}/{item.name}", item.read_bytes())


def _front_page(board: Leaderboard, runs_file: str) -> Page:
    states = board.states
    data = render(
        "index.html",
        root="",
        at="board",
        board=board,
        runs_file=runs_file,
        ranked=states.get("verified", 0),
        unranked_states=[state for state in states if state != "verified"],
    )
    return Page("index.html", data)
