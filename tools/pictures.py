"""Makes the pictures of the README and of the pages from the running product, in ``docs/images/``.

It measures the demo's benchmark at three loads with the embedded engine, publishes each run to the
sandbox, verifies and ranks them, and photographs the leaderboard, Dagster's lineage and verdicts in
Chromium (``apt-get install chromium``). That takes some minutes. ``make pictures`` runs it, and
``python tools/pictures.py verdict`` makes the pictures of the verdicts alone, from one run.
"""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

CLONE = Path(__file__).resolve().parent.parent
IMAGES = CLONE / "docs/images"
WIDTH = 1280
LARGEST_BYTES = 200_000
LOADS = (1, 2, 4)
REPEATED = ["repeats=5", "load.requests=16"]  # five repeats give intervals, and so ranks
SPEC = "smollm2-chat-quick"
START_S = 120
TERMINAL_COLUMNS = 100
_SETTLED_MS = 8_000
_GROUP = (270, 270, 1270, 1175)
"""The comparison group on the first page: its plots, and the table with the three runs."""

sys.path.insert(0, str(CLONE))
from inferencebench_pipeline.demo.local import local_deployment  # noqa: E402


def main() -> None:
    """Measure, publish, rank, and write the pictures."""
    with tempfile.TemporaryDirectory() as scratch, local_deployment(Path(scratch)):
        if sys.argv[1:] == ["verdict"]:
            _published_runs(LOADS[:1], [])
            with _browser() as browser:
                _pictures_of_the_verdicts(browser, Path(scratch))
            return
        site = _published_runs(LOADS, REPEATED)
        with _browser() as browser, _dagster_ui(Path(scratch)) as address:
            _picture_of_the_leaderboard(browser, site)
            _picture_of_the_lineage(browser, address)
            _pictures_of_the_verdicts(browser, Path(scratch))


def _published_runs(loads: Sequence[int], overrides: Sequence[str]) -> Path:
    """Run the life of one run for each load; return the first page of the leaderboard."""
    # Imported here: Dagster and the Hub client read the environment that has just been set.
    import dagster as dg

    from definitions import build_definitions
    from inferencebench_pipeline.corpus import CorpusStore, Inventory
    from inferencebench_pipeline.demo.attended import AttendedJobs
    from inferencebench_pipeline.lifecycle.partitions import runs
    from inferencebench_pipeline.runs.run_directory import new_run_id
    from inferencebench_pipeline.settings import Settings

    settings = Settings.from_environment()
    with dg.DagsterInstance.get() as instance:
        jobs = AttendedJobs(build_definitions(settings), instance, print)
        for load in loads:
            run_id = new_run_id()
            jobs.register(runs, run_id)
            form = {"spec": SPEC, "overrides": [f"load.concurrency={load}", *overrides]}
            config = {"ops": {"benchmark_run": {"config": form}}}
            jobs.run("publish_run", partition_key=run_id, run_config=config)
        jobs.run("crawl_corpus")
        for day in Inventory.load(CorpusStore(settings.store)).days():
            jobs.run("reverify", partition_key=day)
        jobs.run("rebuild_leaderboard")
    return settings.store / "leaderboard/site/index.html"


