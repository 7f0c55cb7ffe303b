"""No text in a record can become structure: not in a page, not in a data script."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencebench_pipeline.corpus.blobs import BlobStore
from inferencebench_pipeline.leaderboard.document import Leaderboard, MetricCell, RunRow
from inferencebench_pipeline.leaderboard.run_columns import Shown
from inferencebench_pipeline.leaderboard.site import data
from inferencebench_pipeline.leaderboard.site.data import group_script, runs_script
from inferencebench_pipeline.leaderboard.site.output_folder import Page, SiteFolder
from inferencebench_pipeline.leaderboard.site.rendering import (
    hardware_page,
    model_page,
    render,
    run_page,
)
from inferencebench_pipeline.leaderboard.site.site import write_site
from inferencebench_pipeline.leaderboard.site.spread import MOST_SPREADS, drawn_spreads
from tests.chance import examples
from tests.leaderboard.boards import board_of, details_of

BOARD = board_of(9, seed=3)
ROW_TEXTS = (
    "repo_id",
    "organisation",
    "revision",
    "state_reason",
    "run_id",
    "suite_id",
    "suite_version",
    "model_id",
    "model_provider",
    "quantization",
    "engine_name",
    "engine_version",
    "hardware_class",
    "hardware",
    "dataset_id",
    "load_point",
    "slo",
    "timestamp",
)
FRAGMENTS = (
    "</script>",
    "<script>alert(1)</script>",
    "<!--",
    "]]>",
    "'",
    '"',
    "\\",
    "\\u003c",
    "`${1}`",
    "{{ 7*7 }}",
    "{% raw %}",
    "\u2028",
    "\u202e",
    "\x00",
    "\r\n",
    "javascript:alert(1)",
    "../../etc/passwd",
    "&lt;",
    "&#60;",
    "=1+1",
    "#group=all",
    "%00",
)
HOSTILE = st.lists(
    st.sampled_from(FRAGMENTS) | st.text(st.characters(codec="utf-8"), max_size=8),
    min_size=1,
    max_size=6,
).map(lambda parts: "x" + "".join(parts))


def with_text(text: str) -> Leaderboard:
    """The board with ``text`` wherever a stranger's text can stand."""
    runs = tuple(row.model_copy(update=dict.fromkeys(ROW_TEXTS, text)) for row in BOARD.runs)
    named = {"suite_id": text, "suite_version": text, "dataset_id": text, "slo": text}
    groups = tuple(group.model_copy(update={**named, "workload": text}) for group in BOARD.groups)
    return BOARD.model_copy(
        update={
            "runs": runs,
            "groups": groups,
            "changes": tuple(
                change.model_copy(update={"model_id": text, "hardware": text, "since": text})
                for change in BOARD.changes
            ),
            "variances": tuple(
                item.model_copy(update={"model_id": text, "model_revision": text})
                for item in BOARD.variances
            ),
            "withheld": tuple(
                item.model_copy(update={"model_id": text, "withheld_url": f"javascript:{text}"})
                for item in BOARD.withheld
            ),
        }
    )


