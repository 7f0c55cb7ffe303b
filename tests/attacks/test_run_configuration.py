"""Somebody who may launch a run chooses a benchmark, a request, and no more.

Where a token goes, whose signatures count, which command runs and where files are written belongs
to the deployment. The tables below are the whole of what a launch may say; a field that is new in
any job, step or resource fails here until somebody has thought about it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._config import ConfigType, ConfigTypeKind

from definitions import build_definitions
from inferencebench_pipeline.deployment import Deployment
from inferencebench_pipeline.lifecycle.partitions import runs
from inferencebench_pipeline.runs.run_directory import RunStore, new_run_id
from inferencebench_pipeline.settings import Settings
from tests.paths import REPOSITORY as CLONE

TOKEN = "hf_ofThisDeploymentAloneAndNobodyElses"
FORMS: Mapping[str, frozenset[str]] = {
    "benchmark_run": frozenset({"spec", "overrides"}),
    "corpus_verification": frozenset({"again"}),
    "launch_backfill": frozenset({"again"}),
    "look_at_results": frozenset({"benchmarks"}),
    "probe_loads": frozenset({"spec", "overrides"}),
    "remove_links": frozenset({"target", "reason", "requested_by"}),
    "request_run": frozenset({"spec", "overrides"}),
    "request_scheduled_run": frozenset({"spec", "tick", "due"}),
}
"""Reviewed: what each step lets a launch say. Texts, none of them an address, a path or a command.
"""
LOGGING = frozenset({"loggers.console.config.log_level", "loggers.console.config.name"})
IMPLICIT_JOB = "__ASSET_JOB"
"""Dagster's own, for what is materialised outside of jobs. It ignores steps and resources that are
not selected, unknown names among them."""
PLAIN = frozenset({"String", "Bool", "Array.String", "Noneable.String"})
ONCE_OPEN = {
    *Settings.model_fields,
    *(field.name for field in dataclasses.fields(Deployment)),
    *("root", "specs", "inbox", "prices", "base_dir", "retries", "wait_s", "hub_endpoint"),
    *("policy_path", "trust_store"),
}
"""Settings that a resource has been, or could be, configured by."""


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    home = tmp_path_factory.mktemp("home")
    return build_definitions(Settings.from_environment({"INFERENCEBENCH_HOME": str(home)}))


def jobs(definitions: dg.Definitions) -> Iterator[dg.JobDefinition]:
    yield from definitions.get_repository_def().get_all_jobs()


def fields(config: ConfigType, path: str) -> Iterator[tuple[str, ConfigType]]:
    """Yield all that a launch may say below ``path``: what holds a value, or anything at all."""
    if not ConfigTypeKind.has_fields(config.kind):
        yield path, config
        return
    if config.kind is not ConfigTypeKind.STRICT_SHAPE:
        yield f"{path}.*", config
    for name, field in config.fields.items():  # type: ignore[attr-defined]
        yield from fields(field.config_type, f"{path}.{name}" if path else name)


def refusal(job: dg.JobDefinition, run_config: Mapping[str, Any]) -> str:
    with pytest.raises(dg.DagsterInvalidConfigError) as refused:
        dg.validate_run_config(job, dict(run_config))
    return str(refused.value)


def test_a_launch_may_say_what_was_reviewed_and_nothing_else(definitions: dg.Definitions) -> None:
    reviewed = LOGGING | {
        f"ops.{step}.config.{name}" for step, names in FORMS.items() for name in names
    }
    seen = set()
    for job in jobs(definitions):
        for path, config in fields(job.run_config_schema.config_type, ""):
            if path in {"ops.*", "resources.*"} and job.name == IMPLICIT_JOB:
                continue
            assert path in reviewed, f"{job.name} takes {path}: who may choose that, and why?"
            named = str(config.given_name or config.key)
            assert named in PLAIN or config.kind is ConfigTypeKind.ENUM, f"{path} is a {named}"
            seen.add(path)
    assert seen == reviewed


def test_no_resource_takes_a_setting_of_the_deployment(definitions: dg.Definitions) -> None:
    assert len(list(jobs(definitions))) > 10
    for job in jobs(definitions):
        root = job.run_config_schema.config_type
        for name in root.fields["resources"].config_type.fields:  # type: ignore[attr-defined]
            said = refusal(job, {"resources": {name: {"config": dict.fromkeys(ONCE_OPEN, "x")}}})
            assert f"root:resources:{name}:config" in said
            assert all(repr(setting) in said for setting in ONCE_OPEN)


def test_no_text_of_a_form_can_be_a_variable_of_the_environment(
    definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's own kind of text may be ``{env: NAME}``: a takedown's reason was the Hub token."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    variable = {"env": "HF_TOKEN"}
    tried = 0
    for job in jobs(definitions):
        root = job.run_config_schema.config_type
        for step in FORMS.keys() & root.fields["ops"].config_type.fields:  # type: ignore[attr-defined]
            for name in FORMS[step]:
                for value in (variable, [variable]):
                    said = refusal(job, {"ops": {step: {"config": {name: value}}}})
                    assert f"root:ops:{step}:config:{name}" in said
                    assert TOKEN not in said
                    tried += 1
    assert tried >= 2 * sum(map(len, FORMS.values()))


@pytest.mark.parametrize(
    "execution",
    [
        {"step_dependency_config": {"require_upstream_step_success": False}},
        {"retries": {"disabled": {}}},
        {"multiprocess": {"max_concurrent": 8}},
    ],
)
def test_no_launch_chooses_how_its_steps_follow_each_other(
    definitions: dg.Definitions, execution: dict[str, Any]
) -> None:
    """With the first, Dagster begins a stage although the blocking check before it has failed."""
    for job in jobs(definitions):
        said = refusal(job, {"execution": {"config": execution}})
        assert f'unexpected config entry "{next(iter(execution))}"' in said


@pytest.mark.parametrize(
    "name",
    ["../planted", "./planted", "planted.yaml", "../specs/planted", "/etc/passwd", "", "a\0b"],
)
def test_a_spec_is_one_of_the_deployments_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    specs = tmp_path / "specs"
    specs.mkdir()
    spec = (CLONE / "specs" / "smollm2-chat-quick.yaml").read_text()
    (specs / "own.yaml").write_text(spec)
    (tmp_path / "planted.yaml").write_text(spec)
    environment = {"INFERENCEBENCH_HOME": str(tmp_path), "INFERENCEBENCH_SPECS": str(specs)}
    settings = Settings.from_environment(environment)
    now = "2026-11-30T00:00:00+00:00"
    run_id = new_run_id()
    launches = {
        "publish_run": ("benchmark_run", {"spec": name}),
        "search_highest_load": ("probe_loads", {"spec": name}),
        "scheduled_benchmark": ("request_scheduled_run", {"spec": name, "tick": now, "due": now}),
    }
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(runs.name), [run_id])
        definitions = build_definitions(settings)
        for job, (step, config) in launches.items():
            result = definitions.resolve_job_def(job).execute_in_process(
                instance=instance,
                partition_key=run_id if job == "publish_run" else None,
                run_config={"ops": {step: {"config": config}}},
                raise_on_error=False,
            )
            assert not result.success
        with pytest.raises(dg.DagsterInvalidConfigError):
            definitions.resolve_job_def("launch_benchmark").execute_in_process(
                instance=instance, run_config={"ops": {"request_run": {"config": {"spec": name}}}}
            )
    assert not RunStore(settings.store).run_ids()


@pytest.mark.parametrize(
    "key",
    ["../../outside", "x", f"{new_run_id()}/../..", new_run_id() + "\n"],
    ids=["a path", "a word", "a run id and a path", "a run id and a line break"],
)
def test_a_partition_that_is_no_run_id_names_no_folder(tmp_path: Path, key: str) -> None:
    settings = Settings.from_environment({"INFERENCEBENCH_HOME": str(tmp_path / "home")})
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            build_definitions(settings)
            .resolve_job_def("publish_run")
            .execute_in_process(
                instance=instance,
                tags={"dagster/partition": key},
                run_config={"ops": {"benchmark_run": {"config": {"spec": "smollm2-chat-quick"}}}},
                raise_on_error=False,
            )
        )
    assert not result.success
    assert not list(tmp_path.rglob("*"))


class Listener:
    """A web server that notes what it is asked, and knows nothing."""

    def __init__(self) -> None:
        heard: list[tuple[str, str | None]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heard.append((self.path, self.headers.get("Authorization")))
                self.send_error(404)

            do_POST = do_HEAD = do_PUT = do_GET

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.heard = heard
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def strangers_host() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def our_hub() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@dataclasses.dataclass(frozen=True)
class Host:
    """A deployment whose runs are processes with an environment of their own."""

    home: Path
    hub_url: str

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return kept | {
            "PYTHONPATH": str(CLONE),
            "DAGSTER_HOME": str(self.home),
            "INFERENCEBENCH_HOME": str(self.home / "state"),
            "INFERENCEBENCH_ORGANISATION": "us",
            "INFERENCEBENCH_OUTAGE_RETRIES": "0",
            "HF_ENDPOINT": self.hub_url,
            "HF_TOKEN": TOKEN,
        }

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.home.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    def execute(self, job: str, run_config: object) -> subprocess.CompletedProcess[str]:
        """Run a job in a process of its own, as a run launcher does."""
        self.home.mkdir(exist_ok=True)
        config = self.home / "config.yaml"
        config.write_text(yaml.safe_dump(run_config))
        definitions = str(CLONE / "definitions.py")
        return self.python(
            *("-m", "dagster", "job", "execute"),
            *("-f", definitions, "-j", job, "-c", str(config)),
        )


ASKED = {"target": "a/b", "reason": "not wanted", "requested_by": "its author"}
TAKEDOWN = {"ops": {"remove_links": {"config": ASKED}}}


@pytest.mark.slow
def test_a_run_process_talks_to_the_deployments_hub_and_to_no_host_that_a_launch_names(
    tmp_path: Path, our_hub: Listener, strangers_host: Listener
) -> None:
    host = Host(tmp_path / "host", our_hub.url)
    named = {"deployment": {"config": {"hub_endpoint": strangers_host.url}}}
    refused = host.execute("takedown", {**TAKEDOWN, "resources": named})
    assert refused.returncode != 0
    assert 'unexpected config entry "hub_endpoint"' in refused.stdout + refused.stderr
    assert not strangers_host.heard
    assert not our_hub.heard

    host.execute("takedown", TAKEDOWN)
    assert {authorization for _, authorization in our_hub.heard} == {f"Bearer {TOKEN}"}
    assert not strangers_host.heard


@pytest.mark.slow
def test_the_launchpad_is_told_what_it_may_not_say_and_nothing_is_run(
    tmp_path: Path, our_hub: Listener, strangers_host: Listener
) -> None:
    """As the UI launches: the mutation is answered with the field, and no run exists."""
    host = Host(tmp_path / "host", our_hub.url)
    proof = tmp_path / "a-command-was-run"
    worst = {
        "hub_endpoint": strangers_host.url,
        "identity_token_file": "/proc/self/environ",
        "identity_token_command": ["/usr/bin/touch", str(proof)],
        "policy": str(tmp_path / "theirs.yaml"),
        "trust_config": str(tmp_path / "theirs.json"),
    }
    variables = {
        "executionParams": {
            "selector": {
                "repositoryLocationName": "definitions.py",
                "repositoryName": "__repository__",
                "pipelineName": "state_corpus",
            },
            "runConfigData": {"resources": {"deployment": {"config": worst}}},
            "mode": "default",
        }
    }
    answer = host.python(
        *("-c", "from dagster_graphql.cli import main; main()"),
        *("-f", str(CLONE / "definitions.py")),
        *("-p", "launchPipelineExecution", "-v", json.dumps(variables)),
    )
    said = answer.stdout + answer.stderr
    assert "RunConfigValidationInvalid" in said, said
    assert all(setting in said for setting in worst)
    assert not proof.exists()
    assert not strangers_host.heard
