"""Building the index: from nothing, unchanged, and with one run more; beside upstream's.

A corpus is generated: envelopes of about 26 KB, each with a signature bundle (one signature serves
all, since an index does not verify), in comparison groups of 200 runs, one group in twenty a
nightly benchmark of one model; with an inventory and stored verdicts, as crawl and verification
leave them. Then, each in a process of its own:

- *build*: everything from nothing; *unchanged*: built again; *+1 run*: one repository more;
- *check*: every row read anew and compared with its envelope; *again*: after one run more;
- *upstream*: ``inferencebench-leaderboard``'s page from the same files (``--upstream`` names the
  program, start-up included). It renders pages and has no index; what it does on one run
  more is the same again.

    python benchmarks/index_build.py [--runs 2000 20000 100000] [--folder DIR] [--upstream PROGRAM]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from inferencebench_pipeline.corpus import CorpusStore, write_records
from inferencebench_pipeline.leaderboard import LeaderboardStore

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from corpus_generation import EnvelopeFactory
from cost import cost_of

from inferencebench_pipeline.corpus.inventory import (
    SCHEMA,
)
from inferencebench_pipeline.corpus.verdicts import RecordLine
from inferencebench_pipeline.leaderboard.index.build import build_index
from inferencebench_pipeline.leaderboard.index.check import check_rows

_ORGANISATION = "example-org"
_FIRST_DAY = datetime(2026, 1, 1, 12, tzinfo=UTC)
_DAYS = 300
_GROUP = 200
_LOADS = (1, 8, 32, 128)
_RATES = frozenset({"output_tok_per_s", "total_tok_per_s", "request_per_s"})


class Corpus:
    """Writes a store as crawl and verification leave it."""

    def __init__(self, store: Path, runs: int) -> None:
        self._store = store
        self._runs = runs
        self._random = random.Random(7)
        with tempfile.TemporaryDirectory(prefix="factory-") as folder:
            factory = EnvelopeFactory(Path(folder))
            (signed,) = factory.envelopes(1, "v2")
            factory.close()
        self._template: dict[str, Any] = json.loads(signed)
        self._entries: list[dict[str, Any]] = []
        self._lines: dict[str, list[bytes]] = {}

    def write(self) -> None:
        """Write all but the last run, which :meth:`add_last` adds."""
        (self._store / "corpus/blobs").mkdir(parents=True)
        for number in range(self._runs):
            self._add(number)
        self._save()
        path = CorpusStore(self._store).findings_path
        path.write_bytes(b"[]\n")
        write_records(CorpusStore(self._store))

    def add_last(self) -> None:
        """Add one run, of the middle of the corpus."""
        self._add(self._runs, at=self._runs // 2)
        self._save()
        # As every verification does when it ends.
        write_records(CorpusStore(self._store))

    def _add(self, number: int, at: int | None = None) -> None:
        created = _FIRST_DAY + timedelta(days=(number if at is None else at) * _DAYS // self._runs)
        document = self._envelope(number, created)
        data = json.dumps(document, indent=2).encode()
        sha256 = hashlib.sha256(data).hexdigest()
        (self._store / "corpus/blobs" / sha256).write_bytes(data)
        body = {name: value for name, value in document.items() if name != "signature"}
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        content_hash = hashlib.sha256(text.encode()).hexdigest()
        repo_id, day = f"{_ORGANISATION}/run-{number:06d}", created.date().isoformat()
        revision = hashlib.sha1(repo_id.encode()).hexdigest()
        entry = dict.fromkeys(SCHEMA.names) | {
            "organisation": _ORGANISATION, "repo_id": repo_id, "revision": revision,
            "endpoint": "https://huggingface.co", "created_at": created, "created_day": day,
            "last_modified": created, "state": "published", "envelope_sha256": sha256,
            "envelope_size_bytes": len(data), "content_hash": content_hash, "card_json": "{}",
            "run_id": document["run_id"], "suite_id": document["suite_id"],
            "suite_version": document["suite_version"], "model_id": document["model"]["id"],
            "engine_name": document["engine"]["name"],
        }  # fmt: skip
        self._entries.append(entry)
        self._lines.setdefault(day, []).append(_verdict(entry, created))

    def _envelope(self, number: int, created: datetime) -> dict[str, Any]:
        group, place = divmod(number * 7919 % max(self._runs, 1), _GROUP)
        nightly = group % 20 == 0
        model = 0 if nightly else place % 10
        load = _LOADS[2 if nightly else place // 10 % 4]
        factor = (1 + model / 10) * (load**0.5)
        notes = dict(self._template["inferencebench_pipeline"])
        notes["workload_hash"] = hashlib.sha256(b"%d" % group).hexdigest()
        notes["metric_notes"] = dict(notes["metric_notes"])
        metrics = dict(self._template["metrics"])
        for key, value in metrics.items():
            if isinstance(value, float) and value:
                scaled = value * (factor if key in _RATES else 1 / factor)
                metrics[key] = scaled * self._random.gauss(1, 0.03)
                interval = {"low": metrics[key] * 0.97, "high": metrics[key] * 1.03,
                            "confidence": 0.95, "method": "repeats", "n": 5.0}  # fmt: skip
                notes["metric_notes"][key] = notes["metric_notes"][key] | {"interval": interval}
        return self._template | {
            "run_id": f"01890000-0000-7000-8000-{number:012d}", "seed": number,
            "timestamp": created.isoformat().replace("+00:00", "Z"), "metrics": metrics,
            "model": self._template["model"] | {"id": f"example/model-{model}"},
            "engine": self._template["engine"] | {"version": f"0.{number * 10 // self._runs}.0"},
            "driver_options": self._template["driver_options"] | {
                "load": {"kind": "closed", "concurrency": load, "requests": 100}
            },
            "inferencebench_pipeline": notes,
        }  # fmt: skip

    def _save(self) -> None:
        rows = sorted(self._entries, key=lambda entry: str(entry["repo_id"]))
        replacement = CorpusStore(self._store).inventory_path.with_suffix(".new")
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), replacement, compression="zstd")
        replacement.rename(CorpusStore(self._store).inventory_path)
        for day, lines in self._lines.items():
            path = CorpusStore(self._store).verdicts_path(day)
            path.parent.mkdir(parents=True, exist_ok=True)
            data = b"".join(line + b"\n" for line in sorted(lines))
            if not path.exists() or path.stat().st_size != len(data):
                path.with_suffix(".new").write_bytes(data)
                path.with_suffix(".new").rename(path)


def _verdict(entry: dict[str, Any], created: datetime) -> bytes:
    checks = [
        {"name": f"check_{number}", "status": "passed", "detail": "as it should be " * 4,
         "evidence": {"expected": "0" * 64, "found": "0" * 64}}
        for number in range(10)
    ]  # fmt: skip
    verdict = {
        "content_hash": entry["content_hash"], "ok": True, "outcome": "verified",
        "reason": "every check passed", "checks": checks,
        "signer": {"method": "sigstore-cosign", "identity": "ci@example.org",
                   "issuer": "https://issuer.example"},
        "log": {"index": 1, "log_id": "00", "url": None, "integrated_time": None},
        "signed_at": created.isoformat(), "policy_sha256": "0" * 64, "trust_root_sha256": "1" * 64,
        "verifier_version": "2", "failure_class": None,
    }  # fmt: skip
    judged = {
        name: entry[name]
        for name in (
            "repo_id",
            "organisation",
            "revision",
            "envelope_sha256",
            "traces_sha256",
        )
    } | {"verified_at": created.isoformat(), "checkpoint": None, "verdict": verdict}
    line = {
        "inputs_sha256": "2" * 64,
        "repo_id": entry["repo_id"],
        "judged": judged,
        "findings": [],
    }
    data = orjson.dumps(line)
    if entry["repo_id"].endswith("000000"):
        RecordLine.model_validate_json(data)
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[2000, 20_000, 100_000])
    parser.add_argument("--folder", type=Path, help="make the corpora here, such as in /dev/shm")
    parser.add_argument("--check", action="store_true", help="time the check of all rows as well")
    parser.add_argument("--upstream", type=Path, help="the program inferencebench-leaderboard")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        _step(arguments.step[0], Path(arguments.step[1]))
        return
    print(f"{os.cpu_count()} CPUs\n{'runs':>8}  {'step':22}{'wall s':>8}{'CPU s':>8}{'MB':>7}")
    for runs in arguments.runs:
        with tempfile.TemporaryDirectory(prefix="index-", dir=arguments.folder) as folder:
            _measure(Path(folder), runs, arguments)


def _measure(folder: Path, runs: int, arguments: argparse.Namespace) -> None:
    store = folder / "store"
    corpus = Corpus(store, runs)
    corpus.write()
    steps = ["build", "unchanged", *(["check"] if arguments.check else [])]
    for step in steps:
        _run(runs, step, store)
    corpus.add_last()
    for step in ("+1 run", *(["check, +1 run"] if arguments.check else [])):
        _run(runs + 1, step, store)
    size_mb = (
        sum(
            path.stat().st_size
            for path in LeaderboardStore(store).folder.rglob("*")
            if path.is_file()
        )
        / 1e6
    )
    print(f"{'':8}  {size_mb:.1f} MB of tables and document", flush=True)
    if arguments.upstream:
        files = folder / "files"
        files.mkdir()
        for number, path in enumerate(_blobs(store)):
            os.link(path, files / f"{number:06d}.json")
        command = [str(arguments.upstream), str(files), str(folder / "site")]
        environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
        with cost_of() as cost:
            subprocess.run(command, check=True, capture_output=True, env=environment)
        print(_line(runs + 1, "upstream, whole page", cost.wall_s, cost.cpu_s, cost.peak_mb))
        shutil.rmtree(folder / "site", ignore_errors=True)


def _blobs(store: Path) -> Iterator[Path]:
    return (store / "corpus/blobs").iterdir()


def _run(runs: int, step: str, store: Path) -> None:
    command = [sys.executable, __file__, "--step", step, str(store)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall_s, cpu_s, peak_mb = map(float, done.stdout.split())
    print(_line(runs, step, wall_s, cpu_s, peak_mb), flush=True)


def _step(name: str, store: Path) -> None:
    """Time one step inside its process: what comes after the imports."""
    with cost_of() as cost:
        if name.startswith("check"):
            problems = check_rows(LeaderboardStore(store))
            if problems:
                raise SystemExit("\n".join(problems[:5]))
        else:
            build_index(LeaderboardStore(store))
    print(cost.wall_s, cost.cpu_s, cost.peak_mb)


def _line(runs: int, step: str, wall_s: float, cpu_s: float, peak_mb: float) -> str:
    return f"{runs:>8,}  {step:22}{wall_s:8.2f}{cpu_s:8.2f}{peak_mb:7.0f}"


if __name__ == "__main__":
    main()
