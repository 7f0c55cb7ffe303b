"""The services that a trust configuration names for signing."""

from __future__ import annotations

import pytest

from inferencebench_pipeline.trust.errors import SigningRefusedError
from inferencebench_pipeline.trust.sign.services import SigningDeadlines, open_services
from tests.trust.conftest import World


@pytest.mark.parametrize("version", [1, 2])
def test_the_log_is_of_the_version_that_was_asked_for(running_world: World, version: int) -> None:
    found = open_services(
        running_world.trust.require_signing(), rekor_version=version, deadlines=SigningDeadlines()
    )
    assert found.is_rekor_v1 is (version == 1)
    assert f"/api/v{version}" in found.log_name


def test_a_log_of_a_version_that_nobody_runs_is_refused(running_world: World) -> None:
    with pytest.raises(SigningRefusedError, match="no usable signing services with Rekor v3"):
        open_services(
            running_world.trust.require_signing(), rekor_version=3, deadlines=SigningDeadlines()
        )
