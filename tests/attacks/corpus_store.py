"""A whole store of corpus, leaderboard and automation state, and every step that reads it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from inferencebench_pipeline.automation.ticks import Ledger, keep_ledger
from inferencebench_pipeline.community_results.register import (
    CommunityResult,
    evaluations_held,
    record_results,
)
from inferencebench_pipeline.community_results.results_file import BenchmarkTask, EvaluationEntry
from inferencebench_pipeline.corpus import examination, inventory
from inferencebench_pipeline.corpus.inventory import crawl_others, crawl_source, created_days
from inferencebench_pipeline.corpus.log_monitor import LogReport, keep_reports
from inferencebench_pipeline.corpus.records import unverified_days, write_records
from inferencebench_pipeline.corpus.statement import register
from inferencebench_pipeline.corpus.statement.draft import CorpusDraft
from inferencebench_pipeline.corpus.statement.signed_digests import known_digests, seen_checkpoints
from inferencebench_pipeline.corpus.statement.statement import (
    STATEMENT_FILE,
    state_corpus,
    stated_bundle,
    statement_files,
)
from inferencebench_pipeline.corpus.statement.verified_records import (
    VerifiedRecord,
    verified_anew,
    verified_records,
)
from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.corpus.verdicts import Rules, read_lines
from inferencebench_pipeline.corpus.verification import verify_days
from inferencebench_pipeline.errors import PermanentError, RetryableError
from inferencebench_pipeline.hub.takedowns.register import Takedown, record_takedown
from inferencebench_pipeline.hub.webhooks import last_nudge, nudge
from inferencebench_pipeline.leaderboard.index.build import build_index, load_leaderboard
from inferencebench_pipeline.leaderboard.index.check import check_rows, unjudged_rows
from inferencebench_pipeline.leaderboard.index.export import published_files
from inferencebench_pipeline.leaderboard.index.snapshot import published_snapshot
from inferencebench_pipeline.leaderboard.index.sources import Sources
from inferencebench_pipeline.leaderboard.site.site import render_site
from inferencebench_pipeline.leaderboard.store import LeaderboardStore
from inferencebench_pipeline.parking import Parked
from inferencebench_pipeline.runs.run_directory import RunFile, RunStore, new_run_id
from tests.corpus.world import ORG, TRUST, FolderHub, policy, record, verifier

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
MAY = datetime(2026, 5, 18, 9, tzinfo=UTC)
STRANGER = "stranger"
_RULES = Rules(policy().sha256, TRUST.sha256)
_RUNS = [new_run_id() for _ in range(4)]
_NOT_COMPARED = re.compile(
    r"\.lock$|\.damaged(/|$)|(^|/)\.locks/|^leaderboard/pages\.json$|built_from\.json$"
)
"""Locks, what was put aside, and what holds the times and inodes of files."""


class FrozenClock(datetime):
    """A clock that stands still, so that what is made again is what was there, byte for byte."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> FrozenClock:
        return cls.fromisoformat(NOON.isoformat()).astimezone(tz)


