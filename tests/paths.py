"""Paths of the checkout, for tests in folders of any depth."""

from __future__ import annotations

from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = REPOSITORY / "inferencebench_pipeline"
SPECS: Final = REPOSITORY / "specs"
