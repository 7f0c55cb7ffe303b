"""The skips that continuous integration may see, each with the reason why it is allowed.

Where ``CI=true`` any other skip is an error: a test that silently stopped running is a hole that
nobody notices. On a developer's machine everything may skip, and the summary names it.
"""

from __future__ import annotations

import os
import re
from typing import Final

ALLOWED: Final = {
    r"shared reference data not found": (
        "other people's envelopes and bundles lie beside the repository, and a clone may lack them"
    ),
    r"vLLM NOT TESTED": "a real vLLM is run by hand, as docs/engines.md says",
    r"root reads everything": "the build runs as root, which no file mode keeps out",
    r"sigstore-js is not installed": "comes from npm, which the build does not reach",
    r"Rekor v2 states no time": "the case does not exist for that log: nothing is left out",
    r"is not at hand: \w+ is not set \(CONTRIBUTING.md, Judged by others\)": (
        "second implementations have environments of their own, built by hand before a release"
    ),
}
"""Patterns of what a skip says."""

UNREACHABLE_VARIABLE: Final = "INFERENCEBENCH_COULD_NOT_INSTALL"
"""The packages that ``.ci/run`` could not install, because a mirror was down."""
_FROM_DEBIAN: Final = {
    "chromium": r"NO CHROMIUM",
    "postgresql": r"PostgreSQL is not installed",
}


def is_strict() -> bool:
    """Return True where a skip that is not listed is an error."""
    return os.environ.get("CI") == "true"


def is_allowed(reason: str) -> bool:
    """Return True when a skip that says ``reason`` is listed."""
    missing = os.environ.get(UNREACHABLE_VARIABLE, "").split()
    patterns = [*ALLOWED, *(_FROM_DEBIAN[name] for name in missing if name in _FROM_DEBIAN)]
    return any(re.search(pattern, reason) for pattern in patterns)
