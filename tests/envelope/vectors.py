"""Our own vectors of the canonical form, small enough to live in the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).resolve().parent.parent / "data" / "envelope" / "vectors.json"


def our_vectors() -> list[dict[str, Any]]:
    return json.loads(_FILE.read_text())
