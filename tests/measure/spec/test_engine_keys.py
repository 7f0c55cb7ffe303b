"""An engine is sent the key that the operator gave to its address, or none at all."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferencebench_pipeline import measure
from inferencebench_pipeline.measure.engines.http import Access, ask
from inferencebench_pipeline.measure.engines.start import engine_for
from inferencebench_pipeline.measure.errors import (
    EngineAccessError,
    EngineUnreachableError,
    SpecError,
)
from inferencebench_pipeline.measure.run.run import run_benchmark
from inferencebench_pipeline.measure.spec.engine import OpenAIEngine
from inferencebench_pipeline.measure.spec.engine_keys import api_key, why_never_a_key
from inferencebench_pipeline.measure.workloads.resolution import resolve
from inferencebench_pipeline.measure.workloads.tokenizer import engine_tokenizer
from inferencebench_pipeline.runs.run_directory import RunDirectory
from inferencebench_pipeline.settings import SettingsError, engine_keys, origin_of
from tests.chance import examples
from tests.measure.client.test_client_way import running_proxy
from tests.measure.fake_engine import FakeEngine
from tests.measure.support import ignore_progress, self_signed, spec_for

Fake = Callable[..., FakeEngine]
LIST = "INFERENCEBENCH_ENGINE_KEYS"
KEY = "sk-of-the-engine-0123456789"

_SECRET_VARIABLE = re.compile(r'"([A-Z][A-Z0-9]*_[A-Z0-9_]*(?:TOKEN|KEY|SECRET|ALERTS))"')

OURS = [
    *("HF_TOKEN", "hf_token", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN", "SIGSTORE_ID_TOKEN"),
    *("INFERENCEBENCH_ALERTS", "INFERENCEBENCH_WEBHOOK_SECRET", "INFERENCEBENCH_ANYTHING_NEW"),
    *("DAGSTER_POSTGRES_PASSWORD", "POSTGRES_PASSWORD", "MY_POSTGRES_URL", "PGPASSWORD"),
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "S3_SECRET_ACCESS_KEY", "FSSPEC_S3_SECRET"),
    *("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "CI_JOB_TOKEN"),
    *("GOOGLE_APPLICATION_CREDENTIALS", "AZURE_CLIENT_SECRET", "KUBECONFIG", "VAULT_TOKEN"),
    *("DATABASE_URL", "SENTRY_DSN", "NPM_TOKEN", "TWINE_PASSWORD", "SMTP_PASSWORD"),
]
ENGINES = ["OPENAI_API_KEY", "ENGINE_KEY", "AZURE_OPENAI_API_KEY", "GOOGLE_API_KEY", "PROVIDER_X"]


@pytest.mark.parametrize("name", OURS)
def test_a_secret_of_ours_is_never_the_key_of_an_engine(name: str) -> None:
    engine = {"kind": "openai", "base_url": "https://evil.test/v1", "api_key_env": name}
    with pytest.raises(SpecError, match="no engine is ever sent it"):
        spec_for("", engine=engine)
    environ = {name: "secret", LIST: f"{name}=https://evil.test"}
    with pytest.raises(EngineAccessError, match="no engine is ever sent it"):
        api_key(name, "https://evil.test/v1", environ=environ)


@pytest.mark.parametrize("name", ENGINES)
def test_a_key_of_an_engine_may_have_any_other_name(name: str) -> None:
    assert why_never_a_key(name) is None
    environ = {name: KEY, LIST: f"{name}=https://api.test"}
    assert api_key(name, "https://api.test/v1/models", environ=environ) == KEY


def test_every_secret_that_the_pipeline_reads_is_one_of_ours() -> None:
    """A variable of ours with a secret's name that is new is covered without anybody's help."""
    package = Path(measure.__file__).parents[1]
    names = {
        name
        for path in package.rglob("*.py")
        if "sandbox" not in path.parts
        for name in _SECRET_VARIABLE.findall(path.read_text())
    }
    assert {"HF_TOKEN", "INFERENCEBENCH_ALERTS", "INFERENCEBENCH_WEBHOOK_SECRET"} <= names
    assert [name for name in names if why_never_a_key(name) is None] == []


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("https://api.test", "https://api.test/v1"),
        ("https://api.test/", "https://API.test:443/v1/models"),
        ("https://api.test:443", "https://api.test/v1"),
        ("http://gpu-host:8000", "http://gpu-host:8000/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
        ("https://b.test", "https://b.test/v1"),
    ],
)
def test_the_operator_gives_a_key_to_an_address(allowed: str, url: str) -> None:
    environ = {"ENGINE_KEY": KEY, LIST: f"OTHER=https://b.test  ENGINE_KEY={allowed}"}
    assert api_key("ENGINE_KEY", url, environ=environ) == KEY


@pytest.mark.parametrize(
    "url",
    [
        *("https://evil.test/v1", "http://api.test/v1", "https://api.test:8443/v1"),
        *("https://api.test.evil.test/v1", "https://evil.test/api.test/v1", "https://api.tes/v1"),
        *("https://api.test@evil.test/v1", "https://me:x@api.test/v1", "https://api.test./v1"),
        *(r"https://api.test\.evil.test/v1", r"https://evil.test\@api.test/v1", "https://b.test"),
        *("https://evil.test#@api.test", "https://evil.test?@api.test", "ftp://api.test:443/v1"),
        *(
            "https://api.test:x/v1",
            "https://api.test%2eevil.test/v1",
            "https:///v1",
            "https://[/v1",
        ),
        *("https://xn--api.test/v1", "https://ａpi.test.evil/v1", "//api.test/v1", "api.test"),
    ],
)
def test_another_address_gets_no_key_and_is_told_what_to_set(url: str) -> None:
    environ = {"ENGINE_KEY": KEY, LIST: "ENGINE_KEY=https://api.test OTHER=https://b.test"}
    with pytest.raises(EngineAccessError) as caught:
        api_key("ENGINE_KEY", url, environ=environ)
    assert KEY not in str(caught.value)
    assert LIST in str(caught.value) or "correct the address" in str(caught.value)


def test_without_a_list_no_engine_gets_a_key() -> None:
    with pytest.raises(EngineAccessError, match=r'add "OPENAI_API_KEY=https://api.openai.com:443"'):
        api_key("OPENAI_API_KEY", "https://api.openai.com/v1", environ={"OPENAI_API_KEY": KEY})
    assert api_key(None, "https://api.openai.com/v1", environ={}) is None


@pytest.mark.parametrize(
    "text",
    [
        *("OPENAI_API_KEY", "=https://a.test", "A=", "A=a.test", "A=https://a.test/v1"),
        *("A=ftp://a.test", "A=https://u:p@a.test", "A=https://a.test:99999"),
        "A=https://a.test,B=https://b.test",
    ],
)
def test_a_list_that_cannot_be_read_lets_nothing_through_and_is_not_repeated(text: str) -> None:
    with pytest.raises(SettingsError, match=LIST) as caught:
        engine_keys({LIST: text})
    assert "u:p" not in str(caught.value)


def test_a_secret_of_ours_under_another_name_is_not_sent() -> None:
    environ = {"ENGINE_KEY": "hf_x", "HF_TOKEN": "hf_x", LIST: "ENGINE_KEY=https://api.test"}
    with pytest.raises(EngineAccessError, match="the same secret as HF_TOKEN") as caught:
        api_key("ENGINE_KEY", "https://api.test/v1", environ=environ)
    assert "hf_x" not in str(caught.value)


def test_a_plain_proxy_reads_the_key_and_so_must_be_allowed_it() -> None:
    environ = {"ENGINE_KEY": KEY, LIST: "ENGINE_KEY=http://gpu:8000 ENGINE_KEY=https://api.test"}
    tunnel = api_key("ENGINE_KEY", "https://api.test/v1", proxy="http://p:3128", environ=environ)
    assert tunnel == KEY
    with pytest.raises(EngineAccessError, match=r"engine\.proxy, which reads what is sent"):
        api_key("ENGINE_KEY", "http://gpu:8000/v1", proxy="http://p:3128", environ=environ)
    environ[LIST] += " ENGINE_KEY=http://p:3128"
    plain = api_key("ENGINE_KEY", "http://gpu:8000/v1", proxy="http://p:3128", environ=environ)
    assert plain == KEY


def test_only_one_module_reads_the_key_of_an_engine() -> None:
    """The rule holds at every question, since there is no other way to a key."""
    room = Path(measure.__file__).parent
    readers = {
        path.name
        for path in room.rglob("*.py")
        if re.search(r"environ(?:\.get)?[(\[][^)\]\n]*key_env", path.read_text())
        or re.search(r"environ\.get\(variable\)", path.read_text())
    }
    assert readers == {"engine_keys.py"}


@contextmanager
def _listener() -> Iterator[tuple[str, list[bytes]]]:
    """A server that takes whatever comes and remembers it."""
    heard: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    heard.append(connection.recv(65_536))

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", heard
    finally:
        server.close()


def test_an_engine_at_another_address_is_sent_nothing_at_all(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_KEY", KEY)
    monkeypatch.setenv(LIST, "ENGINE_KEY=https://api.test")
    with _listener() as (url, heard):
        engine = {"kind": "openai", "base_url": f"{url}/v1", "api_key_env": "ENGINE_KEY"}
        with pytest.raises(EngineAccessError, match="nothing was sent"):
            run_benchmark(spec_for("", engine=engine), run, on_progress=ignore_progress)
        access = Access("ENGINE_KEY")
        with pytest.raises(EngineAccessError):
            ask(f"{url}/v1/models", access, 5)
        with pytest.raises(EngineAccessError):
            engine_tokenizer(f"{url}/v1", "m", access)
        assert heard == []


def test_a_proxy_that_may_not_have_the_key_is_sent_nothing_at_all(
    fake: Fake, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = fake()
    monkeypatch.setenv("ENGINE_KEY", KEY)
    monkeypatch.setenv(LIST, f"ENGINE_KEY={origin_of(engine.base_url)}")
    with running_proxy() as proxy:
        content = {"kind": "openai", "base_url": engine.base_url, "api_key_env": "ENGINE_KEY"}
        spec = spec_for("", engine={**content, "proxy": proxy.url, "name": "f", "version": "1"})
        with pytest.raises(EngineAccessError, match=r"engine\.proxy"):
            run_benchmark(spec, run, on_progress=ignore_progress)
        assert proxy.lines == []


def test_a_proxy_that_pretends_to_be_the_engine_gets_no_key(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tunnel ends at whoever has the engine's certificate; a key goes nowhere else."""
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    impostor = fake(ssl_context=context)  # nobody trusts its certificate here
    url = impostor.base_url.replace("http:", "https:")
    monkeypatch.setenv("ENGINE_KEY", KEY)
    monkeypatch.setenv(LIST, f"ENGINE_KEY={origin_of(url)}")
    with running_proxy() as proxy:
        content = {"kind": "openai", "base_url": url, "api_key_env": "ENGINE_KEY"}
        spec = resolve(spec_for("", engine={**content, "proxy": proxy.url}))
        with pytest.raises(EngineUnreachableError), engine_for(spec, tmp_path / "log"):
            pass
        assert {line.split(b" ")[0] for line in proxy.lines} == {b"CONNECT"}
    assert impostor.truths == []


