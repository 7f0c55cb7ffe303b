"""Fixtures for a module of tests with a Hub of its own, where what others publish is not found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from inferencebench_pipeline.sandbox.process import SandboxEnvironment, running_sandbox
from tests.clock import wait_until_the_hour_holds


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxEnvironment]:
    """A Hub of its own: what other tests publish badly would be found, or stop a statement."""
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as environment:
        yield environment


@pytest.fixture(autouse=True)
def one_day() -> None:
    """Nothing of a test falls into two days."""
    wait_until_the_hour_holds()


@pytest.fixture(autouse=True)
def plain_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files go up as HTTP requests, which the sandbox sees."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
