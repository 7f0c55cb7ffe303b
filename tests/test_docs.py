"""The documentation: every page is in the site, every link leads somewhere, nothing is left out."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from definitions import build_definitions
from inferencebench_pipeline.measure.spec.engine import engine_kinds
from inferencebench_pipeline.settings import Settings
from tests.leaderboard.browser import chromium
from tests.paths import PACKAGE, REPOSITORY

DOCS = REPOSITORY / "docs"
TOP = sorted(REPOSITORY.glob("*.md"))
PAGES = [*TOP, *sorted(DOCS.rglob("*.md")), *sorted((REPOSITORY / ".github").glob("*.md"))]
GENERATED = {"contributing.md", "reporting.md", "changelog.md"}
LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", words.lower()) for words in headings)
    return {words.strip().replace(" ", "-") for words in plain}


class _Configuration(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags name Python functions that need not be loaded here."""


_Configuration.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda *_: None)


def _nav(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    entries = entry.values() if isinstance(entry, dict) else entry
    return [page for inner in entries for page in _nav(inner)]


def test_every_page_is_in_the_nav_once() -> None:
    configuration = yaml.load((REPOSITORY / "mkdocs.yml").read_text(), _Configuration)
    lying = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page.stem != "VENDOR"}
    faces = {f"api/{face.parent.name}.md" for face in PACKAGE.glob("*/__init__.pyi")}
    nav = _nav(configuration["nav"])
    assert sorted(nav) == sorted(lying | GENERATED | faces | {"api/index.md"})


def test_the_index_lists_every_page() -> None:
    listed = {target for target, _ in LINK.findall((DOCS / "index.md").read_text())}
    lying = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    assert lying <= listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_relative_link_and_anchor_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(_prose(page)):
        if "://" in target:
            continue
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), f"{target} is not there"
        if anchor:
            assert anchor in _anchors(found), f"{target} has no heading #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_path_of_the_repository_that_a_page_names_is_there(page: Path) -> None:
    """A path in backticks that begins with one of our folders, or is a module of a room."""
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    for name in re.findall(r"`([\w.-]+/[\w./-]+\.(?:py|js|html|yaml|md|json|lock))`", _prose(page)):
        first = name.partition("/")[0]
        if first in {"docs", "tests", "benchmarks", "tools", "deploy", "specs"}:
            assert (REPOSITORY / name).exists(), name
        elif first in rooms - {"corpus", "leaderboard"} or page.stem in {"recipes", "versions"}:
            assert (PACKAGE / name).exists() or (REPOSITORY / "tests" / name).exists(), name


def test_every_version_constant_is_on_the_page_with_its_file() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `([\w/]+\.py)` \|", (DOCS / "versions.md").read_text(), re.M)
    assert {(name, file) for name, file in rows if name.isupper()} == set(_version_constants())


def _version_constants() -> list[tuple[str, str]]:
    found = []
    for module in PACKAGE.rglob("*.py"):
        place = module.relative_to(PACKAGE)
        if place.parts[0] == "sandbox":
            continue
        for node in ast.parse(module.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            found += [
                (name, str(place))
                for name in names
                if name == "FORMAT" or name.endswith("_VERSION")
            ]
    return found


def test_every_setting_is_in_the_table_of_settings() -> None:
    """Apart from what one of our processes tells another, and a word of the corpus statement."""
    inner = {"INFERENCEBENCH_PARENT_PID", "INFERENCEBENCH_ENVELOPE_VERIFIED"}
    read = {
        name
        for module in PACKAGE.rglob("*.py")
        if module.relative_to(PACKAGE).parts[0] != "sandbox"
        for name in re.findall(r"\"(INFERENCEBENCH_\w+)\"", module.read_text())
    }
    rows = re.findall(r"^\| (`.*?`) \|", (DOCS / "settings.md").read_text(), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"INFERENCEBENCH_\w+", row)}
    assert told == read - inner


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions(Settings.from_environment({}))


def test_every_sensor_and_schedule_is_in_the_operating_table(definitions: dg.Definitions) -> None:
    running = (dg.DefaultSensorStatus.RUNNING, dg.DefaultScheduleStatus.RUNNING)
    instigators = [*(definitions.sensors or []), *(definitions.schedules or [])]
    text = _section("operating.md", "What runs by itself")
    assert dict(re.findall(r"^\| `(\w+)` \| (yes|no) \|", text, re.MULTILINE)) == {
        item.name: "yes" if item.default_status in running else "no"
        for item in instigators
        if isinstance(item, dg.SensorDefinition | dg.ScheduleDefinition)
        and not item.name.startswith("benchmark_")
    }
    assert "| `benchmark_<spec>` |" in text


def test_every_job_is_in_the_operating_table(definitions: dg.Definitions) -> None:
    told = re.findall(r"^\| `(\w+)` \|", _section("operating.md", "What you launch"), re.MULTILINE)
    assert sorted(told) == sorted(job.name for job in definitions.jobs or [])


def test_every_check_is_on_the_page_of_checks_with_its_asset(definitions: dg.Definitions) -> None:
    page = (DOCS / "checks.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (yes|no) \|", page, re.MULTILINE)
    assert sorted(told) == sorted(
        (spec.name, spec.asset_key.path[-1], "yes" if spec.blocking else "no")
        for check in definitions.asset_checks or []
        for spec in check.check_specs
    )


def _section(page: str, heading: str) -> str:
    """Return the text of a page below a heading, up to the next one."""
    return (DOCS / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("kind", engine_kinds())
def test_every_kind_of_engine_is_in_the_table_of_engines(kind: str) -> None:
    assert f"| `{kind}` |" in (DOCS / "engines.md").read_text()


@pytest.mark.parametrize("name", ["leaderboard.png", "lineage.png", "verified.png", "rejected.png"])
def test_a_picture_is_small_enough_for_a_slow_line(name: str) -> None:
    assert (DOCS / "images" / name).stat().st_size < 200_000


@pytest.mark.parametrize("form", ["bug", "feature", "wrong_verdict"])
def test_the_issue_forms_ask_each_question_once(form: str) -> None:
    path = REPOSITORY / f".github/ISSUE_TEMPLATE/{form}.yml"
    document = yaml.safe_load(path.read_text())
    asked = [part for part in document["body"] if part["type"] != "markdown"]
    assert document["name"] and document["description"]
    assert len({part["id"] for part in asked}) == len(asked)
    assert all(part["attributes"]["label"] for part in asked)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as ``make docs`` builds it."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=REPOSITORY,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert built.stdout + built.stderr == ""
    return folder


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_every_face(site: Path) -> None:
    for face in PACKAGE.glob("*/__init__.pyi"):
        page = (site / f"api/{face.parent.name}.html").read_text()
        names = re.findall(r"^from .* import \w+ as (\w+)$", face.read_text(), re.MULTILINE)
        missing = [name for name in names if not re.search(rf'<h2 id="[\w.]+\.{name}"', page)]
        assert names and not missing, face


@pytest.mark.slow
def test_the_site_draws_its_diagrams_and_asks_nobody(site: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "architecture.html").as_uri())
        page.wait_for_function(
            "[...document.querySelectorAll('div.mermaid')].filter(it => it.clientHeight > 50)"
            ".length === 2 && !document.querySelector('pre.mermaid')"
        )
        page.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