_PIECES = st.sampled_from(
    [
        *"abz0:@/\\?#[]%.-_;=&,\t\n\r\x00\x7f ",
        *(
            "good.test",
            "good.test",
            "GOOD.test",
            "evil.test",
            "good.test:80",
            "[::1]",
            ":80",
            "/v1",
        ),
        *("http://", "https://", "//", "%40", "%2f", "%2e", "%00", "xn--"),
        *("\u2100", "\u3002", "\uff0e", "\u00df"),
    ]
)


@settings(max_examples=examples(3000), derandomize=True)
@given(st.lists(_PIECES, max_size=8))
def test_no_spelling_of_an_address_has_two_readings(pieces: list[str]) -> None:
    """Whoever passes as the address that a key is for is the one that is connected to."""
    address = "http://" + "".join(pieces)
    environ = {"ENGINE_KEY": KEY, LIST: "ENGINE_KEY=http://good.test"}
    try:
        engine = OpenAIEngine(kind="openai", base_url=address, api_key_env="ENGINE_KEY")
        api_key("ENGINE_KEY", engine.base_url, environ=environ)
    except (ValueError, EngineAccessError):
        return
    connected = http.client.HTTPConnection(urllib.request.Request(engine.base_url).host)
    parts = urllib.parse.urlsplit(engine.base_url)
    assert (connected.host.lower(), connected.port) == ("good.test", 80)
    assert (parts.hostname, parts.port or 80) == ("good.test", 80)
