"""A stranger's record, replayed: it starts nothing, sets nothing, and sends nothing anywhere."""

from __future__ import annotations

import http.server
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inferencebench_pipeline.cli import main
from inferencebench_pipeline.envelope.build import write_envelope
from inferencebench_pipeline.measure.run.measurement import write_measurement
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.run.trace_writer import write_traces
from inferencebench_pipeline.runs.run_directory import RunStore, new_run_id
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from tests.cli.verification.test_verify_and_explain import policy_file  # noqa: F401  # a fixture
from tests.measure.fake_engine import Behaviour, FakeEngine, running
from tests.measure.support import ignore_progress, spec_for
from tests.paths import REPOSITORY
from tests.trust.conftest import World, running_world  # noqa: F401  # a fixture

TOKEN = "hf_the_readers_own_token"

STAND_IN = """
import os, sys
from pathlib import Path
Path(os.environ["TMPDIR"], "vllm.started").write_text(repr(sys.argv))
from huggingface_hub import HfApi
from tests.paths import REPOSITORY
HfApi().model_info(sys.argv[sys.argv.index("--model") + 1])
"""


@pytest.fixture
def heard() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """The stranger's own Hub: its address, and what it was asked with which token."""
    asked: list[tuple[str, str | None]] = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_CONNECT = do_GET

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory, running_world: World) -> Path:  # noqa: F811
    """A folder with a genuine record: really measured, really signed."""
    run = RunStore(tmp_path_factory.mktemp("measured")).run(new_run_id())
    with running(FakeEngine(lambda _: Behaviour())) as engine:
        run_benchmark(spec_for(engine.base_url), run, on_progress=ignore_progress)
    write_traces(run)
    write_measurement(run)
    write_envelope(run)
    sign_run(run, running_world.signer(), verify=running_world.verify)
    return run.path


@pytest.fixture
def folder(record: Path, tmp_path: Path) -> Path:
    """A copy of the record, to alter."""
    path = tmp_path / "record"
    path.mkdir()
    for name in ("envelope.json", "traces.parquet"):
        (path / name).write_bytes((record / name).read_bytes())
    return path


@dataclass(frozen=True)
class Done:
    returncode: int
    said: str


Call = Callable[..., Done]


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """The command line of a reader with a Hub token, and a vLLM that tells when it is started."""
    package = tmp_path / "site/vllm/entrypoints/openai"
    package.mkdir(parents=True)
    for path in (package, package.parent, package.parent.parent):
        (path / "__init__.py").touch()
    (package / "api_server.py").write_text(STAND_IN)
    info = tmp_path / "site/vllm-0.99.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.99\n")
    (info / "RECORD").write_text("vllm/__init__.py,sha256=abc,0\n")
    (info / "top_level.txt").write_text("vllm\n")
    for name in list(os.environ):
        if name.startswith(("HF_", "INFERENCEBENCH_")):
            monkeypatch.delenv(name)
    environment = {
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "1",
        "INFERENCEBENCH_HOME": str(tmp_path / "home"),
        "INFERENCEBENCH_VLLM_PYTHON": sys.executable,
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{tmp_path / 'site'}",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["inferencebench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out + printed.err)

    return run


def _changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    path = folder / "envelope.json"
    document = json.loads(path.read_bytes())
    change(document["driver_options"]["spec"])
    path.write_text(json.dumps(document))
    return path


def _engines(hub: str) -> dict[str, dict[str, Any]]:
    return {
        "token to his Hub": {"kind": "vllm", "args": [], "env": {"HF_ENDPOINT": hub}},
        "code of his model": {"kind": "vllm", "args": ["--trust-remote-code"], "env": {}},
        "preload": {"kind": "vllm", "args": [], "env": {"LD_PRELOAD": "/tmp/x.so"}},
        "python path": {"kind": "vllm", "args": [], "env": {"PYTHONPATH": "/tmp"}},
        "proxy": {"kind": "vllm", "args": [], "env": {"https_proxy": hub}},
        "local weights": {"kind": "vllm", "args": [], "env": {}, "model_path": "/tmp"},
        "address and key": {"kind": "openai", "base_url": f"{hub}/v1", "api_key_env": "HF_TOKEN"},
        "proxy and key": {
            "kind": "openai",
            "base_url": "http://127.0.0.1:1/v1",
            "proxy": hub,
            "api_key_env": "HF_TOKEN",
        },
        "a kind to come": {"kind": "command", "argv": ["touch", "/tmp/owned"]},
    }


@pytest.mark.parametrize("name", _engines(""))
@pytest.mark.parametrize("own", ["none", "embedded", "vllm", "address"])
def test_an_engine_that_a_stranger_describes_is_never_started_nor_asked(
    name: str,
    own: str,
    folder: Path,
    heard: tuple[str, list[tuple[str, str | None]]],
    call: Call,
    tmp_path: Path,
) -> None:
    hub, asked = heard
    hostile = _engines(hub)[name]
    target = _changed(folder, lambda spec: spec.update(engine=hostile))
    before = {path.name for path in tmp_path.iterdir()}
    with running(FakeEngine(lambda _: Behaviour())) as engine:
        engines = {"none": [], "address": ["--engine", engine.base_url]}
        done = call("replay", target, *engines.get(own, ["--engine", own]), "--unverified")
    if own == "address":
        assert done.returncode == 0, done.said
        assert len(engine.truths) == 3
        assert {truth.headers.get("authorization") for truth in engine.truths} == {None}
    else:
        # The bundled engine has another model, and vLLM is told one by the reader or not at all.
        said = {"none": "on your engine", "embedded": "carries", "vllm": "--model fake"}[own]
        assert done.returncode == 2
        assert said in done.said
        assert engine.truths == []
    assert asked == []
    assert {path.name for path in tmp_path.iterdir()} - before <= {"home"}
    assert TOKEN not in done.said


def test_the_readers_own_vllm_is_started_with_the_readers_words_only(
    folder: Path,
    heard: tuple[str, list[tuple[str, str | None]]],
    call: Call,
    tmp_path: Path,
) -> None:
    hub, asked = heard
    hostile = {
        "kind": "vllm",
        "args": ["--trust-remote-code"],
        "env": {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"},
    }
    target = _changed(folder, lambda spec: spec.update(engine=hostile))
    call("replay", target, "--engine", "vllm", "--model", "me/mine", "--unverified")
    words = (tmp_path / "vllm.started").read_text()
    assert "'--model', 'me/mine'" in words
    assert "trust-remote-code" not in words
    assert asked == []


@pytest.mark.parametrize("change", ["none", "altered", "somebody else's", "no policy"])
def test_a_record_is_verified_before_anything_is_asked_of_an_engine(
    change: str,
    running_world: World,  # noqa: F811
    folder: Path,
    policy_file: Path,  # noqa: F811
    call: Call,
    tmp_path: Path,
) -> None:
    if change == "altered":
        _changed(folder, lambda spec: spec["load"].update(requests=100_000))
    options: list[object] = ["--trust-config", running_world.trust_config]
    options += ["--policy", policy_file] if change != "no policy" else []
    options += ["--organisation", "others"] if change == "somebody else's" else []
    with running(FakeEngine(lambda _: Behaviour())) as engine:
        done = call("replay", folder, "--engine", engine.base_url, *options)
        assert done.returncode == {"none": 0, "no policy": 2}.get(change, 1), done.said
        if change != "none":
            assert "--unverified" in done.said
            assert engine.truths == []
            assert not RunStore(tmp_path / "home/store").run_ids()
