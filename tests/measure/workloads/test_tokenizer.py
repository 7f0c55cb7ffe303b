"""Asking engines for their tokenizer, over real HTTP: both dialects, and engines that have none."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from inferencebench_pipeline.measure.engines.http import NO_KEY, Access
from inferencebench_pipeline.measure.errors import EngineUnreachableError, SpecError
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.trace_writer import read_traces, write_traces
from inferencebench_pipeline.measure.spec.spec_file import load_spec
from inferencebench_pipeline.measure.workloads.request_plan import workload_of
from inferencebench_pipeline.measure.workloads.resolution import resolve
from inferencebench_pipeline.measure.workloads.tokenizer import engine_tokenizer
from inferencebench_pipeline.runs.run_directory import RunFile
from tests.chance import parametrized
from tests.measure.support import ignore_progress
from tests.paths import SPECS

COUNTED = ["smollm2-rag", "smollm2-conversation", "smollm2-long-context"]

Answer = Callable[[str, dict[str, Any]], tuple[int, Any]]


@contextmanager
def serving(answer: Answer, headers: list[str] | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if headers is not None:
                headers.append(self.headers.get("Authorization", ""))
            status, body = answer(self.path, content)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def vllm(path: str, content: dict[str, Any]) -> tuple[int, Any]:
    if path != "/tokenize":
        return 404, {"detail": "Not Found"}
    if "messages" in content:
        words = sum(len(message["content"].split()) for message in content["messages"])
        return 200, {"count": 10 + words}
    return 200, {"count": len(content["prompt"].split()) + content.get("add_special_tokens", True)}


def test_vllm_is_asked_in_its_own_words_and_with_the_key(monkeypatch) -> None:
    monkeypatch.setenv("MY_KEY", "a-secret")
    seen: list[str] = []
    with serving(vllm, seen) as url:
        monkeypatch.setenv("INFERENCEBENCH_ENGINE_KEYS", f"MY_KEY={url.removesuffix('/v1')}")
        tokenizer = engine_tokenizer(url, "m", Access(api_key_env="MY_KEY"))
        assert tokenizer.length("a b c") == 3
        assert tokenizer.completion_length("a b c") == 4
        assert tokenizer.prompt_length([{"role": "user", "content": "a b"}]) == 12
    assert set(seen) == {"Bearer a-secret"}


def test_an_engine_without_a_tokenizer_is_told_what_to_use_instead() -> None:
    with (
        serving(lambda *_: (404, {})) as url,
        pytest.raises(SpecError, match=r"dataset\.kind: jsonl"),
    ):
        engine_tokenizer(url, "m", NO_KEY)


def test_an_engine_that_fails_or_is_gone_is_worth_trying_again() -> None:
    with serving(lambda *_: (500, {})) as url, pytest.raises(EngineUnreachableError, match="500"):
        engine_tokenizer(url, "m", NO_KEY)
    with pytest.raises(EngineUnreachableError, match="still running"):
        engine_tokenizer(url, "m", NO_KEY)


@pytest.mark.slow
@pytest.mark.parametrize("name", parametrized("specs that an engine counts", COUNTED, 1))
def test_a_real_engine_counts_the_tokens_that_were_planned(name, run) -> None:
    """Every prompt of shipped specs, as llama.cpp counts it, template and salt included."""
    small = ["load.requests=2", "load.warmup_requests=0", "workload.prompts=2"]
    small += ["workload.max_tokens=2"]
    if name == "smollm2-long-context":
        small += ["workload.dataset.prompt_tokens=200"]
    spec = load_spec(SPECS / f"{name}.yaml", small)
    run_benchmark(spec, run, on_progress=ignore_progress)
    write_traces(run)
    planned = {
        item.id: item.prompt_tokens
        for item in workload_of(run.file(RunFile.CAPTURE), resolve(spec)).items
    }
    for row in read_traces(run.file(RunFile.TRACES)).to_pylist():
        assert row["prompt_tokens"] == planned[row["prompt_id"]]