@pytest.fixture(scope="module")
def stopped_clock() -> Iterator[None]:
    """Stop the clock of everything that writes down when it saw something."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (examination, inventory, register):
            patch.setattr(module, "datetime", FrozenClock)
        yield


@dataclass
class CorpusWorld:
    """A Hub in a folder, a store of what was made of it, and a pen that counts."""

    hub: FolderHub
    store: Path
    signed: list[bytes] = field(default_factory=list)

    def sign(self, document: bytes) -> bytes:
        self.signed.append(document)
        payload = base64.b64encode(document).decode()
        return json.dumps({"dsseEnvelope": {"payload": payload}}).encode()

    @property
    def published(self) -> bytes | None:
        """The statement on the Hub: whatever was signed first."""
        path = self.hub.folder / STATEMENT_FILE
        return path.read_bytes() if path.exists() else None

    def steps(self) -> dict[str, Callable[[], object]]:
        """Every step over the corpus and the leaderboard, in the order in which they run."""
        store, hub = self.store, self.hub
        corpus, board = CorpusStore(store), LeaderboardStore(store)
        return {
            "crawl": lambda: crawl_source(hub, ORG, corpus),
            "crawl of others": lambda: crawl_others(hub, hub.listed(STRANGER), (), corpus),
            "what is to be verified": lambda: unverified_days(corpus),
            "verification": lambda: verify_days(corpus, created_days(corpus), verifier()),
            "records": lambda: write_records(corpus),
            "known digests": lambda: known_digests(RunStore(store)),
            "seen checkpoints": lambda: list(seen_checkpoints(RunStore(store))),
            "log reports": lambda: keep_reports(corpus, [_report()]),
            "index": lambda: build_index(board),
            "index built from": lambda: Sources.now(board).keep(board),
            "index as it was built": lambda: Sources.of_the_index(board),
            "check of the index": self._check,
            "rows without a verdict": lambda: unjudged_rows(board),
            "site": lambda: render_site(board),
            "leaderboard": lambda: load_leaderboard(board),
            "statement": self._state,
            "statement as kept": lambda: stated_bundle(corpus),
            "what is published": lambda: (
                published_files(board),
                statement_files(corpus),
            ),
            "nudge": lambda: last_nudge(store),
        }

    def run(self) -> dict[str, Exception]:
        """Run every step; return those that failed, each in one of the two families of errors."""
        failed: dict[str, Exception] = {}
        for name, step in self.steps().items():
            try:
                step()
            except (PermanentError, RetryableError) as error:
                failed[name] = error
        return failed

    def content(self) -> dict[str, bytes]:
        """Every file of the store that says something, by its path there."""
        return {
            name: _compared(name, path)
            for path in sorted(self.store.rglob("*"))
            if path.is_file()
            and not _NOT_COMPARED.search(name := path.relative_to(self.store).as_posix())
        }

    def findings(self) -> set[str]:
        """The kinds of what verification found."""
        days = created_days(CorpusStore(self.store))
        return {
            item.kind
            for day in days
            for line in read_lines(CorpusStore(self.store), day)
            for item in line.findings
        }

    def _check(self) -> None:
        problems = check_rows(LeaderboardStore(self.store))
        if problems:
            raise PermanentError("; ".join(problems))

    def _state(self) -> None:
        corpus, board = CorpusStore(self.store), LeaderboardStore(self.store)

        def draft(records: list[VerifiedRecord]) -> CorpusDraft:
            index = published_snapshot(board)
            digests = {path: hashlib.sha256(data).hexdigest() for path, data in index.items()}
            return CorpusDraft(ORG, records, _RULES, digests)

        state_corpus(
            corpus,
            draft(verified_records(corpus, ORG, _RULES)),
            self.sign,
            anew=lambda: draft(verified_anew(corpus, ORG, verifier())),
            holds=lambda bundle: self.published in (None, bundle),
            published=lambda: self.published,
        )


def _compared(name: str, path: Path) -> bytes:
    """Return what a file says, without the times and inodes of other files."""
    if name == "corpus/records.parquet":
        return repr(pq.read_table(path).to_pylist()).encode()
    data = path.read_bytes()
    if name == "leaderboard/index.json":
        return re.sub(rb'"(verdicts|sha256)": ?"[^"]*"', b"", data)
    return data


def _report() -> LogReport:
    return LogReport(url="https://log.example", size=7)


def built(folder: Path) -> CorpusWorld:
    """Return a world whose store went through every step, with memories no crawl brings back."""
    world = CorpusWorld(FolderHub(folder / "hub"), folder / "store")
    for number, (name, day) in enumerate([("one", 0), ("two", 0), ("three", 14), ("gone", 0)]):
        repo = f"{ORG}/{name}"
        files = record(_RUNS[number], repo)
        world.hub.commit(repo, files, created_at=MAY + timedelta(days=day))
    world.hub.commit(f"{STRANGER}/no-record", {"envelope.json": b"{"}, created_at=MAY)
    automation_state(world.store)
    world.run()
    world.hub.delete(f"{ORG}/gone")
    failed = world.run()
    assert not failed, failed
    shutil.copyfile(
        CorpusStore(world.store).statement_folder / STATEMENT_FILE,
        world.hub.folder / STATEMENT_FILE,
    )
    for _ in range(2):
        assert not world.run()
    return world


def automation_state(store: Path) -> None:
    keep_ledger(
        store, Ledger(schedule="benchmark_smollm2_chat_quick", last_tick=MAY, missed=(MAY,))
    )
    nudge(store)
    takedown = Takedown(
        target="acme/model", reason="asked", requested_by="its author", requested_at=MAY
    )
    record_takedown(store, takedown)
    result = CommunityResult(
        model_id="acme/other",
        pull_request=1,
        url="https://huggingface.co/acme/other/discussions/1",
        filename=".eval_results/x.yaml",
        entry=EvaluationEntry(dataset=BenchmarkTask(id="acme/bench", task_id="t"), value=1.0),
        proposed_by="somebody",
        ours=False,
        first_seen_at=MAY,
    )
    with evaluations_held(store):
        record_results(store, [result])
    parked = Parked(stage="hub_dataset", reason="down", since=MAY, attempts=1, not_before=MAY)
    run = RunStore(store).run(_RUNS[0])
    run.write(RunFile.PARKED, parked.model_dump_json().encode())


def files_of(world: CorpusWorld) -> list[str]:
    """Every file of the store but locks; of the many alike that a site copies, one of a kind."""
    found: dict[str, str] = {}
    for path in sorted(world.store.rglob("*")):
        name = path.relative_to(world.store).as_posix()
        if not path.is_file() or name.endswith(".lock") or "/.locks/" in name:
            continue
        of_a_site = re.match(r"leaderboard/site/(assets|vendor|data|runs|models|hardware)/", name)
        found[of_a_site[0] + path.suffix if of_a_site else name] = name
    return sorted(found.values())


@contextlib.contextmanager
def damaged_copy(world: CorpusWorld, folder: Path) -> Iterator[CorpusWorld]:
    """Yield the world with a store of its own, which goes again."""
    store = folder / "damaged"
    shutil.copytree(world.store, store, copy_function=shutil.copy2)
    try:
        yield CorpusWorld(world.hub, store)
    finally:
        shutil.rmtree(store)


def follow_advice(world: CorpusWorld, failed: dict[str, Exception], sound: Path) -> list[str]:
    """Do what the errors say about the files that they name; return the names of those.

    Args:
        world: whose steps failed.
        failed: the errors by step.
        sound: a copy of the store from before the damage, to restore from.
    """
    done = []
    for error in failed.values():
        text = str(error)
        for match in re.finditer(re.escape(str(world.store)) + r"/[^\s:;,()]+", text):
            path = Path(match[0])
            name = path.relative_to(world.store).as_posix()
            done.append(name)
            _remove(path)
            _remove(path.with_name(f".{path.name}.copy"))
            if re.search("restore (it|the file) from", text) and (sound / name).is_file():
                shutil.copy2(sound / name, path)
    return done


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def differences(before: dict[str, bytes], now: dict[str, bytes]) -> dict[str, Any]:
    """Return the files that are not what they were, shortened to be read."""
    return {
        name: (before.get(name, b"absent")[:80], now.get(name, b"absent")[:80])
        for name in sorted(before.keys() | now.keys())
        if _said(name, before.get(name)) != _said(name, now.get(name))
    }


def _said(name: str, data: bytes | None) -> object:
    """Return what a file says: that the last line has lost its end takes nothing from its lines."""
    return data.splitlines() if data is not None and name.endswith(".jsonl") else data
