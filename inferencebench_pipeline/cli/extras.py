"""A package that is not installed, told as the extra that brings it.

The light core verifies, explains and measures; what publishes, crawls and ranks is installed by
choice. The list of extras is the package's own metadata, so that it is written once.
"""

from __future__ import annotations

import re
from importlib import metadata
from typing import Final

from inferencebench_pipeline.errors import PermanentError

_DISTRIBUTION: Final = "inferencebench-pipeline"
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+).*extra == ['\"](?P<extra>[\w-]+)['\"]")


class MissingExtraError(PermanentError):
    """A command needs a package that is installed with an extra, and it is not installed."""


def missing_extra(error: ModuleNotFoundError) -> Exception:
    """Return what a person should do about a package that is not there.

    A module that no extra brings is a fault of the program: ``error`` is raised again.

    Raises:
        ModuleNotFoundError: no extra brings it.
    """
    package = (error.name or "").partition(".")[0]
    extra = extra_of(package)
    if extra is None:
        raise error
    return MissingExtraError(
        f"this command needs {package}, which is not installed; install the extra {extra}: "
        f"pip install '{_DISTRIBUTION}[{extra}]'"
    )


def extra_of(package: str) -> str | None:
    """Return the first extra that installs a package; None when none does.

    Args:
        package: name of the package as it is imported.
    """
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # a checkout that nobody installed
        return None
    for requirement in required:
        found = _REQUIREMENT.match(requirement)
        if found and re.sub(r"[-.]", "_", found["name"]) == package:
            return found["extra"]
    return None
