"""A page per published record, rendered only where the record or the renderer changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator

from inferencebench_pipeline.corpus import BlobStore
from inferencebench_pipeline.hub import Proof, verify_instructions
from inferencebench_pipeline.leaderboard.document import Leaderboard, RunDetails, RunRow
from inferencebench_pipeline.leaderboard.site.latency import json_block, latency_curves
from inferencebench_pipeline.leaderboard.site.output_folder import Page
from inferencebench_pipeline.leaderboard.site.rendering import render, renderer_digest, run_page

Details = Callable[[Collection[str]], Iterator[RunDetails]]
"""Reads the content of the pages of some repositories, on demand."""


def page_keys(board: Leaderboard) -> dict[str, str]:
    """Return what decides the content of each run's page, by the name of the page.

    That is the run's row, which holds the digests of envelope, traces and verdict, and the
    renderer.
    """
    return {run_page(row.row_id): page_key(row) for row in board.runs}


def run_pages(
    board: Leaderboard, details: Details, blobs: BlobStore, stale: Collection[str]
) -> Iterator[Page]:
    """Yield the pages of runs that are ``stale``, by their names.

    A run that ``details`` does not know (any more) has a page that shows its row.
    """
    bare = {row.repo_id: row for row in board.runs if run_page(row.row_id) in stale}
    for item in details(tuple(bare)) if bare else ():
        yield Page(run_page(item.run.row_id), _page(item, blobs))
        bare.pop(item.run.repo_id, None)
    for row in bare.values():
        yield Page(run_page(row.row_id), _page(RunDetails(run=row, metrics=()), blobs))


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
        verification=_verification(details),
        curves=curves,
        curves_json=json_block(curves),
        drawn_from_traces=any(curve["x"] for curve in curves),
        all_drawn=all(curve["x"] for curve in curves),
    )


def _verification(details: RunDetails) -> str:
    """Return the command that verifies this very commit, below comments on what it needs."""
    row, verdict = details.run, details.verdict
    good = verdict if verdict is not None and verdict.ok else None
    proof = Proof() if good is None else Proof(good.signer, good.log)
    target = f"hf://datasets/{row.repo_id}/envelope.json@{row.revision}"
    # The dataset's page lies on the Hub that the record was found on.
    endpoint = row.dataset_url.partition("/datasets/")[0]
    return verify_instructions(target, row.repo_id.partition("/")[0], proof, endpoint=endpoint)
