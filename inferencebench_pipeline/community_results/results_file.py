"""``.eval_results/*.yaml``: the evaluation results a model repository holds, one list per file.

Specification: ``eval_results.yaml`` and ``docs/hub/eval-results.md`` of the Hub's documentation
(August 2026). Reading is strict: a key that the specification does not have is an error with its
place, never dropped, since whoever wrote it meant something by it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictStr,
    TypeAdapter,
    ValidationError,
)

from inferencebench_pipeline.community_results.yaml import (
    EvaluationFileError,
    read_yaml,
)
from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.untrusted import Quoted, controls, write_yaml

FOLDER = ".eval_results"
"""Folder of the files in a model repository; the Hub does not read sub-folders."""

_RESULT_FILE = re.compile(r"\.eval_results/[^/]+\.ya?ml")
# A larger one fits no 64-bit column of a table.
_LARGEST_INTEGER = 2**63
_REMEDIES = {
    "dataset": "give id and task_id",
    "dataset.id": "give the benchmark dataset as ORG/NAME",
    "dataset.revision": "give the commit as text, in quotes",
    "dataset.task_id": "required since January 2026: name a task of the benchmark's eval.yaml",
    "value": "give the metric as a plain number",
    "date": "write an ISO 8601 date or date and time in quotes",
    "source.url": "a source needs the address it is found at",
}


def _number(value: object) -> object:
    # A boolean is an integer to Python, and no number to the specification.
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("not a number")  # noqa: TRY004 - pydantic collects ValueErrors
    if isinstance(value, int) and abs(value) >= _LARGEST_INTEGER:
        raise ValueError("not a number that a table can hold")
    if not math.isfinite(value):
        raise ValueError("not a finite number")
    return value


def _iso_8601(text: str) -> str:
    try:
        date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError("not an ISO 8601 date such as 2026-05-15T10:30:00Z") from error
    # Since Python 3.11 fromisoformat also takes 20260515 and dates by week.
    if not re.match(r"\d{4}-\d\d-\d\d", text):
        raise ValueError("not an ISO 8601 date such as 2026-05-15T10:30:00Z")
    return text


def _harmless(text: str) -> str:
    if controls(text):
        raise ValueError("holds a control character")
    return text


Text = Annotated[StrictStr, Field(min_length=1, max_length=2000), AfterValidator(_harmless)]
RepoName = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[\w.-]+$", max_length=200)]
Number = Annotated[int | float, BeforeValidator(_number)]


class _EntryPart(DocumentPart):
    model_config = ConfigDict(populate_by_name=True)


class BenchmarkTask(_EntryPart):
    """A benchmark and one task of its ``eval.yaml``."""

    id: RepoName
    """The id of the benchmark's dataset on the Hub."""
    task_id: Text
    """The id of the task in its ``eval.yaml``."""
    revision: Text | None = None
    """Commit of the dataset that was evaluated on. Says nothing about contamination."""


class Source(_EntryPart):
    """The origin of a result."""

    url: Annotated[StrictStr, Field(pattern=r"^https?://\S+$", max_length=2000)]
    """The address of the origin."""
    name: Text | None = None
    """The name of the origin."""
    user: Text | None = None
    """The Hub user who states the result."""
    org: Text | None = None
    """The Hub organisation that states the result."""


class EvaluationEntry(_EntryPart):
    """One result of the model whose repository holds it."""

    dataset: BenchmarkTask
    """The benchmark and its task."""
    value: Number
    """The value of the result."""
    verify_token: Annotated[Text | None, Field(alias="verifyToken")] = None
    """Only the Hub can issue one, to evaluations that it ran itself."""
    date: Annotated[Text, AfterValidator(_iso_8601)] | None = None
    """Time of the evaluation; the Hub takes the commit's time when it is absent."""
    source: Source | None = None
    """The origin of the result."""
    notes: Text | None = None
    """The set-up in free text; ours is written by :mod:`.notes`."""

    @property
    def key(self) -> tuple[str, str]:
        """Benchmark and task: what a leaderboard compares."""
        return self.dataset.id, self.dataset.task_id


_ENTRIES = TypeAdapter(tuple[EvaluationEntry, ...])


def is_result_file(path: str) -> bool:
    """Return whether the Hub reads results from ``path`` of a model repository."""
    return _RESULT_FILE.fullmatch(path) is not None


def parse_entries(data: bytes, *, filename: str) -> tuple[EvaluationEntry, ...]:
    """Return the entries of a results file.

    Raises:
        EvaluationFileError: names the file and, for each problem, the line, the key (with the
            entry's index, from 0), the value and what to do.
    """
    document = read_yaml(data, filename=filename)
    if not isinstance(document.value, list) or not document.value:
        raise EvaluationFileError(
            filename, ("line 1: must be a list of results, each beginning with '- dataset:'",)
        )
    try:
        return _ENTRIES.validate_python(document.value, by_alias=True, by_name=False)
    except ValidationError as error:
        raise document.refuse(error, _REMEDIES) from error


def render_entries(entries: Sequence[EvaluationEntry]) -> bytes:
    """Return a results file of these entries; :func:`parse_entries` gives them back."""
    return write_yaml([_plain(entry) for entry in entries], quoting=True).encode()


def entry_path(entry: EvaluationEntry) -> str:
    """Return where our file of this result lies: one per benchmark, task and configuration.

    The digest keeps names that normalise alike apart, and variants of one task (other tools,
    another provider), which the Hub wants in separate files.
    """
    identity = "\n".join((*entry.key, entry.notes or ""))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    owner, _, name = entry.dataset.id.partition("/")
    slugs = (_slug(part) for part in (owner, name, entry.dataset.task_id))
    return f"{FOLDER}/{'__'.join(slugs)}__{digest}.yaml"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:40] or "x"


def _plain(entry: EvaluationEntry) -> dict[str, Any]:
    document = entry.model_dump(by_alias=True, exclude_none=True)
    # Readers guess types: unquoted, a date or a token of digits would not stay a text.
    for key in ("verifyToken", "date", "notes"):
        if key in document:
            document[key] = Quoted(document[key])
    return document
