"""The pages that list what is not a run: changes, spreads, findings, and the definitions."""

from __future__ import annotations

from collections.abc import Iterator

from inferencebench_pipeline.leaderboard.analysis.change_points import LONGEST_HISTORY
from inferencebench_pipeline.leaderboard.analysis.permutation import FALSE_DISCOVERY_RATE
from inferencebench_pipeline.leaderboard.document import Leaderboard
from inferencebench_pipeline.leaderboard.site.output_folder import Page
from inferencebench_pipeline.leaderboard.site.rendering import render
from inferencebench_pipeline.leaderboard.site.spread import drawn_spreads
from inferencebench_pipeline.measure import (
    DEFINITIONS,
    EARLIER_DEFINITIONS,
    METRIC_DEFINITIONS_VERSION,
)

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


def list_pages(board: Leaderboard) -> Iterator[Page]:
    """Yield those pages, the index's own document, and what a static Space shows of the folder."""
    index = {row.repo_id: row.row_id for row in board.runs}
    yield Page(
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
    yield Page(
        "variance.html",
        render("variance.html", root="", at="variance", spreads=drawn_spreads(board.variances)),
    )
    yield Page(
        "record.html", render("record.html", root="", at="record", board=board, row_ids=index)
    )
    yield Page("reading.html", render("reading.html", root="", at="reading"))
    yield Page(
        "definitions.html",
        render(
            "definitions.html",
            root="",
            version=METRIC_DEFINITIONS_VERSION,
            definitions=DEFINITIONS.values(),
            earlier=EARLIER_DEFINITIONS,
        ),
    )
    # What the build left out as a default stays left out.
    summary = board.model_dump_json(exclude={"runs"}, exclude_unset=True)
    yield Page("leaderboard.json", summary.encode() + b"\n")
    yield Page("README.md", _SPACE.encode())
