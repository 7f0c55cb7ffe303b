"""What the built index says beside the rows: fronts, costs by the prices given, spreads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inferencebench_pipeline.community_results.register import record_results
from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.envelope.build import build_envelope
from inferencebench_pipeline.envelope.canonical import serialise
from inferencebench_pipeline.leaderboard.analysis.prices import Prices
from inferencebench_pipeline.leaderboard.document import Summary
from inferencebench_pipeline.leaderboard.index import group_cache
from inferencebench_pipeline.leaderboard.index.build import (
    build_index,
    load_summary,
)
from inferencebench_pipeline.leaderboard.index.check import check_rows
from inferencebench_pipeline.leaderboard.site.site import render_site
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.corpus.world import ORG, FolderHub, signed, verifier
from tests.envelope.measured import measurement_of, provenance, spec_of, traces_bytes
from tests.leaderboard.analysis.test_variance import result

H100 = "NVIDIA H100 80GB HBM3"
RUNS_EACH = 4


def publish(hub: FolderHub, name: str, engine_version: str, rows: int) -> None:
    """Publish a run on two GPUs; ``rows`` of traces make its numbers what they are."""
    run_id = new_run_id()
    traces = traces_bytes(run_id, rows)
    known = provenance()
    gpus = [
        {"model": H100, "pci_id": f"0000:0{at}:00.0", "serial": f"s{at}", "vbios": "96.00"}
        for at in range(2)
    ]
    made = provenance(
        engine={**known.engine.model_dump(), "version": engine_version},
        hardware={**known.hardware.model_dump(), "gpus": gpus},
        hardware_class="h100",
    )
    measurement = measurement_of(run_id, traces, provenance=made, spec=spec_of(rows))
    envelope = signed(build_envelope(measurement))
    hub.commit(f"{ORG}/{name}", {"envelope.json": serialise(envelope), "traces.parquet": traces})


@pytest.fixture
def published(hub: FolderHub, store: LeaderboardStore) -> LeaderboardStore:
    for at in range(RUNS_EACH):
        publish(hub, f"old-{at}", "b7000", rows=13)
        publish(hub, f"new-{at}", "b8000", rows=9)
    crawl_source(hub, ORG, store.corpus)
    for day in created_days(store.corpus):
        verify_day(store.corpus, day, verifier())
    return store


def built(store: LeaderboardStore, prices: Prices | None = None) -> Summary:
    build_index(store, prices)
    return load_summary(store)


def prices(per_hour: float) -> Prices:
    return Prices.model_validate(
        {
            "version": 1,
            "source": "https://prices.example/list",
            "date": "2026-10-01",
            "currency": "EUR",
            "accelerators": [{"accelerator": H100, "per_hour": per_hour}],
        }
    )


def cost(summary: Summary) -> float | None:
    points = [
        point
        for group in summary.groups
        for front in group.fronts
        if front.name == "cost_interactivity"
        for point in front.points
    ]
    return max((point.y for point in points), default=None)


def test_costs_follow_the_prices_that_are_given_and_go_with_them(published: LeaderboardStore):
    assert cost(built(published)) is None
    first = cost(built(published, prices(2.0)))
    assert first is not None
    assert cost(built(published, prices(4.0))) == pytest.approx(2 * first, rel=1e-5)
    assert cost(built(published)) is None
    assert check_rows(published) == []


def test_spreads_of_speed_and_of_quality_share_one_false_discovery_rate(
    published: LeaderboardStore,
):
    record_results(
        published.root,
        [
            result(10 * at + n, 0.8 + at / 20 + n / 1000, provider=f"p{at}")
            for at in range(2)
            for n in range(5)
        ],
    )
    summary = built(published)
    (quality,) = [item for item in summary.variances if item.kind == "quality"]
    speed = [item for item in summary.variances if item.kind == "speed"]
    assert {item.across for item in speed} == {"engine_version"}
    assert quality.more_than_noise == (True,)
    for item in (quality, *speed):
        for metric, q_value in zip(item.metrics, item.q_values, strict=True):
            assert metric.p_value is not None
            assert q_value is not None
            assert q_value >= metric.p_value
    assert quality.levels[0].urls[0].startswith("https://huggingface.co/org/model/")
    assert {len(level.row_ids) for item in speed for level in item.levels} == {RUNS_EACH}


def test_the_same_corpus_gives_the_same_spreads_bit_by_bit_and_at_once(
    hub: FolderHub, published: LeaderboardStore, tmp_path: Path
):
    build_index(published)
    other = LeaderboardStore(tmp_path / "other")
    publish(hub, "one-more", "b9000", rows=11)
    for store in (published, other):
        crawl_source(hub, ORG, store.corpus)
        for day in created_days(store.corpus):
            verify_day(store.corpus, day, verifier())
    assert built(published).variances == built(other).variances


def test_a_register_that_changed_compares_no_group_again(
    published: LeaderboardStore, monkeypatch: pytest.MonkeyPatch
):
    before = built(published)
    record_results(
        published.root, [result(at, 0.8 + at / 100, provider=f"p{at}") for at in range(3)]
    )

    def compared(*_: object) -> None:
        raise AssertionError("a group was compared again")

    monkeypatch.setattr(group_cache, "compare", compared)
    after = built(published)

    assert after.groups == before.groups
    told = [item for item in after.variances if item.kind == "speed"]
    assert [item.metrics for item in told] == [item.metrics for item in before.variances]
    assert len(after.variances) == len(before.variances) + 1


def test_the_page_shows_both_kinds_of_spreads_and_links_only_to_what_is_there(
    published: LeaderboardStore,
):
    record_results(
        published.root, [result(at, 0.8 + at / 100, provider=f"<p{at}>") for at in range(3)]
    )
    build_index(published)
    render_site(published)
    site = published.folder / "site"
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    shown = "\n".join(pages.values())
    assert "Quality, as the community reports it" in shown
    assert "&lt;p1&gt;" in shown and "<p1>" not in shown
    assert "across engine versions" in shown
    for path, page in pages.items():
        for target in re.findall(r'href="((?!https?:|#|mailto:)[^"#?]+)', page):
            assert (path.parent / target).exists(), (path, target)
