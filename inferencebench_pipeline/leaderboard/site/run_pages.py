"""A page per published record, rendered only where the record or the renderer changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import orjson

from inferencebench_pipeline.corpus import BlobStore
from inferencebench_pipeline.files import read_plain, sealed, unsealed, write_atomically
from inferencebench_pipeline.leaderboard.document import Leaderboard, RunDetails, RunRow
from inferencebench_pipeline.leaderboard.site.latency import json_block, latency_curves
from inferencebench_pipeline.leaderboard.site.output_folder import SiteFolder
from inferencebench_pipeline.leaderboard.site.rendering import render, renderer_digest, run_page

Details = Callable[[Collection[str]], Iterator[RunDetails]]
"""What the pages of some repositories show, read on demand."""


def write_run_pages(
    site: SiteFolder, board: Leaderboard, details: Details, blobs: BlobStore, keys_file: Path
) -> int:
    """Bring the page of every run up to date; return how many were rendered.

    What a page shows is decided by the run's row (which holds the digests of envelope, traces and
    verdict) and by the renderer. ``keys_file`` remembers both as one key per page, and the state
    of its file; it is written after the pages, so that a render that was cut off is done again, and
    so is a page that somebody or the disk has changed. A run that ``details`` does
    not know (any more) has a page that shows its row.

    Raises:
        StoreError: a page cannot be written.
    """
    known = _load_keys(keys_file)
    keys = {row.row_id: page_key(row) for row in board.runs}
    changed: list[RunRow] = []
    for row in board.runs:
        name = run_page(row.row_id)
        if site.has(name) and known.get(row.row_id) == [keys[row.row_id], site.state(name)]:
            site.keep(name)
        else:
            changed.append(row)
    bare = {row.repo_id: row for row in changed}
    for item in details(tuple(bare)) if bare else ():
        site.write(run_page(item.run.row_id), _page(item, blobs))
        bare.pop(item.run.repo_id, None)
    for row in bare.values():
        site.write(run_page(row.row_id), _page(RunDetails(run=row, metrics=()), blobs))
    site.sync()
    made = {row_id: [key, site.state(run_page(row_id))] for row_id, key in keys.items()}
    if made != known:
        data = orjson.dumps(made, option=orjson.OPT_SORT_KEYS)
        write_atomically(keys_file, sealed(data) if made else data)
    return len(changed)


def page_key(row: RunRow) -> str:
    """Return what identifies the content of a run's page, without rendering it."""
    text = row.model_dump_json().encode() + renderer_digest().encode()
    return hashlib.sha256(text).hexdigest()[:16]


def _page(details: RunDetails, blobs: BlobStore) -> bytes:
    curves = latency_curves(details, blobs)
    return render(
        "run.html",
        root="../../",
        row=details.run,
        metrics=details.metrics,
        validity=details.validity,
        provenance=details.provenance,
        verdict=details.verdict,
        curves=curves,
        curves_json=json_block(curves),
        drawn_from_traces=any(curve["x"] for curve in curves),
        all_drawn=all(curve["x"] for curve in curves),
    )


def _load_keys(path: Path) -> dict[str, list[str]]:
    """Return the keys of the pages that lie there; none when nobody knows, which renders anew."""
    try:
        keys = orjson.loads(unsealed(read_plain(path)))
    except (OSError, ValueError):
        return {}
    return keys if isinstance(keys, dict) else {}
