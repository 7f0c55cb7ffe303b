from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from inferencebench_pipeline.corpus.inventory import crawl_source, created_days
from inferencebench_pipeline.corpus.verification import verify_day
from inferencebench_pipeline.leaderboard.index.build import build_index
from inferencebench_pipeline.leaderboard.site import latency
from inferencebench_pipeline.leaderboard.site.labels import (
    format_instant,
    format_value,
    http_url,
)
from inferencebench_pipeline.leaderboard.site.site import render_site
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.measure.metrics.arrays import Rows, TraceArrays
from inferencebench_pipeline.measure.spec.stated_parts import Slo
from inferencebench_pipeline.measure.traces.reader import open_traces
from inferencebench_pipeline.runs.run_directory import new_run_id
from tests.corpus.world import ORG, FolderHub, altered, policy, record, resigned, verifier

REPO = f"{ORG}/one"
EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7*7 }} ' \u202e \x00"


class Page(HTMLParser):
    """The tags and attributes of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def values(self, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for _, attrs in self.tags if attribute in attrs]


def rendered(hub: FolderHub, store: LeaderboardStore) -> Path:
    crawl_source(hub, ORG, store.corpus)
    for day in created_days(store.corpus):
        verify_day(store.corpus, day, verifier())
    build_index(store)
    return render_site(store)


def pages(site: Path) -> list[Path]:
    return sorted(site.parent.rglob("*.html"))


def run_page(site: Path) -> Page:
    (path,) = (site.parent / "runs").rglob("*.html")
    return Page(path)


def test_a_run_is_found_from_the_models_to_its_dataset_at_its_commit(hub, store):
    revision = hub.commit(REPO, record(new_run_id(), REPO))

    site = rendered(hub, store)

    (link,) = [
        href for href in Page(site.with_name("models.html")).values("href") if "models/" in href
    ]
    model = site.parent / link
    (link,) = [href for href in Page(model).values("href") if "runs/" in href]
    page = Page(model.parent / link)
    dataset = f"https://huggingface.co/datasets/{REPO}/tree/{revision}"
    assert dataset in page.values("href")
    assert f"inferencebench verify hf://datasets/{REPO}/envelope.json@{revision}" in page.text
    for check in ("content_hash", "dev_key_signature", "metrics_rederive"):
        assert f"<strong>{check}</strong>" in page.text
    assert "12 samples, at least 662 needed" in page.text


def test_latency_curves_are_those_of_the_published_traces(hub, store):
    files = record(new_run_id(), REPO)
    hub.commit(REPO, files)

    page = run_page(rendered(hub, store))

    block = re.search(r'<script type="application/json" id="curves">(.*?)</script>', page.text)
    assert block
    curves = {curve["label"]: curve for curve in json.loads(block.group(1))}
    rows = Rows.of(open_traces(files["traces.parquet"]).rows)
    ttft_ms = np.sort((rows.first_token - rows.sent)[rows.good]) / 1e6
    assert curves["TTFT"]["n"] == len(ttft_ms)
    assert curves["TTFT"]["x"][0] == pytest.approx(ttft_ms[0], abs=1e-3)
    assert curves["TTFT"]["x"][-1] == pytest.approx(ttft_ms[-1], abs=1e-3)
    assert curves["TTFT"]["share"][-1] == 1.0
    assert curves["TTFT"]["marks"][0]["share"] == 0.5
    gaps_ms = TraceArrays.of(open_traces(files["traces.parquet"]), Slo()).gaps.array() / 1e6
    assert (curves["ITL"]["n"], len(gaps_ms) > 0) == (len(gaps_ms), True)
    assert curves["ITL"]["x"][-1] == pytest.approx(gaps_ms.max(), abs=1e-3)
    assert "of so long a run" not in page.text


def test_gaps_between_the_tokens_of_a_very_long_run_are_not_read_for_its_page(
    hub, store, monkeypatch
):
    monkeypatch.setattr(latency, "MOST_TOKENS", 3)
    hub.commit(REPO, record(new_run_id(), REPO))

    page = run_page(rendered(hub, store))

    assert "not the gaps between tokens of so long a run" in page.text
    assert '"label":"ITL"' in page.text


def test_every_local_link_leads_somewhere_and_nothing_is_loaded_from_elsewhere(hub, store):
    for name in "ab":
        hub.commit(f"{ORG}/{name}", record(new_run_id(), f"{ORG}/{name}"))
    hub.commit(f"{ORG}/broken", {"envelope.json": b"{"})

    for path in pages(rendered(hub, store)):
        page = Page(path)
        for tag, attrs in page.tags:
            for name in ("href", "src"):
                target = attrs.get(name)
                if target is None or target.startswith("#"):
                    continue
                if tag == "a" and target.startswith("https://"):
                    continue
                file = target.partition("#")[0]
                assert (path.parent / file).is_file(), f"{path.name}: {target}"


def test_hostile_strings_are_text(hub, store):
    files = record(new_run_id(), REPO)
    envelope = json.loads(files["envelope.json"])
    notes = envelope["inferencebench_pipeline"]
    notes["engine_config"] = {EVIL: EVIL}
    notes["metric_notes"] = {EVIL: {"n": 1, "unit": EVIL}}
    data = resigned(
        files["envelope.json"],
        run_id="../../../escape" + EVIL,
        suite_id="/etc/" + EVIL,
        model={**envelope["model"], "id": EVIL, "provider": EVIL},
        engine={**envelope["engine"], "name": EVIL, "version": EVIL},
        metrics={EVIL: 1, "text": EVIL},
        distributions={EVIL: EVIL},
        warnings=[EVIL],
        slo_template=EVIL,
        inferencebench_pipeline=notes,
    )
    hub.commit(REPO, {"envelope.json": data})

    site = rendered(hub, store)

    written = {path.relative_to(store.root) for path in store.root.rglob("*") if path.is_file()}
    assert all(part not in str(path) for path in written for part in ("escape", "etc"))
    for path in pages(site):
        page = Page(path)
        assert "49" not in re.findall(r"\b49\b", page.text)
        assert {tag for tag, _ in page.tags}.isdisjoint({"img", "iframe", "object"})
        scripts = {attrs.get("src") or attrs["type"] for tag, attrs in page.tags if tag == "script"}
        assert all(
            name == "application/json" or re.fullmatch(r"[./]*(assets|vendor|data)/[\w.-]+", name)
            for name in scripts
        )
        assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert "alert(1)" in run_page(site).text


def test_pages_forbid_scripts_that_are_not_theirs(hub, store):
    hub.commit(REPO, record(new_run_id(), REPO))

    for path in pages(rendered(hub, store)):
        (rules,) = [
            attrs["content"]
            for _, attrs in Page(path).tags
            if attrs.get("http-equiv") == "Content-Security-Policy"
        ]
        assert rules is not None
        assert "default-src 'none'" in rules
        assert "unsafe" not in rules


def test_an_empty_corpus_says_so_and_what_would_fill_it(hub, store):
    page = Page(rendered(hub, store))

    assert "Nothing is published yet" in page.text
    assert {"table", "script"}.isdisjoint({tag for tag, _ in page.tags})


def test_a_rejected_run_is_listed_with_its_reason_and_not_in_a_ranking(hub, store):
    files = record(new_run_id(), REPO)
    hub.commit(REPO, {**files, "envelope.json": altered(files["envelope.json"], seed=7)})

    site = rendered(hub, store)

    assert "No result ranks yet" in site.read_text()
    (model,) = (site.parent / "models").glob("*.html")
    assert "the pinned development key did not sign this hash" in model.read_text()
    assert run_page(site).text.count('class="failed"') == 2  # the verdict, and the check it is for


def test_a_record_without_traces_says_that_its_metrics_were_not_rederived(hub, store, shared_data):
    folder = shared_data / "corpus"
    file = next((folder / "2026-05-18-marathon").glob("*.json"))
    hub.commit(REPO, {"envelope.json": file.read_bytes()})
    crawl_source(hub, ORG, store.corpus)
    key = (folder / "cosign-2026-05-18-marathon.pub").read_text()
    verify_day(store.corpus, "2026-05-18", verifier(policy(key)))
    build_index(store)

    assert "metrics not re-derived" in run_page(render_site(store)).text


def test_the_page_of_a_run_that_left_the_index_is_removed(hub, store):
    hub.commit(REPO, record(new_run_id(), REPO))
    site = rendered(hub, store)
    stale = site.parent / "runs" / "01" / "0123456789abcdef.html"
    stale.parent.mkdir()
    stale.write_text("old")

    assert rendered(hub, store) == site
    assert not stale.exists()
    assert len(list((site.parent / "runs").rglob("*.html"))) == 1


def test_only_changed_runs_are_rendered_again(hub, store):
    for name in "abc":
        hub.commit(f"{ORG}/{name}", record(new_run_id(), f"{ORG}/{name}"))
    before = stamps(rendered(hub, store))
    assert stamps(render_site(store)) == before

    hub.commit(f"{ORG}/d", record(new_run_id(), f"{ORG}/d"))
    after = stamps(rendered(hub, store))

    assert len(after) == 4
    assert {name: after[name] for name in before} == before


def test_a_page_that_was_lost_is_rendered_again(hub, store):
    hub.commit(REPO, record(new_run_id(), REPO))
    site = rendered(hub, store)
    (page,) = (site.parent / "runs").rglob("*.html")
    content = page.read_bytes()
    page.unlink()

    render_site(store)

    assert page.read_bytes() == content


def stamps(site: Path) -> dict[str, int]:
    """When each run's page was written."""
    return {path.name: path.stat().st_mtime_ns for path in (site.parent / "runs").rglob("*.html")}


