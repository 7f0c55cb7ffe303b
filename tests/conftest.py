"""Fixtures every test may use: where the shared reference data lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A slow machine is no counterexample.
settings.register_profile("inferencebench", deadline=None)
settings.load_profile("inferencebench")

_REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real envelopes, vectors and bundles, or a skip that names what is missing."""
    folder = Path(os.environ.get("INFERENCEBENCH_SHARED_DATA", _REPOSITORY.parent / "shared/data"))
    if not folder.is_dir():
        pytest.skip(f"shared reference data not found at {folder} (INFERENCEBENCH_SHARED_DATA)")
    return folder
