"""Records of every version on the leaderboard: ranked, drawn, and in the words of their time."""

from __future__ import annotations

import json
import re

import pytest

from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.corpus.verifier import PolicyJudge
from inferencebench_pipeline.envelope.canonical import parse_envelope
from inferencebench_pipeline.envelope.stated_versions import stated_versions
from inferencebench_pipeline.leaderboard.document import MetricCell
from inferencebench_pipeline.leaderboard.index.build import build_index, load_leaderboard
from inferencebench_pipeline.leaderboard.site.data import GroupTable
from inferencebench_pipeline.leaderboard.site.overviews import cells_of
from inferencebench_pipeline.leaderboard.site.site import render_site
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.measure import EARLIER_DEFINITIONS, definitions_of
from inferencebench_pipeline.trust.root.trust_root import load_trust
from inferencebench_pipeline.trust.verify.policy import load_policy
from tests.corpus.world import FolderHub
from tests.leaderboard.boards import board_of
from tests.records import GoldenRecord, golden_records

RECORDS = [record for record in golden_records() if "rekor-v2" in record.envelope.name]
ORGANISATION = "inferencebench-sandbox"


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_a_record_of_any_version_is_ranked_and_drawn_in_the_words_of_its_version(
    hub: FolderHub, store: LeaderboardStore, record: GoldenRecord
) -> None:
    repo_id = f"{ORGANISATION}/golden"
    hub.commit(repo_id, {"envelope.json": record.data, "traces.parquet": record.traces})
    folder = record.envelope.parent
    judge = PolicyJudge(
        load_trust(folder / "trusted_root.json"), load_policy(folder / "policy.yaml")
    )
    crawl_source(hub, ORGANISATION, store.corpus)
    for day in created_days(store.corpus):
        assert verify_day(store.corpus, day, judge).findings == ()
    build_index(store)

    board = load_leaderboard(store)

    version = stated_versions(parse_envelope(record.data)).metric_definitions
    definitions = definitions_of(version)
    assert definitions is not None
    (group,) = board.groups
    (row,) = board.runs
    assert (row.state, group.rows, group.ranked_by) == (
        "verified",
        (row.row_id,),
        "output_tok_per_s",
    )
    assert group.metric_definitions == version
    said = {column.key: column.definition for column in group.columns}
    assert len(said) == 6
    assert said == {key: definitions.metrics[key].definition for key in said}
    site = render_site(store)
    (path,) = (site.parent / "runs").rglob("*.html")
    pattern = r'<script type="application/json" id="curves">(.*?)</script>'
    block = re.search(pattern, path.read_text())
    assert block
    curves = {curve["label"]: curve["n"] for curve in json.loads(block.group(1))}
    assert curves["TTFT"] == 24
    assert set(curves) == {each.label for each in definitions.distributions if each.drawn}


def test_the_page_of_definitions_has_the_words_of_every_version(
    hub: FolderHub, store: LeaderboardStore
) -> None:
    crawl_source(hub, ORGANISATION, store.corpus)
    build_index(store)
    page = render_site(store).with_name("definitions.html").read_text()
    for row in EARLIER_DEFINITIONS:
        assert f'id="{row.key}-{row.until}"' in page
    assert (
        "from the instant the first measured request was due to the end of the last one, " in page
    )


def test_a_number_of_another_meaning_is_in_no_table_of_its_group() -> None:
    board = board_of(8, groups=1)
    (group,) = board.groups
    row = next(row for row in board.runs if row.row_id in group.rows)
    table = GroupTable.of(group)

    def shown(version: str | None) -> list[str]:
        cells = cells_of(table, row.model_copy(update={"metric_definitions": version}))
        return [cell.key for cell in cells if isinstance(cell, MetricCell)]

    now = shown(group.metric_definitions)
    assert "output_tok_per_s" in now
    assert shown("1") == [key for key in now if key in _unchanged()]


def _unchanged() -> frozenset[str]:
    first, newest = definitions_of("1"), definitions_of("2")
    assert first is not None
    assert newest is not None
    return first.agreeing_with(newest)
