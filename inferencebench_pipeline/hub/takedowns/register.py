"""The register of takedowns: the models whose cards we link nothing from, with date and reason.

It is written before anything is removed and never shortened, so that neither a crash nor a later
run can bring a link back. It is public: the leaderboard shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, ValidationError, field_validator

from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import file_lock, read_plain, write_atomically

REGISTER_FILE = "takedowns.json"
"""Name of the register under the root of the store."""
_TARGET = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?", re.ASCII)
_LONGEST_TEXT = 2000


class TakedownError(PermanentError):
    """A takedown that cannot be recorded as asked, or a register that cannot be read."""


class Takedown(DocumentPart):
    """One request, and what came of it."""

    target: str
    """A model id, or an organisation: then every model of it."""
    reason: str
    """The reason for the request, which is shown publicly."""
    requested_by: str
    """Name that the person wants to be shown publicly."""
    requested_at: AwareDatetime
    """The time of the request (UTC)."""
    carried_out_at: AwareDatetime | None = None
    """Time at which the last of our links was gone; ``None`` while one is left."""
    outcome: tuple[str, ...] = ()
    """One sentence for each model that was looked at."""

    @field_validator("target")
    @classmethod
    def _is_model_or_organisation(cls, target: str) -> str:
        if not _TARGET.fullmatch(target):
            raise ValueError("not a model id such as org/name, nor an organisation")
        return target

    @field_validator("reason", "requested_by")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip() or len(text) > _LONGEST_TEXT:
            raise ValueError(f"must be 1 to {_LONGEST_TEXT} characters")
        return text.strip()

    def covers(self, model_id: str) -> bool:
        """Return whether the request is about this model (the Hub's names ignore case)."""
        wanted, target = model_id.lower(), self.target.lower()
        return target in {wanted, wanted.partition("/")[0]}


class Takedowns(DocumentPart):
    """The content of ``takedowns.json``."""

    schema_version: Literal["1"] = "1"
    """The version of the form of the document."""
    takedowns: tuple[Takedown, ...] = ()
    """The requests in their order."""

    def covering(self, model_id: str) -> Takedown | None:
        """Return the first request that covers the model, or ``None``."""
        return next((item for item in self.takedowns if item.covers(model_id)), None)

    def of(self, target: str) -> Takedown | None:
        """Return the request for exactly this target, or ``None``."""
        wanted = target.lower()
        return next((item for item in self.takedowns if item.target.lower() == wanted), None)

    def with_takedown(self, takedown: Takedown) -> Takedowns:
        """Return the register with this request added, or in place of the one for its target."""
        known = self.of(takedown.target)
        if known is None:
            return self.model_copy(update={"takedowns": (*self.takedowns, takedown)})
        changed = tuple(takedown if item is known else item for item in self.takedowns)
        return self.model_copy(update={"takedowns": changed})


def load_takedowns(root: Path) -> Takedowns:
    """Return the register under the store ``root``; empty when there is none.

    Raises:
        TakedownError: it cannot be read. Nothing may be linked then: it might forbid it.
    """
    path = root / REGISTER_FILE
    try:
        return Takedowns.model_validate_json(read_plain(path))
    except FileNotFoundError:
        return Takedowns()
    except (OSError, ValidationError) as error:
        raise TakedownError(
            f"{path} cannot be read ({type(error).__name__}); restore it from a backup before "
            "linking anything: it says where we must not"
        ) from error


def record_takedown(root: Path, takedown: Takedown) -> None:
    """Add ``takedown`` to the register under ``root``, durably; an entry for it is replaced."""
    # Read and written under one lock, so that of two requests at a time neither is lost.
    with _locked(root):
        register = load_takedowns(root).with_takedown(takedown)
        write_atomically(root / REGISTER_FILE, register.model_dump_json(indent=2).encode() + b"\n")


@contextmanager
def changing_links(root: Path) -> Iterator[None]:
    """Be the only one on this host who adds links to model cards, or takes them away.

    Raises:
        LockedError: another process does, and does not come to an end.
    """
    # A lock of its own: it is held while the Hub is changed, and the register is written meanwhile.
    with file_lock(root / ".links.lock", what="a change of links on model cards"):
        yield


@contextmanager
def _locked(root: Path) -> Iterator[None]:
    with file_lock(root / f".{REGISTER_FILE}.lock", what=f"a change of {REGISTER_FILE}"):
        yield
