"""The error about a package that is not installed, which names the extra that installs it.

The light core verifies, explains and measures; extras add publishing, crawling and ranking. The
list of extras is read from the metadata of the package, so that it is written once.
"""

from __future__ import annotations

import re
from importlib import metadata
from typing import Final

from inferencebench_pipeline.errors import PermanentError

_DISTRIBUTION: Final = "inferencebench-pipeline"
_PREFERRED: Final = ("pipeline", "postgres", "s3", "vllm", "sandbox", "demo")
"""All extras for users; of several that bring a package, the first is named."""
_NAME = re.compile(r"[\w.-]+")
_EXTRA = re.compile(r"extra == ['\"]([\w-]+)['\"]")


class MissingExtraError(PermanentError):
    """A command needs a package that is installed with an extra, and it is not installed."""


def missing_extra(error: ModuleNotFoundError) -> Exception:
    """Return an error that tells a person how to install the missing package.

    A missing module that no extra installs is a fault of the program, so it is raised again.

    Raises:
        ModuleNotFoundError: no extra installs the module.
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
    """Return the extra to install for a package, or None when no extra brings it.

    Args:
        package: the name by which the package is imported.
    """
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # a checkout that nobody installed
        return None
    extras = {
        extra[1]
        for requirement in required
        # Names of distributions have hyphens and dots where names of modules have underscores.
        if (name := _NAME.match(requirement)) and re.sub(r"[-.]", "_", name[0]) == package
        if (extra := _EXTRA.search(requirement))
    }
    return next((extra for extra in _PREFERRED if extra in extras), None)
