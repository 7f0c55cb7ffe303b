"""The smallest acceptable document, for tests that change one thing in it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.envelope.vectors import our_vectors


@pytest.fixture
def minimal() -> dict[str, Any]:
    return json.loads(our_vectors()[0]["input_text"])
