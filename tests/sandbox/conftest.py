"""One running sandbox per test process, and the unmodified Hub client pointed at it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from huggingface_hub import HfApi, constants

from inferencebench_pipeline.sandbox.faults_client import Faults
from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox

ORGANISATION = "inferencebench-sandbox"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxEnvironment]:
    with (
        pytest.MonkeyPatch.context() as patch,
        running_sandbox(tmp_path_factory.mktemp("sandbox")) as running,
    ):
        # The client reads these at import; what it read can still be set.
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        patch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, running.environ[name])
        yield running


@pytest.fixture
def api(sandbox: SandboxEnvironment) -> HfApi:
    return HfApi(endpoint=sandbox.hub_url, token=sandbox.token("write"))


@pytest.fixture
def reader(sandbox: SandboxEnvironment) -> HfApi:
    return HfApi(endpoint=sandbox.hub_url, token=sandbox.token("read"))


@pytest.fixture
def anonymous(sandbox: SandboxEnvironment) -> HfApi:
    return HfApi(endpoint=sandbox.hub_url, token=False)


@pytest.fixture
def new_name() -> Callable[[], str]:
    return lambda: f"{ORGANISATION}/repo-{next(_numbers)}"


@pytest.fixture
def dataset(api: HfApi, new_name: Callable[[], str]) -> str:
    name = new_name()
    api.create_repo(name, repo_type="dataset")
    return name


@pytest.fixture
def faults(sandbox: SandboxEnvironment) -> Iterator[Faults]:
    controls = Faults(sandbox.hub_url)
    controls.clear()
    controls.clear_requests()
    yield controls
    controls.clear()
