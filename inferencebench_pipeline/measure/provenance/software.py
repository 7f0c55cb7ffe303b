"""The code that measures: its installed distributions, its image and its commit."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Final

import inferencebench_pipeline
from inferencebench_pipeline.measure.provenance.document import UNKNOWN, Software
from inferencebench_pipeline.measure.provenance.host import WithWarnings
from inferencebench_pipeline.settings import image_digest

_GIT_TIMEOUT_S: Final = 10


def collect_software(nvidia_smi_q_hash: str) -> WithWarnings[Software]:
    """Return the code that measures, with a warning for all that is unknown.

    The image digest comes from ``INFERENCEBENCH_IMAGE_DIGEST``, which a deployment sets: a
    process cannot see which image it runs in.
    """
    commit, warnings = _git_commit()
    return WithWarnings(
        Software(
            image_digest=image_digest(),
            pip_freeze_hash=installed_distributions_sha256(),
            git_commit=commit,
            nvidia_smi_q_hash=nvidia_smi_q_hash,
        ),
        warnings,
    )


def installed_distributions_sha256() -> str:
    """Return the SHA-256 of the sorted ``name==version`` lines of all installed distributions."""
    lines = sorted({f"{item.name.lower()}=={item.version}" for item in metadata.distributions()})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def distribution_files_sha256(name: str) -> str:
    """Return the SHA-256 of a wheel's own files: the sorted ``path=sha256`` lines of its RECORD.

    Lines that an installer adds (compiled bytecode, its own notes) are left out, so the same wheel
    gives the same value on every machine.
    """
    files = metadata.distribution(name).files or []
    lines = sorted(
        f"{file.as_posix()}={file.hash.value}"
        for file in files
        if file.hash is not None and file.suffix != ".pyc" and ".dist-info/" not in file.as_posix()
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _git_commit() -> tuple[str, tuple[str, ...]]:
    """Return the commit of the checkout our source lies in, when it lies in one."""
    source = Path(inferencebench_pipeline.__file__).resolve().parent
    git = shutil.which("git")
    if git is None:
        return UNKNOWN, ("software.git_commit is unknown: git is not installed",)
    # git itself would also find a repository further up, which holds other code.
    if not (source.parent / ".git").exists():
        return UNKNOWN, ("software.git_commit is unknown: not run from a git checkout",)
    try:
        commit = _git(git, source, "rev-parse", "HEAD")
        # Of our own source alone: other files of the checkout decide nothing that is measured.
        changed = _git(git, source, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.SubprocessError) as error:
        return UNKNOWN, (f"software.git_commit is unknown: git failed ({error})",)
    if changed:
        return commit, ("software.git_commit does not tell all: the source has local changes",)
    return commit, ()


def _git(git: str, folder: Path, *arguments: str) -> str:
    return subprocess.run(  # noqa: S603 - fixed arguments
        [git, "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=_GIT_TIMEOUT_S,
    ).stdout.strip()
