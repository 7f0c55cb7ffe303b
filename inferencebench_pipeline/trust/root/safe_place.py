"""The rule for folders that trust material is read from unasked: nobody else may write there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from inferencebench_pipeline.trust.errors import TrustConfigError

_ROOT = 0


def require_safe_place(folder: Path) -> None:
    """Refuse a folder in which another user of this machine could put or change a trust root.

    The folder, the documents in it and every folder above them must belong to this user or to root,
    and must not be writable for everybody. A folder with the sticky bit may be: in it nobody can
    replace what belongs to others. Links are followed, so that what counts is where a file lies.

    Raises:
        TrustConfigError: somebody else could write there; the message says where and what to do.
    """
    if not hasattr(os, "getuid") or not folder.exists():  # Windows has other rules of access
        return
    for path in (folder, *sorted(folder.glob("*.json"))):
        real = path.resolve()
        for place in (real, *real.parents):
            if problem := _problem(place):
                raise TrustConfigError(
                    f"the trust root in {folder} is not used: {place} {problem}, so somebody else "
                    f"could choose whom you trust; mend that, or remove {folder} to go back to the "
                    "shipped trust root"
                )


def _problem(place: Path) -> str | None:
    try:
        found = place.stat()
    except OSError as error:
        return f"cannot be examined ({error.strerror})"
    if found.st_uid not in (_ROOT, os.getuid()):
        return f"belongs to the user {found.st_uid}"
    sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
    if found.st_mode & stat.S_IWOTH and not sticky:
        return "is writable for everybody"
    return None
