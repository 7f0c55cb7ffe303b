"""Where identity tokens come from: each CI service as it is met there, files, commands."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jwt
import pytest
from id._internal.oidc import ambient

from inferencebench_pipeline.runs.run_directory import RunDirectory
from inferencebench_pipeline.trust.errors import IdentityTokenError, SigningUnavailableError
from inferencebench_pipeline.trust.sign.identity_token import (
    ambient_identity,
    command_identity,
    names_its_subject,
    parse_token,
)
from inferencebench_pipeline.trust.sign.run_signature import sign_run
from tests.trust.conftest import World

CI_VARIABLES = (
    "SIGSTORE_ID_TOKEN",
    "GITHUB_ACTIONS",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "ACTIONS_ID_TOKEN_REQUEST_URL",
    "GOOGLE_SERVICE_ACCOUNT_NAME",
    "BUILDKITE",
    "GITLAB_CI",
    "CIRCLECI",
)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CI_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def raw(running_world: World) -> str:
    running_world.faults.clear()
    return running_world.raw_token("ci@example.org")


@contextmanager
def answering(body: bytes) -> Iterator[tuple[str, list[str]]]:
    """A server that gives one answer; yields its address and the paths asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def script(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


class TestCiServices:
    """Each is detected as it shows itself, and gives the token it has."""

    def test_github(self, raw: str, monkeypatch: pytest.MonkeyPatch) -> None:
        with answering(json.dumps({"value": raw}).encode()) as (url, asked):
            monkeypatch.setenv("GITHUB_ACTIONS", "true")
            monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t")
            monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{url}/token?v=1")
            assert str(ambient_identity()()) == raw
        assert asked == ["/token?v=1&audience=sigstore"]

    def test_gitlab(self, raw: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GITLAB_CI", "true")
        monkeypatch.setenv("SIGSTORE_ID_TOKEN", raw)
        assert str(ambient_identity()()) == raw

    def test_google_cloud(self, raw: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        product = tmp_path / "product_name"
        product.write_text("Google Compute Engine")
        with answering(raw.encode()) as (url, asked):
            monkeypatch.setattr(ambient, "_GCP_PRODUCT_NAME_FILE", str(product))
            monkeypatch.setattr(ambient, "_GCP_IDENTITY_REQUEST_URL", f"{url}/identity")
            assert str(ambient_identity()()) == raw
        assert asked == ["/identity?audience=sigstore&format=full"]

    @pytest.mark.parametrize(
        ("variable", "command"), [("BUILDKITE", "buildkite-agent"), ("CIRCLECI", "circleci")]
    )
    def test_services_with_an_agent(
        self,
        raw: str,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        variable: str,
        command: str,
    ) -> None:
        script(tmp_path, command, f"echo '{raw}'")
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.setenv(variable, "true")
        assert str(ambient_identity()()) == raw

    def test_one_that_is_down_is_an_outage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://127.0.0.1:9/token")
        with pytest.raises(SigningUnavailableError, match="none could be fetched"):
            ambient_identity()()


class TestCommands:
    """A command's output is the token; nothing it writes is ever repeated."""

    def test_its_output_signs(
        self, world: World, run: RunDirectory, raw: str, tmp_path: Path
    ) -> None:
        (tmp_path / "token").write_text(world.token_file.read_text())
        command = ("cat", str(tmp_path / "token"))
        signer = world.signer(identity=command_identity(command))
        assert sign_run(run, signer, verify=world.verify).ok

    def test_it_runs_at_each_call(self, raw: str, tmp_path: Path) -> None:
        path = script(tmp_path, "token", f"echo x >> {tmp_path}/calls; echo {raw}")
        source = command_identity((str(path),))
        assert not (tmp_path / "calls").exists()
        source(), source()
        assert (tmp_path / "calls").read_text() == "x\nx\n"

    def test_a_failure_is_an_outage_that_tells_nothing_of_its_output(self, tmp_path: Path) -> None:
        path = script(tmp_path, "token", "echo secret; echo secret >&2; exit 3")
        with pytest.raises(SigningUnavailableError, match="status 3") as caught:
            command_identity((str(path),))()
        assert "secret" not in str(caught.value)

    def test_one_that_hangs_is_given_up(self, tmp_path: Path) -> None:
        path = script(tmp_path, "token", "exec sleep 30")
        with pytest.raises(SigningUnavailableError, match="gave nothing within"):
            command_identity((str(path),), deadline_s=0.2)()

    def test_one_that_is_not_there(self) -> None:
        with pytest.raises(IdentityTokenError, match="INFERENCEBENCH_IDENTITY_TOKEN_COMMAND"):
            command_identity(("/no/such/command",))()

    def test_output_that_is_no_token(self, tmp_path: Path) -> None:
        path = script(tmp_path, "token", "echo secret")
        with pytest.raises(IdentityTokenError, match="cannot be used") as caught:
            command_identity((str(path),))()
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, True),
        ({"email": "someone@example.org"}, True),
        ({"job_workflow_ref": "org/repo/.github/workflows/x.yml@refs/heads/main"}, False),
        ({"ci_config_ref_uri": "gitlab.com/g/p//.gitlab-ci.yml@refs/heads/main"}, False),
        ({"pipeline_slug": "bench"}, False),
        ({"kubernetes.io": {"namespace": "bench"}}, False),
    ],
)
def test_a_certificate_for_a_workload_names_another_thing_than_the_tokens_subject(
    world: World, claims: dict[str, object], expected: bool
) -> None:
    genuine = jwt.decode(world.token_file.read_text(), options={"verify_signature": False})
    raw = jwt.encode({**genuine, **claims}, "any key of 32 bytes will do here.", algorithm="HS256")
    assert names_its_subject(parse_token(raw.encode(), where="the test")) is expected
