"""The system's Chromium, started by the tests themselves; without one they are skipped by name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
AXE = Path(__file__).resolve().parent.parent / "data" / "axe" / "axe.min.js"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a new profile, gone afterwards.

    Skips the test, saying what to install, on a machine that has none.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("NO CHROMIUM: the leaderboard was not tested in a browser; install `chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """A page of the site in a browser, and everything that went wrong on it."""

    site: Path
    page: Page
    problems: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def open(self, name: str) -> Page:
        """Go to a file of the site (with a fragment, if one is given)."""
        self.page.goto(f"file://{self.site.parent}/{name}")
        if self.page.locator("script[src]").count():
            self.page.wait_for_selector("html[data-ready]")
        return self.page

    def axe(self) -> list[str]:
        """What axe finds on the page, one line per element."""
        self.page.evaluate(AXE.read_text())
        # preloading would fetch the style sheet, which the page's own policy forbids
        result: dict[str, Any] = self.page.evaluate("axe.run({preload: false})")
        return [
            f"{violation['id']}: {node['target']} {node['failureSummary'][:200]}"
            for violation in result["violations"]
            for node in violation["nodes"]
        ]


@contextmanager
def visiting(
    browser: Browser,
    site: Path,
    *,
    scheme: Literal["light", "dark"] = "light",
    width: int = 1400,
    height: int = 1000,
) -> Iterator[Visitor]:
    """A new reader with nothing remembered."""
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": height},
        accept_downloads=True,
        reduced_motion="reduce",
    )
    visitor = Visitor(site, context.new_page())
    folder = f"file://{site.parent}/"
    visitor.page.on(
        "console",
        lambda message: (
            visitor.problems.append(f"{message.type}: {message.text}")
            if message.type in ("error", "warning")
            else None
        ),
    )
    visitor.page.on("pageerror", lambda error: visitor.problems.append(str(error)))
    visitor.page.on("dialog", lambda dialog: visitor.problems.append(f"dialog {dialog.message}"))
    visitor.page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((folder, "blob:", "data:"))
            else visitor.outside.append(request.url)
        ),
    )
    try:
        yield visitor
    finally:
        context.close()
