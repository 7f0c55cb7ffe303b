"""The command ``make demo``: the whole life of one benchmark, and its re-verification."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path

from rich.console import Console

from inferencebench_pipeline.corpus import CorpusStore
from inferencebench_pipeline.demo.local import CLONE, local_deployment
from inferencebench_pipeline.measure import DEFINITIONS, Measurement
from inferencebench_pipeline.runs import RunDirectory, RunFile, RunStore, new_run_id
from inferencebench_pipeline.settings import Settings

SPEC = "smollm2-chat-quick"
console = Console(highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """Print one line of progress at once."""
    console.print(line, markup=False)


def main() -> int:
    """Run the demo and return its exit code."""
    started = time.monotonic()
    try:
        with local_deployment() as sandbox:
            say(f"The sandbox is up: Hub {sandbox.hub_url}, Sigstore {sandbox.sigstore_url}")
            say("It answers on loopback only, and its records prove nothing to anyone else.\n")
            return _whole_life(started)
    except KeyboardInterrupt:
        say("\nStopped. Nothing is left running, and `make demo` starts again.")
        return 130


def _whole_life(started: float) -> int:
    # Imported here, because Dagster and the Hub client read the environment at their import.
    sys.path.insert(0, str(CLONE))
    import dagster as dg

    from definitions import build_definitions
    from inferencebench_pipeline.corpus import Inventory
    from inferencebench_pipeline.demo.attended import AttendedJobs, JobFailedError
    from inferencebench_pipeline.lifecycle.partitions import runs

    settings = Settings.from_environment()
    run = RunStore(settings.store).run(new_run_id())
    with dg.DagsterInstance.get() as instance:
        jobs = AttendedJobs(build_definitions(settings), instance, say)
        jobs.register(runs, run.run_id)
        try:
            say(f"Run {run.run_id}: measure, sign, publish, link back")
            config = {"ops": {"benchmark_run": {"config": {"spec": SPEC}}}}
            jobs.run("publish_run", partition_key=run.run_id, run_config=config)
            say("\nThe corpus: take stock of the Hub, and verify the published bytes again")
            jobs.run("crawl_corpus")
            for day in Inventory.load(CorpusStore(settings.store)).days():
                jobs.run("reverify", partition_key=day)
            say("\nThe leaderboard: build it from the published and verified records")
            jobs.run("rebuild_leaderboard")
        except JobFailedError as failure:
            say(f"\nFailed: {failure}")
            say(f"The run directory is kept: {run.path}")
            return 1
    _headline(run)
    _where_to_look(run, settings, time.monotonic() - started)
    return 0


def _headline(run: RunDirectory) -> None:
    measurement = Measurement.model_validate_json(run.read(RunFile.MEASUREMENT))
    say(f"\n{measurement.spec.model.id} on {measurement.provenance.engine.name}:")
    for key, metric in measurement.metrics.items():
        if "summary" in DEFINITIONS[key].shown_on and metric.value is not None:
            label = f"{DEFINITIONS[key].label:<20}"
            say(f"  {label}{metric.value:>12,.2f} {metric.unit}  (n={metric.n})")


def _where_to_look(run: RunDirectory, settings: Settings, elapsed_s: float) -> None:
    from inferencebench_pipeline.hub import Receipt

    receipt = Receipt.model_validate_json(run.read(RunFile.PUBLICATION))
    page = settings.store / "leaderboard/site/index.html"
    say(f"\nDone in {elapsed_s:.0f} s. Where to look:")
    say(f"  run directory   {run.path}")
    say(f"  leaderboard     {page.as_uri()}")
    say(f"  dataset card    {receipt.url}  (while `make ui` runs)")
    say("  Dagster UI      make ui")
    say("  verify it       " + _verify_command(run.path, settings))


def _verify_command(run_path: Path, settings: Settings) -> str:
    from inferencebench_pipeline.hub import verify_command

    options = (("--trust-config", settings.trust_config), ("--policy", settings.policy))
    given = (f"{name} {shlex.quote(_relative(path))}" for name, path in options if path)
    command = verify_command(_relative(run_path), *given)
    return f".venv/bin/{command}".replace(" \\\n    ", " ")


def _relative(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


if __name__ == "__main__":
    sys.exit(main())