class Structure(HTMLParser):
    """The tags of a page with the names of their attributes, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def pages_of(board: Leaderboard, folder) -> dict[str, Structure]:
    def details(repo_ids):
        for row in board.runs:
            yield details_of(row).model_copy(
                update={
                    "metrics": (*row.metrics, MetricCell(key=row.repo_id, text=row.repo_id)),
                    "provenance": {row.repo_id: {row.repo_id: row.repo_id}},
                }
            )

    site = write_site(folder / "site", board, details, BlobStore(folder / "none")).parent
    row = board.runs[0]
    assert row.model_id
    assert row.hardware
    names = {
        "run": run_page(row.row_id),
        "model": model_page(row.model_id),
        "hardware": hardware_page(row.hardware),
        **{name: f"{name}.html" for name in ("index", "models", "changes", "variance", "record")},
    }
    return {name: Structure((site / path).read_text()) for name, path in names.items()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> dict[str, Structure]:
    return pages_of(with_text("x plain text"), tmp_path_factory.mktemp("plain"))


@settings(max_examples=examples(25))
@given(text=HOSTILE)
def test_any_text_leaves_the_structure_of_every_page_as_it_is(plain, tmp_path_factory, text):
    hostile = pages_of(with_text(text), tmp_path_factory.mktemp("hostile"))

    for name, page in hostile.items():
        assert page.tags == plain[name].tags, name
        for link in page.links:
            assert re.match(r"https://huggingface\.co/|[\w./-]+\.(html|js|css|svg|json)|#", link)


def decoded(script: bytes) -> dict[str, object]:
    """What a browser reads from the JavaScript string of a data script."""
    literal = re.fullmatch(rb"[^']*'(.*)'\)?", script, re.DOTALL)
    assert literal
    body = literal.group(1)
    assert re.sub(rb"\\.", b"", body, flags=re.DOTALL).count(b"'") == 0
    value: dict[str, object] = json.loads(re.sub(rb"\\(.)", rb"\1", body, flags=re.DOTALL))
    return value


@given(text=HOSTILE)
def test_any_text_comes_out_of_a_data_script_as_it_went_in(text):
    board = with_text(text)
    files = {group.group_id: "data/x.js" for group in board.groups}
    script = runs_script(board, files)

    assert b"<" not in script
    assert b"\n" not in script
    columns = decoded(script)["columns"]
    assert isinstance(columns, dict)
    assert columns["model"]["values"] == [text]
    assert columns["slo"]["values"] == [text]


def test_numbers_come_out_of_a_group_script_in_the_order_of_its_rows():
    group = BOARD.groups[0]
    rows: dict[str, RunRow] = {row.row_id: row for row in BOARD.runs}

    value = decoded(group_script(group, rows))

    assert value["rows"] == list(group.rows)
    metrics = value["metrics"]
    assert isinstance(metrics, dict)
    for column in group.columns:
        for at, row_id in enumerate(group.rows):
            cell = next(it for it in rows[row_id].metrics if it.key == column.key)
            assert metrics[column.key]["value"][at] == float(f"{cell.value:.7g}")
            assert metrics[column.key]["n"][at] == cell.n


def test_what_is_no_longer_part_of_the_site_goes_last(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "old.html").write_text("old")
    site = SiteFolder(tmp_path)

    site.write([Page("index.html", b"new")])
    assert (tmp_path / "runs" / "old.html").exists()
    site.remove_stale()

    assert [path.name for path in tmp_path.rglob("*.html")] == ["index.html"]


def test_a_page_shows_the_surest_spreads_and_says_how_many_there_are():
    sure, unsure = BOARD.variances
    found = drawn_spreads((unsure,) * MOST_SPREADS + (sure,))

    assert (len(found.shown), found.known) == (MOST_SPREADS, MOST_SPREADS + 1)
    assert found.shown[0].more_than_noise is True
    page = render("variance.html", root="", at="variance", spreads=found).decode()
    assert f"The surest {MOST_SPREADS} of {MOST_SPREADS + 1} spreads" in page
    page = render("variance.html", root="", at="variance", spreads=drawn_spreads([sure])).decode()
    assert "The surest" not in page


def test_a_column_that_is_declared_for_tables_is_in_each_of_them(tmp_path, monkeypatch):
    mark = Shown("image", "Engine image", in_tables=True)
    monkeypatch.setattr(data, "_SHOWN", [*data._SHOWN, (mark, lambda row: f"of {row.engine_name}")])
    row = next(row for row in BOARD.runs if row.state == "verified" and row.model_id)

    site = write_site(tmp_path / "site", BOARD, lambda _: iter(()), BlobStore(tmp_path)).parent

    for name in (model_page(row.model_id), hardware_page(row.hardware)):
        page = (site / name).read_text()
        assert '<th scope="col">Engine image</th>' in page
        assert f"<td>of {row.engine_name}</td>" in page
    page = (site / run_page(row.row_id)).read_text()
    assert f"<dt>Engine image</dt><dd>of {row.engine_name}</dd>" in page
