"""The register of community results: those seen on the Hub, and those that authors withheld.

The Hub forgets a result when the pull request that holds it is closed. The register does not: an
entry is added when a result is first seen and never removed, and a result that disappears is
*withheld*, with the date and the link at which anybody can see for themselves. It is written before
anything is proposed, and it is public (:mod:`.publish`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, ConfigDict, ValidationError

from inferencebench_pipeline.community_results.results_file import EvaluationEntry
from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.files import file_lock, read_plain, write_atomically

REGISTER_FILE = "evaluations.json"
"""Name of the register under the root of the store."""

State = Literal["open", "merged", "withheld", "withdrawn", "gone"]
"""``open``: in an open pull request. ``merged``: on the model's main branch. ``withheld``: the
model's author closed the pull request, or took the merged file away again. ``withdrawn``: whoever
proposed it closed it, or it was ours and its author asked us to take it out. ``gone``: the model or
the pull request can no longer be seen."""


class EvaluationRegisterError(PermanentError):
    """The register cannot be read."""


class Withholding(DocumentPart):
    """One time that a result was made to disappear."""

    at: AwareDatetime
    """Time at which the pull request was closed, or we missed a file on the main branch."""
    by: str | None
    """The account that did it; ``None`` where the Hub does not say."""
    url: str
    """Address at which anybody can see it."""
    ended_at: AwareDatetime | None = None
    """Time at which the result was there again; ``None`` while it is not."""


class CommunityResult(DocumentPart):
    """One result in one pull request of one model, and what became of it."""

    model_config = ConfigDict(populate_by_name=True)

    model_id: str
    """The id of the model on the Hub."""
    pull_request: int
    """The number of the pull request in the model's repository."""
    url: str
    """Address of the pull request."""
    filename: str
    """The results file that holds the result."""
    entry: EvaluationEntry
    """The result as the file states it."""
    proposed_by: str | None
    """Account that opened the pull request; ``None`` until it was looked up."""
    ours: bool
    """True when we proposed the result."""
    first_seen_at: AwareDatetime
    """The time at which the result was first seen (UTC)."""
    state: State = "open"
    """The present state of the result."""
    withheld: tuple[Withholding, ...] = ()
    """Every time, the latest last; kept when the result is back."""

    @property
    def key(self) -> tuple[str, int, str, str, str, str]:
        """The identity of the result, by which it is recognised when it is seen again."""
        dataset = self.entry.dataset
        # Another configuration of the same task is a result of its own.
        notes = self.entry.notes or ""
        return self.model_id, self.pull_request, self.filename, dataset.id, dataset.task_id, notes


class EvaluationRegister(DocumentPart):
    """The content of ``evaluations.json``."""

    schema_version: Literal["1"] = "1"
    """The version of the form of the document."""
    results: tuple[CommunityResult, ...] = ()
    """The results in the order of their keys."""

    def withheld(self, model_id: str | None = None) -> tuple[CommunityResult, ...]:
        """Return the results that are withheld now, of one model or of all."""
        return tuple(
            result
            for result in self.results
            if result.state == "withheld" and model_id in {None, result.model_id}
        )

    def with_results(self, results: Iterable[CommunityResult]) -> EvaluationRegister:
        """Return the register with these results added, or in place of the same ones."""
        merged = {result.key: result for result in self.results}
        merged |= {result.key: result for result in results}
        # In the order of the keys, so that the same results give the same bytes.
        return self.model_copy(update={"results": tuple(merged[key] for key in sorted(merged))})


def load_evaluations(root: Path) -> EvaluationRegister:
    """Return the register under the store ``root``; empty when there is none.

    Raises:
        EvaluationRegisterError: it cannot be read. Nothing is proposed then: it says what was
            withheld from us before.
    """
    path = root / REGISTER_FILE
    try:
        return EvaluationRegister.model_validate_json(read_plain(path))
    except FileNotFoundError:
        return EvaluationRegister()
    except (OSError, ValidationError) as error:
        raise EvaluationRegisterError(
            f"{path} cannot be read ({type(error).__name__}); restore it from a backup or from the "
            "dataset it is published in"
        ) from error


@contextmanager
def evaluations_held(root: Path) -> Iterator[None]:
    """Be the only one on this host who proposes results and writes the register."""
    with file_lock(root / f".{REGISTER_FILE}.lock", what=f"a change of {REGISTER_FILE}"):
        yield


def record_results(root: Path, results: Iterable[CommunityResult]) -> EvaluationRegister:
    """Add results to the register, durably; call it inside :func:`evaluations_held`."""
    register = load_evaluations(root).with_results(results)
    data = register.model_dump_json(indent=2, by_alias=True).encode() + b"\n"
    write_atomically(root / REGISTER_FILE, data)
    return register
