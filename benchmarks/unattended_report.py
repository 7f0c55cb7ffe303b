"""The report of an unattended stretch: the table that it prints, and the promises it holds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from attackers import (
    ENGINE_KEY,
    LIMIT_BEFORE,
    WebPage,
    is_one_sentence,
    tracebacks,
)
from huggingface_hub import HfApi

from inferencebench_pipeline.inbox.deliveries import QUARANTINE
from inferencebench_pipeline.leaderboard import LeaderboardStore
from inferencebench_pipeline.leaderboard.index.build import load_leaderboard
from inferencebench_pipeline.runs.run_directory import RunFile
from tests.attacks.test_inbox import HOSTILE_NAMES

if TYPE_CHECKING:
    from unattended import Stretch


def failures(stretch: Stretch, run_id: str) -> tuple[set[str], list[str | None]]:
    """Return how the Dagster runs of a run stand, and what their failed steps say."""
    with dg.DagsterInstance.from_config(str(stretch.home / "dagster")) as instance:
        runs = instance.get_runs(dg.RunsFilter(tags={"dagster/partition": run_id}))
        said = []
        for run in runs:
            for event in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
                failed = event.get_dagster_event().step_failure_data
                data = failed.user_failure_data
                said.append(data.description if data else f"no sentence: {failed.error}")
    return {run.status.value.lower() for run in runs}, said


def unended(stretch: Stretch) -> list[str]:
    """Return the runs of hostile engines that have not failed yet.

    An engine that cannot be reached is tried again for hours; its first failure is enough here.
    """
    standing = {run_id: failures(stretch, run_id)[0] for run_id in stretch.engines.asked}
    return [
        f"{run_id}: of an engine that {stretch.engines.asked[run_id]}: {sorted(statuses)}"
        for run_id, statuses in standing.items()
        if "failure" not in statuses
    ]


def left_in_the_inbox(stretch: Stretch) -> list[str]:
    names = [path.name for path in stretch.inbox.iterdir() if path.name[0] != "."]
    return [f"{name!a}: in the inbox" for name in names]


def report(stretch: Stretch, page: WebPage, struck: int, waiting: list[str]) -> bool:
    """Print what happened and what it came to; return whether every promise was kept."""
    api = HfApi(endpoint=stretch.sandbox.hub_url, token=stretch.sandbox.token("read"))
    organisation = stretch.environ["INFERENCEBENCH_ORGANISATION"]
    hostile = stretch.strangers.repositories
    board = load_leaderboard(LeaderboardStore(stretch.store.root)).runs
    rows = [row for row in board if row.repo_id not in hostile]
    nasty = Counter(row.state for row in board if row.repo_id in hostile)
    per_run = Counter(row.run_id for row in rows)
    commits = {
        row.repo_id: sum(
            "publish" in commit.title.lower() or "run" in commit.title.lower()
            for commit in api.list_repo_commits(row.repo_id, repo_type="dataset")
        )
        for row in rows
    }
    runs = [run for run in stretch.store.run_ids() if run not in stretch.engines.asked]
    with dg.DagsterInstance.from_config(str(stretch.home / "dagster")) as instance:
        statuses = Counter(
            f"{record.dagster_run.job_name}: {record.dagster_run.status.value.lower()}"
            for record in instance.get_run_records()
        )
        most_writers = _most_at_once(instance, "hub-write")
        ticks = Counter(
            f"{state.name}: {tick.status.value.lower()}"
            for state in instance.all_instigator_state()
            for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id)
        )
    tagged = {one.id for one in api.list_datasets(author=organisation, filter="inferencebench")}
    quarantined = sorted(path.name for path in (stretch.inbox / QUARANTINE).glob("*"))
    promises = {
        f"every run is on the board as verified ({len(rows)} rows, {len(runs)} runs)": not waiting,
        "every run once": set(per_run.values()) <= {1} and set(per_run) == set(runs),
        "one repository a run": sorted(tagged - hostile) == sorted(row.repo_id for row in rows),
        f"never two writers at the Hub (most at once: {most_writers})": most_writers == 1,
        f"what was damaged is in quarantine ({len(quarantined)})": _all_put_aside(
            stretch, quarantined
        ),
        f"no stranger's record is verified ({dict(nasty)} of {len(hostile)})": not nasty[
            "verified"
        ],
        "nothing left in the inbox": not left_in_the_inbox(stretch),
        **_held(stretch, page, statuses),
    }
    for title, counts in (
        ("what happened", stretch.happened + page.asked),
        ("runs", statuses),
        ("ticks", ticks),
    ):
        print(f"\n{title}")
        for name, count in sorted(counts.items()):
            print(f"  {count:6d}  {name}")
    print(f"\nrequests struck by faults: {struck}")
    print(f"commits per published repository: {sorted(Counter(commits.values()).items())}")
    for promise, kept in promises.items():
        print(f"{'kept  ' if kept else 'BROKEN'}  {promise}")
    for line in waiting[:20]:
        print(f"  {line}")
    return all(promises.values())


def _all_put_aside(stretch: Stretch, quarantined: list[str]) -> bool:
    """Return whether quarantine holds each bad delivery; it spells odd names in its own way."""
    bad = [*stretch.damaged, *stretch.hostile.made]
    by_name = {name for name in bad if name not in HOSTILE_NAMES}
    return len(quarantined) == len(bad) and by_name <= set(quarantined)


def _held(stretch: Stretch, page: WebPage, statuses: Counter[str]) -> dict[str, bool]:
    """Return what was promised of the attackers, and whether it was kept."""
    tokens = stretch.sandbox.state / "hub/tokens"
    secrets = [ENGINE_KEY, *(path.read_text() for path in tokens.iterdir())]
    leaks, ended = stretch.engines.leaked(secrets), 0
    print("\nhow the runs of hostile engines ended")
    for run_id, name in sorted(stretch.engines.asked.items(), key=lambda item: item[1]):
        standing, said = failures(stretch, run_id)
        published = stretch.store.run(run_id).has(RunFile.PUBLICATION)
        good = "success" not in standing and not published and any(map(is_one_sentence, said))
        ended += good and all(map(is_one_sentence, said))
        print(f"  {'' if good else 'BROKEN '}{name}: {str(said[-1] if said else standing)[:200]!a}")
    traces = tracebacks([path for path in stretch.home.rglob("*") if _is_log(path)])
    kept = stretch.store.root.rglob("*")
    strange = [p for p in kept if p.is_symlink() or (p.is_file() and _has_secret(p, stretch))]
    print("\nmegabytes and descriptors, first, most and last")
    for kind, samples in sorted(stretch.memory.items()):
        if len(samples) > 1:
            print(f"  {kind}: {samples[0]}, {max(samples)}, {samples[-1]}")
    for title, lines in (
        ("the page got", page.got_in),
        ("leaked", leaks),
        ("tracebacks", [f"{count} × {line}" for line, count in traces.items()]),
    ):
        for line in lines[:20]:
            print(f"{title}: {line!a}")
    launched = sum(count for name, count in statuses.items() if name.startswith("launch_benchmark"))
    count, engines = sum(page.asked.values()), len(stretch.engines.asked)
    return {
        f"every run of a hostile engine failed with one sentence ({engines})": ended == engines,
        f"no hostile request of the page passed ({count}, slowest {page.slowest_s:.1f} s)": not (
            page.got_in
        ),
        "no mutation happened": page.ui.limit() == LIMIT_BEFORE and not launched,
        f"no secret at the listener ({len(stretch.engines.listener.asked)} requests)": not leaks,
        "no link and no other's file in the store": not strange,
        "what lies beside the inbox is as it was": stretch.hostile.secret.read_bytes()
        == stretch.hostile.SECRET,
        "no traceback in any log": not traces,
    }


def _is_log(path: Path) -> bool:
    return path.suffix in {".log", ".err", ".out"} and path.is_file() and not path.is_symlink()


def _has_secret(path: Path, stretch: Stretch) -> bool:
    return path.stat().st_size < 1 << 20 and stretch.hostile.SECRET in path.read_bytes()


def _most_at_once(instance: dg.DagsterInstance, pool: str) -> int:
    """Return how many runs of ``pool`` were between start and end at the same time, at most."""
    records = instance.get_run_records(dg.RunsFilter(tags={f".dagster/pool/{pool}": "true"}))
    moments = []
    for record in records:
        if record.start_time and record.end_time:
            moments += [(record.start_time, 1), (record.end_time, -1)]
    at_once = most = 0
    for _, change in sorted(moments):
        at_once += change
        most = max(most, at_once)
    return most
