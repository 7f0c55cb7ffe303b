"""The corpus statement on the sandbox's Hub, as its publisher and as its reader see it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import HfApi

from inferencebench_pipeline.corpus.store import CorpusStore
from inferencebench_pipeline.runs.run_directory import RunDirectory
from inferencebench_pipeline.trust.verify.corpus_statement import TABLE_FILE
from tests.clock import today
from tests.lifecycle.conftest import World, failed_checks, failed_steps

_CLI = "from inferencebench_pipeline.cli import main; main()"


def index_repo_id(world: World) -> str:
    return f"{world.settings.organisation}/inferencebench-index"


def hub_of(world: World) -> HfApi:
    return HfApi(endpoint=world.sandbox.hub_url, token=world.sandbox.token("write"))


def index_files(world: World) -> set[str]:
    """The files of the leaderboard that are on the Hub."""
    names = hub_of(world).list_repo_files(index_repo_id(world), repo_type="dataset")
    return {name for name in names if name.startswith("data/") or name == "leaderboard.json"}


def on_hub(world: World, name: str) -> bool:
    return hub_of(world).file_exists(index_repo_id(world), name, repo_type="dataset")


def upload(world: World, name: str, data: bytes) -> None:
    hub_of(world).upload_file(
        path_or_fileobj=data, path_in_repo=name, repo_id=index_repo_id(world), repo_type="dataset"
    )


def stated(world: World, run: RunDirectory) -> None:
    """Bring a run onto the Hub, and state the corpus."""
    assert failed_steps(world.materialise(run)) == []
    reverify(world)
    world.job("examine_logs")
    assert failed_steps(world.job("state_corpus")) == []


def edited_table(world: World, change: Callable[[pa.Table], pa.Table]) -> bytes:
    table = pq.read_table(CorpusStore(world.store.root).statement_folder / TABLE_FILE)
    with io.BytesIO() as buffer:
        pq.write_table(change(table), buffer)
        return buffer.getvalue()


def target_of(world: World) -> str:
    return f"hf://datasets/{index_repo_id(world)}"


def verify_corpus(world: World, *arguments: str) -> tuple[int, dict[str, object]]:
    """The command line's answer, from a process of its own."""
    target = target_of(world)
    done = subprocess.run(
        [sys.executable, "-c", _CLI, "verify", "--corpus", "--json", *(arguments or (target,))],
        env={
            **os.environ,
            **world.sandbox.environ,
            "XDG_DATA_HOME": str(world.settings.home / "data"),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else {"error": done.stderr}


def reverify(world: World) -> set[str]:
    world.job("crawl_corpus")
    return failed_checks(world.job("reverify", today()))
