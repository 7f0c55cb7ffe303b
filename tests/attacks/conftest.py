"""An instance with Dagster's real storage."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.instances import fresh_instance


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with fresh_instance() as instance:
        yield instance