@contextmanager
def _browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise SystemExit("Chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def _dagster_ui(scratch: Path) -> Iterator[str]:
    """Serve the UI as ``make ui`` does; yield its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    module = "inferencebench_pipeline.automation.instance.webserver"
    command = [sys.executable, "-m", module, "-h", "127.0.0.1", "-p", str(port)]
    command += ["-w", str(CLONE / "workspace.yaml")]
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, cwd=scratch, stdout=subprocess.DEVNULL) as server:
        try:
            _wait_for(f"{address}/server_info", server)
            yield address
        finally:
            server.terminate()


def _wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.5)
        else:
            return
    raise SystemExit(f"the UI did not answer at {address}")


def _picture_of_the_leaderboard(browser: Browser, site: Path) -> None:
    page = browser.new_page(viewport={"width": WIDTH, "height": 1200}, color_scheme="light")
    page.goto(site.as_uri())
    page.wait_for_selector("html[data-ready]")
    _keep(page, "leaderboard.png", crop=_GROUP)


def _picture_of_the_lineage(browser: Browser, address: str) -> None:
    # Twice the pixels: the names in the boxes are small.
    size: ViewportSize = {"width": WIDTH, "height": 720}
    page = browser.new_page(viewport=size, color_scheme="light", device_scale_factor=2)
    page.goto(f"{address}/asset-groups")
    page.wait_for_selector("text=life_of_a_run")
    page.get_by_text("Hide navigation").click()
    page.locator('button:right-of(input[placeholder="Jump to…"])').first.click()
    page.wait_for_timeout(_SETTLED_MS)
    page.keyboard.press("Alt+KeyE")  # Dagster's key for opening every group
    page.wait_for_selector("text=leaderboard_index")
    page.wait_for_timeout(_SETTLED_MS)
    _keep(page, "lineage.png")


def _pictures_of_the_verdicts(browser: Browser, scratch: Path) -> None:
    """Photograph a verified record of the Hub, and a copy of it in which a number was changed."""
    from inferencebench_pipeline.hub import read_receipt
    from inferencebench_pipeline.runs import RunFile, RunStore
    from inferencebench_pipeline.settings import Settings

    store = RunStore(Settings.from_environment().store)
    runs = map(store.run, store.run_ids())
    run = next(run for run in runs if run.has(RunFile.PUBLICATION))
    receipt = read_receipt(run)
    assert receipt is not None
    _picture_of_a_verdict(browser, f"hf://datasets/{receipt.repo_id}", "verified.png")
    forged = scratch / "downloaded"
    forged.mkdir()
    document = json.loads(run.read(RunFile.ENVELOPE))
    document["metrics"]["output_tok_per_s"] *= 10
    (forged / RunFile.ENVELOPE.value).write_text(json.dumps(document))
    _picture_of_a_verdict(browser, str(forged), "rejected.png")


def _picture_of_a_verdict(browser: Browser, target: str, name: str) -> None:
    from rich.console import Console
    from rich.terminal_theme import DIMMED_MONOKAI

    from inferencebench_pipeline.cli.verification.verdict_page import print_page
    from inferencebench_pipeline.cli.verification.verdict_report import VerdictReport

    program = "from inferencebench_pipeline.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "verify", target, "--json"],
        capture_output=True,
        text=True,
        check=False,  # a rejected record ends with 1
    )
    report = VerdictReport.model_validate_json(done.stdout)
    out = Console(record=True, width=TERMINAL_COLUMNS, file=io.StringIO(), markup=False)
    shown = target if "://" in target else Path(target).name
    out.print(f"$ inferencebench verify {shown}\n", highlight=False)
    print_page(report, out)
    out.print()  # the picture ends where the last line does, which would cut it
    page = browser.new_page(device_scale_factor=1.2, viewport={"width": WIDTH, "height": 1200})
    page.set_content(out.export_svg(title="", theme=DIMMED_MONOKAI))
    picture = page.locator("svg").screenshot()
    _keep_picture(picture, name, colours=128)


def _keep(page: Page, name: str, *, crop: tuple[int, int, int, int] | None = None) -> None:
    """Write a screenshot."""
    _keep_picture(page.screenshot(), name, crop=crop)


def _keep_picture(
    data: bytes, name: str, *, crop: tuple[int, int, int, int] | None = None, colours: int = 256
) -> None:
    """Write a picture with few colours, which these pages do not exceed visibly."""
    picture = Image.open(io.BytesIO(data)).crop(crop)
    IMAGES.mkdir(parents=True, exist_ok=True)
    picture.convert("RGB").quantize(colours).save(IMAGES / name, optimize=True)
    size = (IMAGES / name).stat().st_size
    print(f"{name}: {size:,} bytes")
    if size > LARGEST_BYTES:
        raise SystemExit(f"{name} is larger than {LARGEST_BYTES:,} bytes")


if __name__ == "__main__":
    main()
