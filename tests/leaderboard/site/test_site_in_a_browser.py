"""The site as a reader meets it: opened from a folder, in Chromium, with mouse and keyboard."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, expect

from inferencebench_pipeline.leaderboard.document import Leaderboard
from inferencebench_pipeline.leaderboard.site.rendering import hardware_page, model_page, run_page
from tests.chance import drawn
from tests.leaderboard.boards import board_of, site_of
from tests.leaderboard.browser import Visitor, chromium, visiting

pytestmark = pytest.mark.slow

COUNT = 260
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7777*7 }} \u202e =cmd|'/c'!A0"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def board() -> Leaderboard:
    return board_of(COUNT)


@pytest.fixture(scope="module")
def site(board: Leaderboard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site_of(board, tmp_path_factory.mktemp("board"))


@pytest.fixture
def reader(browser: Browser, site: Path) -> Iterator[Visitor]:
    with visiting(browser, site) as visitor:
        yield visitor
        assert visitor.problems == []
        assert visitor.outside == []


def every_kind_of_page(board: Leaderboard) -> list[str]:
    row = next(row for row in board.runs if row.state == "verified")
    rejected = next(row for row in board.runs if row.state == "rejected")
    assert row.model_id
    assert row.hardware
    return [
        "index.html",
        "index.html#group=all&state=rejected",
        run_page(row.row_id),
        run_page(rejected.row_id),
        model_page(row.model_id),
        hardware_page(row.hardware),
        *(
            f"{name}.html"
            for name in (
                "models",
                "hardware",
                "changes",
                "variance",
                "record",
                "reading",
                "definitions",
            )
        ),
    ]


def column(visitor: Visitor, name: str) -> list[str]:
    """The first line of each cell under the heading that sorts by ``name``."""
    headings = visitor.page.locator("#table thead th button").all()
    names = [heading.get_attribute("data-sort") for heading in headings]
    cells = visitor.page.locator(f"#table tbody tr > :nth-child({names.index(name) + 1})")
    return [text.split("\n")[0] for text in cells.all_inner_texts()]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 1400), ("dark", 390)])
def test_every_kind_of_page_is_accessible_and_fits_its_window(browser, site, board, scheme, width):
    found = []
    with visiting(browser, site, scheme=scheme, width=width) as visitor:
        pages = drawn(f"pages {scheme} {width}", every_kind_of_page(board), 5)
        for name in pages:
            page = visitor.open(name)
            found += [f"{name}: {violation}" for violation in visitor.axe()]
            wide = page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                found.append(f"{name}: {wide} pixels wide")
    assert found == []
    assert visitor.problems == []
    assert visitor.outside == []


def test_the_largest_question_opens_first_in_its_order(reader, board):
    reader.open("index.html")

    group = max(board.groups, key=lambda item: len(item.rows))
    expect(reader.page.locator("#count")).to_have_text(f"{len(group.rows)} runs")
    values = [float(text.replace(",", "")) for text in column(reader, "m.output_tok_per_s")]
    assert values == sorted(values, reverse=True)
    places = [int(text.lstrip("=")) for text in column(reader, "rank")]
    assert places[0] == 1
    assert any(text.startswith("=") for text in column(reader, "rank"))


def test_a_press_on_a_heading_sorts_and_another_turns_it_round(reader):
    page = reader.open("index.html")
    heading = page.locator("th", has=page.get_by_role("button", name="TTFT p50"))
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    values = [float(text.replace(",", "")) for text in column(reader, "m.ttft_p50_ms")]
    assert values == sorted(values)

    page.keyboard.press("Enter")

    expect(heading).to_have_attribute("aria-sort", "descending")
    values = [float(text.replace(",", "")) for text in column(reader, "m.ttft_p50_ms")]
    assert values == sorted(values, reverse=True)
    assert page.locator("[aria-sort]").count() == 1
    assert page.evaluate("document.activeElement.dataset.sort") == "m.ttft_p50_ms"


def test_a_filter_leaves_its_rows_is_in_the_address_and_goes_back(reader, board):
    page = reader.open("index.html")
    before = page.locator("#count").inner_text()
    box = page.get_by_label("vllm", exact=False).first
    box.check()

    expect(page.locator("#count")).to_contain_text(" of ")
    assert set(column(reader, "engine")) == {"vllm"}
    assert "engine=vllm" in page.url
    shown = page.locator("#count").inner_text()
    page.reload()
    expect(page.locator("#count")).to_have_text(shown)
    expect(page.get_by_role("button", name="Remove filter Engine: vllm")).to_be_visible()

    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator("#count")).to_have_text(before)
    page.go_back()
    expect(page.locator("#count")).to_have_text(shown)
    assert page.locator("#facets input:checked").count() == 1


def test_filter_counts_are_what_each_filter_would_leave(reader):
    page = reader.open("index.html#engine=vllm")
    label = page.locator("#facets label", has_text="1 × NVIDIA L4")
    count = label.locator(".count").inner_text()

    label.locator("input").check()

    expect(page.locator("#count")).to_have_text(re.compile(f"^{count} of "))


def test_words_are_searched_for_in_all_columns_as_they_are_typed(reader):
    page = reader.open("index.html")
    page.get_by_placeholder("Search").press_sequentially("LLAMA-3.1 l4")

    expect(page.locator("#count")).to_contain_text(" of ")
    assert all("Llama-3.1" in text for text in column(reader, "model"))
    assert all("L4" in text for text in column(reader, "hardware"))
    assert "q=LLAMA" in page.url
    page.get_by_placeholder("Search").fill("no such thing")
    expect(page.locator("#none")).to_be_visible()


def test_a_shared_address_restores_the_whole_view(reader, board):
    group = board.groups[1]
    address = (
        f"index.html#group={group.group_id}&engine=vllm&engine=sglang&q=instruct"
        "&sort=m.tpot_p50_ms.desc&colour=engine&log=1"
    )
    page = reader.open(address)

    expect(page.locator("#title")).to_have_text(group.suite_id)
    assert set(column(reader, "engine")) <= {"vllm", "sglang"}
    expect(page.locator("[aria-sort]")).to_contain_text("TPOT p50")
    expect(page.get_by_label("Colour and shape")).to_have_value("engine")
    expect(page.get_by_label("Log axes")).to_be_checked()
    expect(page.locator(".axis-title").first).to_contain_text("log axis, not from zero")
    expect(page.get_by_placeholder("Search")).to_have_value("instruct")


@pytest.mark.parametrize(
    "fragment",
    [
        "#group=no-such-group&page=99999&sort=nothing.asc&engine=none-of-them",
        "#%F0%9F%92%A9=%3Cscript%3E&q=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
        "#sort=constructor.asc&__proto__=1&page=-1e9&colour=__proto__",
    ],
)
def test_nonsense_in_an_address_shows_a_table(reader, fragment):
    page = reader.open(f"index.html{fragment}")

    expect(page.locator("#table thead th").first).to_be_visible()
    expect(page.locator("#broken")).to_be_hidden()


def test_long_tables_are_turned_page_by_page(reader):
    page = reader.open("index.html#group=all")
    assert page.locator("#table tbody tr").count() == 100
    first = column(reader, "model")

    page.get_by_role("button", name="Next").click()

    expect(page.locator("#where")).to_have_text("Page 2 of 3")
    assert "page=2" in page.url
    assert column(reader, "model") != first
    page.go_back()
    expect(page.locator("#where")).to_have_text("Page 1 of 3")


def test_runs_of_different_questions_are_listed_but_not_ranked_together(reader, board):
    page = reader.open("index.html")
    page.get_by_label("Question").select_option("all")

    expect(page.locator("#count")).to_have_text(f"{COUNT} runs")
    headings = [text.split("\n")[0] for text in page.locator("#table thead th").all_inner_texts()]
    assert headings == ["Model", "Engine", "Hardware", "Load", "Question", "Standing", "Measured"]
    expect(page.locator("#plots")).to_be_hidden()


def test_what_does_not_rank_is_one_press_away_with_its_reason(reader, board):
    page = reader.open("index.html")
    unranked = sum(row.state != "verified" for row in board.runs)

    page.get_by_role("link", name=f"{unranked} not ranked").click()

    expect(page.locator("#count")).to_have_text(f"{unranked} of {COUNT} runs")
    assert page.locator("#table .why").count() == min(unranked, 100)


def test_fronts_are_drawn_from_zero_with_intervals_and_lead_to_their_runs(reader, board):
    page = reader.open("index.html")
    front = max(board.groups, key=lambda item: len(item.rows)).fronts[0]
    figure = page.locator("#figures figure").first

    links = figure.locator("svg a")
    assert links.count() == sum(point.on_front for point in front.points)
    ticks = figure.locator(".axis text").all_text_contents()
    assert ticks.count("0") == 2
    assert figure.locator(".interval").get_attribute("d")
    assert re.search(
        r"token/s.*higher is better", figure.locator(".axis-title").last.text_content() or ""
    )
    links.first.focus()
    expect(figure.locator(".tip")).to_contain_text("Interactivity")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/**")


def drawn_points(figure: Locator) -> int:
    """How many points of a plot are behind its front."""
    counts = figure.locator("[data-points]").evaluate_all("all => all.map((p) => p.dataset.points)")
    return sum(map(int, counts))


def test_filters_hide_points_and_leave_the_front_of_the_group(reader):
    page = reader.open("index.html")
    figure = page.locator("#figures figure").first
    line = figure.locator(".front").get_attribute("d")
    points = drawn_points(figure)

    page.get_by_label("vllm", exact=False).first.check()

    expect(page.locator("#count")).to_contain_text(" of ")
    assert 0 < drawn_points(figure) < points
    assert figure.locator(".front").get_attribute("d") == line


def test_the_filtered_view_is_exported_in_its_order(reader, board):
    page = reader.open("index.html#engine=vllm&sort=m.ttft_p50_ms.asc")
    shown = int(page.locator("#count").inner_text().split(" of ")[0])

    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()

    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    heading, *rows = csv.reader(io.StringIO(text))
    lines = [dict(zip(heading, row, strict=True)) for row in rows]
    assert len(lines) == shown
    assert {line["engine"] for line in lines} == {"vllm"}
    values = [float(line["ttft_p50_ms [ms]"]) for line in lines]
    assert values == sorted(values)
    known = {row.row_id: row for row in board.runs}
    for line in lines:
        cell = next(it for it in known[line["run"]].metrics if it.key == "ttft_p50_ms")
        assert float(line["ttft_p50_ms [ms]"]) == pytest.approx(cell.value, rel=1e-6)
        assert float(line["ttft_p50_ms low"]) == pytest.approx(cell.low, rel=1e-6)


def test_text_in_a_csv_is_never_a_formula(reader):
    page = reader.open("index.html")
    texts = [
        "=1+1",
        "+1",
        "-1",
        "@x",
        "\t=1",
        " =1",
        '"=1',
        "＝1",
        "|x",
        "a,b",
        'say "x"',
        "a\r\n=1",
    ]

    text = page.evaluate("texts => IB.csv(['h'], texts.map((t) => [t, -1.5]))", texts)

    heading, *rows = csv.reader(io.StringIO(text, newline=""))
    assert heading == ["h"]
    for given, (written, number) in zip(texts, rows, strict=True):
        assert number == "-1.5"
        assert written in (given, f"'{given}")
        assert written.lstrip(' \t"')[:1] not in set("=+-@＝＋－＠|%\t\r\n") or written[0] == "'"


def test_the_keyboard_alone_reaches_the_content_and_the_rows(reader):
    page = reader.open("index.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("#region").focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#table tbody a') !== null"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/**")


def test_a_run_page_draws_its_latencies_without_a_mouse(reader, board):
    row = next(row for row in board.runs if row.state == "verified")
    page = reader.open(run_page(row.row_id))

    figures = page.locator("#distributions figure")
    assert figures.locator("h3").all_inner_texts() == ["TTFT", "TPOT", "ITL", "E2E latency"]
    plot = figures.first.locator("svg")
    assert "p50" in (plot.get_attribute("aria-label") or "")
    assert plot.locator("circle").count() == 5
    assert "p99.9" in (plot.get_attribute("aria-label") or "")
    page.get_by_label("Log axes").check()
    expect(figures.first.locator(".axis-title").first).to_contain_text("not from zero")


def test_hostile_strings_run_nothing_anywhere(browser, tmp_path):
    board = board_of(12, ranked_share=0.8)
    names = ("repo_id", "model_id", "engine_name", "engine_version", "hardware", "quantization")
    others = ("slo", "suite_id", "state_reason", "load_point", "dataset_id")
    rows = tuple(
        row.model_copy(update=dict.fromkeys((*names, *others), f"{EVIL}{at}"))
        for at, row in enumerate(board.runs)
    )
    groups = tuple(
        group.model_copy(update={"suite_id": EVIL, "dataset_id": EVIL, "slo": EVIL})
        for group in board.groups
    )
    hostile = board.model_copy(update={"runs": rows, "groups": groups})
    site = site_of(hostile, tmp_path)
    with visiting(browser, site) as visitor:
        for path in sorted(site.parent.rglob("*.html")):
            page = visitor.open(str(path.relative_to(site.parent)))
            assert page.locator("img, iframe, object").count() == 0
            assert "54439" not in page.locator("main").inner_text()
            for button in page.locator("#table thead button").all():
                button.click()
        assert visitor.problems == []
        assert visitor.outside == []
