"""Whatever an engine answers, every question to it ends in time with an error that can be read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.measure.audit.audit import read_metrics
from inferencebench_pipeline.measure.audit.prometheus_text import read_exposition
from inferencebench_pipeline.measure.engines.http import (
    NO_KEY,
    Access,
    ask,
    require_model,
    wait_until_healthy,
)
from inferencebench_pipeline.measure.engines.self_report import EngineSays, engine_says
from inferencebench_pipeline.measure.errors import (
    EngineAnswerError,
    EngineUnreachableError,
    ModelNotServedError,
)
from inferencebench_pipeline.measure.workloads.tokenizer import engine_tokenizer
from inferencebench_pipeline.untrusted.deadlines import within
from tests.attacks.hostile_http import (
    ANSWERS,
    ESCAPES,
    LARGE,
    LATE,
    HostileServer,
    always,
    json_text,
    on,
    plain,
    redirect,
)
from tests.attacks.judging import assert_fit_to_print, assert_in_little_memory, outcome
from tests.measure.support import content_of_spec, spec_for

DEADLINE_S = 1.0
MARGIN_S = 8.0
"""Beyond the deadline: the machine is busy."""
KEY = "sk-a-key-that-nobody-else-may-see"


def _models(url: str) -> object:
    deadlines = {"request_s": 1.0, "run_s": 60, "engine_start_s": DEADLINE_S}
    return require_model(f"{url}/v1", spec_for(f"{url}/v1", deadlines=deadlines), NO_KEY)


def _says(url: str) -> EngineSays:
    with within(DEADLINE_S):
        return engine_says(url, NO_KEY)


def _metrics(url: str) -> object:
    with within(DEADLINE_S):
        return read_exposition(read_metrics(f"{url}/v1", NO_KEY).decode(errors="replace"), "fake")


def _tokenizer(url: str) -> object:
    with within(DEADLINE_S):
        return engine_tokenizer(f"{url}/v1", "fake", NO_KEY).length("words")


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as sleeping:
        yield sleeping
        sleeping.kill()


QUESTIONS: dict[str, Callable[[str], object]] = {
    "models": _models,
    "says": _says,
    "metrics": _metrics,
    "tokenizer": _tokenizer,
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_every_question_ends_whatever_is_answered(answer: str, question: str) -> None:
    with HostileServer(ANSWERS[answer]) as server:
        outcome(lambda: QUESTIONS[question](server.url), within_s=DEADLINE_S + MARGIN_S)
        assert server.asked


@pytest.mark.parametrize("answer", [*LATE, "endless_headers", "deep"])
def test_the_wait_for_an_engine_ends_when_it_says(
    answer: str, process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    log = tmp_path / "engine.log"
    log.write_text("")
    with HostileServer(ANSWERS[answer]) as server:

        def wait() -> None:
            wait_until_healthy(server.url, DEADLINE_S, process, log)

        error = outcome(wait, within_s=DEADLINE_S + MARGIN_S)
    if answer != "deep":  # 200 is healthy, whatever the page says
        assert isinstance(error, EngineUnreachableError)


@pytest.mark.parametrize("answer", LATE)
def test_an_answer_that_drips_is_no_answer(answer: str) -> None:
    with HostileServer(ANSWERS[answer]) as server, pytest.raises(EngineUnreachableError):
        _models(server.url)


@pytest.mark.parametrize("answer", [*LARGE, "many_lists", "many_objects"])
def test_a_large_answer_takes_little_memory(answer: str) -> None:
    with HostileServer(ANSWERS[answer]) as server:
        for question in QUESTIONS.values():

            def asked(question: Callable[[str], object] = question) -> None:
                outcome(lambda: question(server.url), within_s=60.0)  # it is traced, and slow

            assert_in_little_memory(asked)


@pytest.mark.parametrize("answer", ["deep", "deep_objects", "just_too_deep", "huge_number"])
def test_a_list_of_models_that_no_reader_can_follow_is_an_error_of_the_engine(answer: str) -> None:
    with HostileServer(ANSWERS[answer]) as server, pytest.raises(EngineAnswerError):
        _models(server.url)


def test_names_of_models_are_shown_as_text_and_cut() -> None:
    rows = [{"id": f"{ESCAPES} [bold]{number}[/bold] {'A' * 1_000}"} for number in range(1000)]
    with HostileServer(json_text(json.dumps({"data": rows}))) as server:
        error = outcome(lambda: _models(server.url), within_s=MARGIN_S)
    assert isinstance(error, ModelNotServedError)
    assert r"\x1b]0;OWNED" in str(error)
    assert "and 990 more" in str(error)


@pytest.mark.parametrize(
    "content",
    [
        {"data": 5},
        {"data": [5, None, [], {"id": {"a": 1}}, {"id": "\ud800"}]},
        {"data": [{}]},
        [],
        "text",
        None,
    ],
)
def test_a_list_of_models_may_be_of_any_shape(content: object) -> None:
    with HostileServer(json_text(json.dumps(content))) as server:
        outcome(lambda: _models(server.url), within_s=MARGIN_S)


@pytest.mark.parametrize("status", ["301 A", "302 A", "303 A", "307 A", "308 A"])
def test_a_key_goes_to_the_address_of_the_spec_only(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """A redirect, also to another path of the same host, is refused with where it points."""
    monkeypatch.setenv("TEST_ENGINE_KEY", KEY)
    listed = always(plain(b'{"data": [{"id": "fake"}]}'))
    with HostileServer(listed) as other:
        for location in (f"{other.url}/latest/meta-data", f"//127.0.0.1:{other.port}/", "/else"):
            answer = on("/else", listed, redirect(location, status))
            with HostileServer(answer) as engine:
                monkeypatch.setenv("INFERENCEBENCH_ENGINE_KEYS", f"TEST_ENGINE_KEY={engine.url}")
                access = Access("TEST_ENGINE_KEY")
                spec = spec_for(f"{engine.url}/v1")
                with pytest.raises(EngineAnswerError, match="not followed"):
                    require_model(f"{engine.url}/v1", spec, access)
                assert engine_says(engine.url, access).name is None
                assert read_metrics(f"{engine.url}/v1", access) == b""
                asked = [asked.path for asked in engine.asked]
                assert "/else" not in asked
                assert engine.asked[0].headers["authorization"] == f"Bearer {KEY}"
        assert not other.asked


def test_the_proxies_of_the_environment_are_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with HostileServer(always(plain(b"{}"))) as engine, HostileServer(always(b"")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert ask(f"{engine.url}/health", NO_KEY, 5.0).status == 200
        assert not proxy.asked


ODD_WORDS = ["\ud800", ESCAPES, "9" * 50_000, "", " ", "\0", "a\r\nb", "\U000e0041"]
ODD_THINGS = [*ODD_WORDS, None, True, 2**63, -(2**70), 1e308, [], {}, ["a"], {"a": 1}]


def _vllm(odd: object) -> object:
    section = {"dtype": odd, "quantization": odd, "revision": odd, "seed": odd}
    info = {"vllm_config": {"model_config": section, "cache_config": odd}, "system_env": odd}
    faces = {"/version": {"version": odd}, "/server_info": info}
    return faces | {"/tokenizer_info": {"chat_template": odd}}


def _others(odd: object) -> object:
    llama = {"build_info": odd, "total_slots": odd, "chat_template": odd}
    return {
        "/get_server_info": {"mem_fraction_static": 1, "version": odd, "dtype": odd, "seed": odd},
        "/info": {"model_id": "m", "version": odd, "model_sha": odd, "model_dtype": odd},
        "/props": llama | {"default_generation_settings": odd},
    }


@pytest.mark.parametrize("face", [_vllm, _others])
@pytest.mark.parametrize("odd", ODD_THINGS, ids=lambda odd: repr(odd)[:20])
def test_what_an_engine_says_of_itself_can_be_recorded_or_is_not_taken(
    face: Callable[[object], dict[str, object]], odd: object
) -> None:
    pages = face(odd)

    def answer(asked: object) -> list[bytes]:
        path = getattr(asked, "path", "").partition("?")[0]
        if path not in pages:
            return [plain(b"{}", status="404 No")]
        return [plain(json.dumps(pages[path]).encode())]

    with HostileServer(answer) as server:
        said = _says(server.url)
    for text in (said.name, said.version, said.revision, said.dtype, said.quantization):
        if text is not None:
            assert 0 < len(text) <= 500
            assert_fit_to_print(text)
            text.encode()
    recorded = json.dumps(said.config, allow_nan=False, ensure_ascii=False)
    assert_fit_to_print(recorded)
    assert all(abs(number) <= 2**53 for number in _numbers(said.config))


def _numbers(node: object) -> Iterator[float]:
    if isinstance(node, dict):
        for child in node.values():
            yield from _numbers(child)
    elif isinstance(node, int | float):
        yield node


TOKENIZERS: list[object] = [
    {},
    {"count": "5"},
    {"count": -1},
    {"count": 2**70},
    {"count": 1e300},
    {"count": None},
    {"tokens": 5, "prompt": 5},
    {"tokens": "abc", "prompt": []},
    [],
]


@pytest.mark.parametrize("content", TOKENIZERS, ids=repr)
def test_a_tokenizer_may_answer_anything(content: object) -> None:
    with HostileServer(json_text(json.dumps(content))) as server:
        error = outcome(lambda: _tokenizer(server.url), within_s=DEADLINE_S + MARGIN_S)
        assert isinstance(error, PermanentError)


COMMAND = "from inferencebench_pipeline.cli import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["header_drip", "bomb", "deep", "names", "redirect", "says"])
def test_the_command_line_ends_with_its_documented_status(mode: str, tmp_path: Path) -> None:
    """3 for an outage, 2 for what somebody has to change; never a traceback or an escape."""
    rows = json.dumps({"data": [{"id": ESCAPES}]})
    answers = {
        "names": json_text(rows),
        "redirect": redirect("http://localhost:1/latest/meta-data"),
        "says": on("/version", json_text('{"version": "\\ud800"}'), json_text('{"data": 1}')),
    }
    answer = answers.get(mode) or on("/models", ANSWERS[mode], json_text("{}"))
    with HostileServer(answer) as server:
        deadlines = {"request_s": 2, "run_s": 10, "engine_start_s": 2}
        spec = tmp_path / "spec.yaml"
        spec.write_text(json.dumps(content_of_spec(f"{server.url}/v1", deadlines=deadlines)))
        ended = subprocess.run(
            [sys.executable, "-c", COMMAND, "run", str(spec)],
            capture_output=True,
            text=True,
            timeout=120,
            env=os.environ | {"INFERENCEBENCH_STORE": str(tmp_path / "store")},
            check=False,
        )
    said = ended.stdout + ended.stderr
    assert "Traceback" not in said
    assert "\x1b]" not in said and "\u202e" not in said
    assert ended.returncode in (2, 3), said
