"""A quality result of ours, and the entry that states it in the model's repository.

The result is a typed document: whatever ran the evaluation writes one (or
:mod:`.logs` reads it from a framework's log). Its entry names the dataset repository
that holds the record as its source, and says in ``notes`` how the result was brought about.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    StrictInt,
    ValidationError,
)

from inferencebench_pipeline.community_results.notes import (
    NotesError,
    RunConfiguration,
    render_notes,
)
from inferencebench_pipeline.community_results.results_file import (
    BenchmarkTask,
    EvaluationEntry,
    Number,
    RepoName,
    Source,
    Text,
)
from inferencebench_pipeline.documents import DocumentPart
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.untrusted import problems_of

MAX_FILE_BYTES = 256 << 20
"""Bound on a file that a person names; logs of frameworks hold every sample."""


class QualityResultError(PermanentError):
    """A quality result cannot be read, or does not say enough to be entered anywhere."""


def _configuration(value: object) -> object:
    if not isinstance(value, dict):
        return value
    try:
        return RunConfiguration.of_facets({str(key): str(facet) for key, facet in value.items()})
    except NotesError as error:
        raise ValueError(str(error)) from error


Configuration = Annotated[
    RunConfiguration,
    BeforeValidator(_configuration),
    PlainSerializer(lambda value: value.facets(), return_type=dict[str, str]),
]
"""Written as a mapping of the vocabulary of :mod:`.notes`."""


def _instant(moment: datetime) -> datetime:
    try:
        # With an offset, the first and the last hours of the calendar lie outside of UTC's years.
        moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("not an instant that UTC has a year for") from error
    return moment


class QualityResult(DocumentPart):
    """The content of a quality result file: one metric of one task of one benchmark."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    schema_version: Literal["1"] = "1"
    """The version of the form of the document."""
    model_id: RepoName
    """The id of the model on the Hub."""
    model_revision: Text | None = None
    """The commit of the model that was evaluated."""
    benchmark: BenchmarkTask
    """The benchmark and its task."""
    metric: Text
    """The name of the metric."""
    value: Number
    """The value of the metric."""
    samples: StrictInt | None = None
    """The number of questions that the value rests on."""
    evaluated_at: Annotated[AwareDatetime, AfterValidator(_instant)]
    """The time of the evaluation (UTC)."""
    configuration: Configuration
    """The configuration that the value holds for."""


def parse_quality_result(data: bytes, *, filename: str) -> QualityResult:
    """Return the result that a quality result file (JSON) holds.

    Raises:
        QualityResultError: names the file, the key and the value.
    """
    try:
        return QualityResult.model_validate_json(data)
    except ValidationError as error:
        raise QualityResultError(f"{filename}: {problems_of(error)}") from error


def read_file(path: Path) -> bytes:
    """Return a file that a person named.

    Raises:
        QualityResultError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise QualityResultError(f"{path} cannot be read ({error.strerror})") from error
    if len(data) > MAX_FILE_BYTES:
        raise QualityResultError(f"{path} is larger than {MAX_FILE_BYTES} bytes; it was not read")
    return data


def entry_of(result: QualityResult, *, record_id: str, record_url: str) -> EvaluationEntry:
    """Return the entry that states ``result``.

    Args:
        result: what was measured.
        record_id: the dataset repository that holds the record, as ``ORG/NAME``.
        record_url: its page.

    Raises:
        QualityResultError: the result does not say who served the model or with what engine. A
            number without these cannot be compared with any other, so it is not entered.
    """
    configuration = result.configuration
    missing = [key for key in ("provider", "engine") if getattr(configuration, key) is None]
    if missing:
        raise QualityResultError(
            f"the result for {result.model_id} does not say its {' and '.join(missing)}; weights "
            "served by others score differently, so add it to the result's configuration"
        )
    owner, _, name = record_id.partition("/")
    values: dict[str, Any] = {
        "dataset": result.benchmark,
        "value": result.value,
        "date": result.evaluated_at.astimezone(UTC).isoformat(timespec="seconds"),
        "source": Source(url=record_url, name=name, org=owner),
        "notes": render_notes(configuration),
    }
    values["date"] = values["date"].replace("+00:00", "Z")
    return EvaluationEntry(**values)