def test_rendering_twice_gives_the_same_bytes(hub, store):
    hub.commit(REPO, record(new_run_id(), REPO))
    site = rendered(hub, store)
    first = {path: path.read_bytes() for path in pages(site)}

    rendered(hub, store)

    assert {path: path.read_bytes() for path in pages(site)} == first


def test_every_table_header_and_form_field_is_labelled(hub, store):
    hub.commit(REPO, record(new_run_id(), REPO))

    for path in pages(rendered(hub, store)):
        page = Page(path)
        headers = [attrs for tag, attrs in page.tags if tag == "th"]
        assert all(attrs.get("scope") in ("col", "row") for attrs in headers)
        ids = page.values("id")
        assert len(ids) == len(set(ids))
        assert set(page.values("aria-labelledby")) <= set(ids)


def test_another_hub_is_named_in_the_verify_command(hub, store):
    hub.endpoint = "http://127.0.0.1:8123"
    hub.commit(REPO, record(new_run_id(), REPO))

    page = run_page(rendered(hub, store))

    assert "HF_ENDPOINT=http://127.0.0.1:8123 inferencebench verify" in page.text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (12.0, "12"),
        (0.123456, "0.123"),
        (9.876, "9.88"),
        (123.456, "123.5"),
        (12345.6, "12,346"),
        (-5.5, "-5.50"),
        (1e300, "1e+300"),
    ],
)
def test_numbers_are_readable(value, text):
    assert format_value(value) == text


def test_instants_are_utc_and_nonsense_stays_itself():
    assert format_instant("2026-05-18T15:27:52.4+02:00") == "2026-05-18 13:27 UTC"
    assert format_instant("soon") == "soon"


@pytest.mark.parametrize(
    "url",
    [None, "javascript:alert(1)", "data:text/html,x", "file:///etc/passwd", "//host", "http://[x"],
)
def test_only_http_links_are_links(url):
    assert http_url(url) is None


def test_the_folder_holds_the_document_beside_the_page(hub, store):
    site = rendered(hub, store)

    assert site == store.folder / "site" / "index.html"
    assert (site.parent.parent / "leaderboard.json").is_file()
